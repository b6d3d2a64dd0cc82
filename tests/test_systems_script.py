"""benchmarks/systems.py measures what can be measured, says what cannot, and goes on where it was stopped."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from mmer.build import build_tokenizer
from mmer.model import build_model

pytestmark = pytest.mark.filterwarnings("ignore:TF32 acceleration:UserWarning")  # PyTorch's, where oneDNN is set

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "systems.py"


@pytest.fixture
def systems(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    spec = importlib.util.spec_from_file_location("systems", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "systems", module)  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def trained(systems: ModuleType, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Which systems were trained; the features' cannot be."""
    names: list[str] = []

    def train(tiny: Path, root: Path, folder: Path) -> dict[str, Any]:
        names.append(tiny.stem)
        if tiny.stem == "features_lstm":
            raise systems.FailedError("the model reads the features mfcc and nowhere has none")
        return {"seconds": 61.4, "accuracy": 0.5, "low": 0.4, "high": 0.6, "chance": 0.125}

    monkeypatch.setattr(systems, "train", train)
    return names


def run(systems: ModuleType, output: Path, monkeypatch: pytest.MonkeyPatch, *args: str) -> int:
    monkeypatch.setattr(sys, "argv", ["systems.py", f"--output={output}", *args])
    code: int = systems.main()
    return code


def test_a_system_that_fails_is_said_and_the_others_follow(
    systems: ModuleType,
    trained: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(systems, tmp_path, monkeypatch, "features_lstm", "wave_cnn") == 1
    assert trained == ["features_lstm", "wave_cnn"]
    failed, measured = capsys.readouterr().out.splitlines()[2:]
    assert failed.startswith("| [features_lstm](../configs/features_lstm.yaml) | ")
    assert "| - | not trained: the model reads the features mfcc and nowhere has none | " in failed
    assert failed.split(" | ")[1].endswith(" k"), "it is counted all the same"
    assert "| 61 | 50.0 (40.0 to 60.0) | " in measured
    assert json.loads((tmp_path / "wave_cnn.json").read_text())["seconds"] == 61.4


def test_what_was_measured_is_not_measured_again(
    systems: ModuleType, trained: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(systems, "count", lambda path: (1000, 0.5))
    both, tmp_path = ("features_lstm", "wave_cnn"), tmp_path / "runs/systems"
    run(systems, tmp_path, monkeypatch, *both)
    assert run(systems, tmp_path, monkeypatch, "wave_cnn") == 0
    assert trained == [*both]
    assert run(systems, tmp_path, monkeypatch, *both) == 1
    assert trained == [*both, "features_lstm"], "what failed is tried again"
    assert run(systems, tmp_path, monkeypatch, *both, "--again") == 1
    assert trained == [*both, "features_lstm", *both]
    assert run(systems, tmp_path, monkeypatch, "--table") == 0


def test_a_variant_of_another_system_is_counted_alone(
    systems: ModuleType,
    trained: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(systems, "count", lambda path: (1000, 0.5))
    assert run(systems, tmp_path, monkeypatch, "mvit_v2_b") == 0
    assert trained == []
    assert " | - | as mvit_v2 | none" in capsys.readouterr().out


def test_a_network_that_is_described_elsewhere_cannot_be_counted(
    systems: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise systems.CheckpointError("the hub is silent")

    monkeypatch.setattr(systems, "build_tokenizer", fail)
    assert systems.count(systems.CONFIGS / "text_hf.yaml") == (None, None)
    assert systems.in_short(None) == "-"


def test_a_script_that_fails_gives_its_last_line(systems: ModuleType) -> None:
    with pytest.raises(systems.FailedError) as error:
        systems.call("evaluate.py", "--checkpoint", "nobody.ckpt")
    assert str(error.value)
    assert "\n" not in str(error.value)
    assert not str(error.value).startswith("evaluate.py")


def test_every_system_has_its_row_in_the_documented_table(systems: ModuleType) -> None:
    lines = (SCRIPT.parents[1] / "docs" / "systems.md").read_text(encoding="utf-8").splitlines()
    for config in sorted(systems.CONFIGS.glob("*.yaml")):
        if config.stem == "demo":
            continue
        (row,) = [line for line in lines if line.startswith(f"| [{config.stem}](../configs/{config.stem}.yaml) | ")]
        cells = row.strip("| ").split(" | ")
        assert len(cells) == 8
        assert cells[-1] == systems.said(config, systems.PUBLISHED)
        if config.stem != "text_hf":  # which is described on the hub
            tiny = systems.read_model(
                systems.CONFIGS / "tiny" / f"{systems.said(config, systems.TINY) or config.stem}.yaml"
            )
            model = build_model(tiny, load=False, tokenizer=build_tokenizer(tiny, [" ".join(map(str, range(99)))]))
            assert cells[3] == systems.in_short(sum(p.numel() for p in model.parameters())), config.stem
