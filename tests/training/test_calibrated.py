"""A training goes on from a calibrated checkpoint as if nobody had touched it, and what it writes is not calibrated."""

import shutil
from pathlib import Path

import pytest
import torch

from mmer.calibration import Calibration
from mmer.checkpoint import read_checkpoint, write_calibration
from mmer.training.cli import main

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("default")]


def test_a_calibrated_run_goes_on_as_any_other_and_drops_the_calibration(voice_config: Path, tmp_path: Path) -> None:
    fit = ["fit", f"--config={voice_config}"]
    assert main([*fit, "--trainer.max_epochs=1", f"--trainer.default_root_dir={tmp_path / 'plain'}"]) == 0
    shutil.copytree(tmp_path / "plain", tmp_path / "calibrated")
    for name in ("best", "last"):
        path = tmp_path / f"calibrated/checkpoints/{name}.ckpt"
        write_calibration(path, Calibration("temperature", (0.5,)))
        assert read_checkpoint(path)[1].calibration is not None
    states = []
    for folder in ("plain", "calibrated"):
        flags = [f"--trainer.default_root_dir={tmp_path / folder}", "--ckpt_path=last", "--trainer.max_epochs=2"]
        assert main([*fit, *flags]) == 0
        path = tmp_path / folder / "checkpoints/last.ckpt"
        assert read_checkpoint(path)[1].calibration is None
        states.append(torch.load(path, weights_only=True)["state_dict"])
    torch.testing.assert_close(states[0], states[1], rtol=0, atol=0)


def test_train_py_tests_a_calibrated_checkpoint(voice_config: Path, tmp_path: Path) -> None:
    assert main(["fit", f"--config={voice_config}", "--trainer.max_epochs=1"]) == 0
    write_calibration(tmp_path / "run/checkpoints/best.ckpt", Calibration("temperature", (0.5,)))
    assert main(["test", f"--config={voice_config}", "--ckpt_path=best"]) == 0
