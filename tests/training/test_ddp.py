"""Two processes over gloo, with clips that lack a modality."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]

pytestmark = pytest.mark.slow


def train(*args: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(REPOSITORY / "train.py"), *args]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)


def test_two_processes_train_and_score_as_one_does(tiny_config: Path, tmp_path: Path) -> None:
    two = ("--trainer.strategy=ddp", "--trainer.devices=2")
    fitted = train("fit", f"--config={tiny_config}", *two, "--trainer.max_epochs=1")
    assert fitted.returncode == 0, fitted.stderr
    scores = []
    for flags in (two, ()):
        # 5 validation clips: two processes cannot share them evenly
        scored = train("validate", f"--config={tiny_config}", "--ckpt_path=best", *flags)
        assert scored.returncode == 0, scored.stderr
        scores.append(metrics(scored.stdout))
    assert scores[0].keys() == scores[1].keys() >= {"val/accuracy", "val/uar", "val/macro_f1", "val/loss"}
    assert scores[0] == pytest.approx(scores[1], rel=1e-5)


def test_a_modality_may_be_missing_on_one_process(tiny_config: Path, patchy_corpus: Path, tmp_path: Path) -> None:
    """With a batch of one clip, one process often has a face where the other has none."""
    flags = ("--trainer.strategy=ddp", "--trainer.devices=2", "--data.batch_size=1", "--trainer.max_epochs=1")
    fitted = train("fit", f"--config={tiny_config}", *flags)
    assert fitted.returncode == 0, fitted.stderr
    assert (tmp_path / "run/checkpoints/best.ckpt").is_file()


def metrics(table: str) -> dict[str, float]:
    """Read Lightning's table of results."""
    return {name: float(value) for name, value in re.findall(r"(val/\w+)\W+?([\d.e-]+)", table)}
