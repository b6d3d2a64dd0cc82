"""The command line takes every system in configs/, and a small one of each takes a training and a validation step."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from wandb.sdk.launch.sweeps.utils import create_sweep_command_args

from mmer.training.cli import main
from mmer.training.domains import show_value
from mmer.training.sweep_file import read_sweep

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
    sweep = read_sweep(path)
    assert Path(sweep.program).is_file()
    samples = sweep.samples()
    points = sweep.points() if sweep.method == "grid" else samples[:2]  # of a span both ends, of a grid everything
    assert {**points[0], **points[-1]}.keys() == sweep.domains.keys()
    for params in points:
        with pytest.raises(SystemExit, match="0"):
            main([*sweep.flags(params), "--print_config"])
        shown = capsys.readouterr().out
        assert all(f"{name.rpartition('.')[2]}: {show_value(value)}" in shown for name, value in params.items())


@pytest.mark.parametrize("path", sorted((CONFIGS / "sweeps").glob("*.yaml")), ids=lambda path: path.stem)
def test_an_agent_of_weights_and_biases_would_run_the_same(path: Path) -> None:
    sweep = read_sweep(path)
    for params in sweep.samples():
        theirs = create_sweep_command_args({"args": {name: {"value": value} for name, value in params.items()}})
        words = [word for each in sweep.command for word in (theirs["args"] if each == "${args}" else [each])]
        assert [number(word) for word in words if not word.startswith("--wandb")] == [
            number(word) for word in sweep.flags(params)
        ]


def number(word: str) -> tuple[str, str | float]:
    """Return a flag and its value, however it is written."""
    name, _, value = word.partition("=")
    try:
        return name, float(value)
    except ValueError:
        return name, value


@pytest.mark.parametrize("config", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_system_of_its_own_size_is_understood(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["fit", f"--config={config}", "--print_config"])
    assert "streams:" in capsys.readouterr().out


@pytest.mark.parametrize("system", ["mvit_wave", "text_hf"])
@pytest.mark.parametrize("overlay", sorted((CONFIGS / "hardware").glob("*.yaml")), ids=lambda path: path.stem)
def test_an_overlay_fits_over_any_system(overlay: Path, system: str, capsys: pytest.CaptureFixture[str]) -> None:
    """It is a few lines, and all that the system says of anything else stays."""
    said = yaml.safe_load(overlay.read_text(encoding="utf-8"))
    assert said.keys() <= {"model", "trainer"} and said.get("model", {}).keys() <= {"compute", "optim"}
    configs = [f"--config={CONFIGS / f'{system}.yaml'}", f"--config={overlay}"]
    with pytest.raises(SystemExit, match="0"):
        main(["fit", *configs, "--print_config"])
    both, alone = yaml.safe_load(capsys.readouterr().out), yaml.safe_load((CONFIGS / f"{system}.yaml").read_text())
    for expected in (said, alone["model"]["optim"], alone["model"]["config"]["fusion"]):
        assert set(flat(expected)) <= set(flat(both))


@pytest.mark.parametrize("below", ["ddp8", "torchrun", "slurm"])
def test_fsdp2_lies_over_another_overlay(below: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Its strategy replaces the other with all its settings, and what FSDP2 refuses is taken back."""
    overlays = [CONFIGS / f"hardware/{name}.yaml" for name in (below, "fsdp2")]
    with pytest.raises(SystemExit, match="0"):
        main(["fit", *(f"--config={path}" for path in (CONFIGS / "mvit_v2_b.yaml", *overlays)), "--print_config"])
    both = yaml.safe_load(capsys.readouterr().out)
    first, last = (yaml.safe_load(path.read_text(encoding="utf-8")) for path in overlays)
    assert both["trainer"]["strategy"] == last["trainer"]["strategy"]
    assert both["model"]["compute"].items() >= last["model"]["compute"].items()
    assert not both["model"]["compute"]["channels_last"]
    assert both["trainer"]["num_nodes"] == first["trainer"].get("num_nodes", 1)


def flat(settings: object) -> list[tuple[str, object]]:
    """Return the innermost settings with their last names."""
    if isinstance(settings, list):
        return [each for setting in settings for each in flat(setting)]
    if not isinstance(settings, dict):
        return []
    return [
        pair
        for name, value in settings.items()
        for pair in (flat(value) if isinstance(value, dict | list) else [(name, value)])
    ]


@pytest.mark.parametrize("overlay", ["accumulate", "channels_last", "activation_checkpointing"])
def test_a_small_system_takes_a_step_under_an_overlay(overlay: str, described_corpus: Path, tmp_path: Path) -> None:
    flags = [f"--data.root={described_corpus}", "--data.batch_size=1", "--data.workers=0", "--trainer.accelerator=cpu"]
    flags += ["--trainer.fast_dev_run=1", "--trainer.enable_progress_bar=false"]
    configs = [f"--config={CONFIGS / 'tiny/mvit_wave.yaml'}", f"--config={CONFIGS / f'hardware/{overlay}.yaml'}"]
    assert main(["fit", *configs, *flags, f"--trainer.default_root_dir={tmp_path}"]) == 0
