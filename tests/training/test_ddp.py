"""Two processes over gloo, with clips that lack a modality."""

import csv
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from mmer.evaluation.metrics import score
from mmer.evaluation.predictions import Predictions
from mmer.evaluation.training_log import read_log
from mmer.training.cli import main

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("default")]


def test_two_processes_train_and_score_as_one_does(
    tiny_config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Lightning starts them, and nobody believes at their end that one was lost.

    With a batch of one clip, one process often has a face where the other has none. The 5 validation clips cannot be
    shared evenly.
    """
    here = Path(__file__).parents[2]
    fit = ["fit", f"--config={tiny_config}", "--data.batch_size=1", "--trainer.max_epochs=1"]
    command = [sys.executable, here / "train.py", *fit, f"--config={here / 'configs/hardware/cpu2.yaml'}"]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False)
    assert ended.returncode == 0, ended.stderr
    assert "All distributed processes registered. Starting with 2 processes" in ended.stderr
    assert "of this training" not in ended.stderr, "as WatchChildren says who is gone"
    best = tmp_path / "run/checkpoints/best.ckpt"
    assert main(["validate", f"--config={tiny_config}", f"--ckpt_path={best}"]) == 0
    alone = {name: float(x) for name, x in re.findall(r"(val/\w+)\W+?([\d.e-]+)", capsys.readouterr().out)}
    with (tmp_path / "run/logs/version_0/metrics.csv").open(newline="") as file:
        (logged,) = (row for row in csv.DictReader(file) if row["val/uar"])
    assert alone.keys() >= {"val/accuracy", "val/uar", "val/macro_f1", "val/loss"}
    assert {name: float(logged[name]) for name in alone} == pytest.approx(alone, rel=1e-5)


RECORDED = """
def record(self, batch, number, step=cli.EmotionClassifier.training_step):
    with open({path!r} + f".{{self.global_rank}}", "a") as file:
        sound = batch.audio.double().sum(dim=1).tolist()
        share = float(batch.mix.share.min())
        for key, level in zip(batch.key, sound):
            print(self.current_epoch, key, level, share, file=file)
    return step(self, batch, number)

cli.EmotionClassifier.training_step = record
"""


def test_processes_share_every_epoch_and_one_keeps_what_the_oracle_sees(
    nursery: Any, tiny_config: Path, tmp_path: Path
) -> None:
    """Each has its own clips, changes and mixtures, and others in every epoch, with workers that stay."""
    log = tmp_path / "seen"
    flags = ["--data.batch_size=4", "--data.workers=1", "--data.augment.mixup=0.8", "--oracle"]
    fit = ["fit", f"--config={tiny_config}", *flags]
    runs = nursery.start_all(2, fit, tmp_path / "log", RECORDED.format(path=str(log)))
    assert [run.wait() for run in runs] == [0, 0], runs[0].said()
    lines = [[line.split() for line in Path(f"{log}.{rank}").read_text().splitlines()] for rank in (0, 1)]
    # of 19 training clips each process takes two whole batches, 8
    assert len(lines[0]) == len(lines[1]) == 2 * 8
    for epoch in ("0", "1"):
        first, second = ([line for line in part if line[0] == epoch] for part in lines)
        keys = [{line[1] for line in part} for part in (first, second)]
        assert keys[0].isdisjoint(keys[1]) and len(keys[0]) == len(keys[1]) == 8
        assert {line[3] for line in first} != {line[3] for line in second}, "other mixtures"
    epochs = [[line[1] for line in lines[0] if line[0] == epoch] for epoch in ("0", "1")]
    assert epochs[0] != epochs[1]
    assert len({line[2] for part in lines for line in part}) > 18, "hardly a sound is heard twice"
    course = read_log(tmp_path / "run", "run")["oracle/uar"]
    kept = Predictions.read(tmp_path / "run/oracle.csv")
    assert set(kept.speaker) == {"6"} and len(kept) == 5
    assert score(kept)["uar"] == pytest.approx(max(course))


HANGING = """
import os, signal, sys, time
from mmer.training import cli

def hang(self, batch, number):
    if self.global_rank == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(300)

cli.EmotionClassifier.training_step = hang
sys.exit(cli.main(sys.argv[1:]))
"""


def test_a_process_that_waits_for_a_lost_one_says_so_and_ends(
    voice_config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a GPU it would wait for ever."""
    (tmp_path / "hanging.py").write_text(HANGING)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), *sys.path]))
    command = [sys.executable, "-m", "hanging", "fit", f"--config={voice_config}"]
    command += ["--trainer.strategy=ddp", "--trainer.devices=2"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)
    assert ended.returncode == 2, ended.stderr
    assert ended.stderr.splitlines()[-1] == (
        "train.py: error: process 1 of this training was ended by SIGKILL, and the others cannot go on without it; "
        "a fit goes on with --ckpt_path last in its folder"
    )
