"""The command line takes every system in configs/, and a small one of each takes a training and a validation step."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import pytest
import yaml

from mmer.training.cli import main

CONFIGS = Path(__file__).parents[2] / "configs"

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("default")]


@pytest.mark.parametrize("config", sorted((CONFIGS / "tiny").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_small_system_takes_a_step(
    config: Path, described_corpus: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    own = []
    if config.stem == "text_hf":  # its network lies on the hub
        own = [f"--model.config.streams.words.model={request.getfixturevalue('hf_folder')}"]
    code = main(
        [
            "fit",
            f"--config={config}",
            f"--data.root={described_corpus}",
            "--data.batch_size=1",
            "--data.workers=0",
            "--trainer.fast_dev_run=1",
            "--trainer.accelerator=cpu",
            "--trainer.enable_progress_bar=false",
            f"--trainer.default_root_dir={tmp_path}",
            *own,
        ]
    )
    assert code == 0


@pytest.mark.parametrize("path", sorted((CONFIGS / "sweeps").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_trial_of_a_sweep_is_understood(
    path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(CONFIGS.parent)
    sweep = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert Path(sweep["program"]).is_file()
    fixed = [part for part in sweep["command"] if part.startswith("--") or part == "fit"]
    names, choices = zip(*((name, each["values"]) for name, each in sweep["parameters"].items()), strict=True)
    for values in product(*choices):
        trial = [f"--{name}={value}" for name, value in zip(names, values, strict=True)]
        with pytest.raises(SystemExit, match="0"):
            main([*fixed, *trial, "--print_config"])
        shown = capsys.readouterr().out
        assert all(f"{name.rpartition('.')[2]}: {value}" in shown for name, value in zip(names, values, strict=True))


@pytest.mark.parametrize("config", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_system_of_its_own_size_is_understood(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["fit", f"--config={config}", "--print_config"])
    assert "streams:" in capsys.readouterr().out
