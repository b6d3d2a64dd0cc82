"""A training outlives kills, signals and full disks, and ends as if nothing had happened."""

from __future__ import annotations

import csv
import json
import random
import signal
import socket
import time
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from mmer.evaluation.training_log import read_log
from mmer.training.cli import main

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("default")]

RECORD = """
def record(self, batch, number, step=cli.EmotionClassifier.training_step):
    loss = step(self, batch, number)
    with open({path!r} + f".{{self.global_rank}}", "a") as file:
        print(self.current_epoch, number, repr(float(loss)), *sorted(batch.key), file=file)
    return loss

cli.EmotionClassifier.training_step = record
"""
"""Writes down the loss and the clips of every step."""

SLOW = """
import time

def slow(self, batch, number, step=cli.EmotionClassifier.training_step):
    time.sleep(0.1)
    return step(self, batch, number)

cli.EmotionClassifier.training_step = slow
"""

COUNT = """
def count(self, batch, number, step=cli.EmotionClassifier.training_step):
    with open({path!r}, "a") as file:
        file.write(".")
    return step(self, batch, number)

cli.EmotionClassifier.training_step = count
"""
"""Says how many steps it has begun."""

SIGNAL = """
import os, signal

def signalled(self, batch, number, step=cli.EmotionClassifier.training_step):
    if (self.current_epoch, number, self.global_rank) == {place!r}:
        os.kill(os.getpid(), signal.{name})
    return step(self, batch, number)

cli.EmotionClassifier.training_step = signalled
"""

KILL = """
import os, signal
cli.LastCheckpoint.on_train_epoch_end = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
"""
"""Where last.ckpt would be written for the first time."""

NAN = """
def nan(self, batch, number, step=cli.EmotionClassifier.training_step):
    bad = (self.current_epoch, number, self.global_rank) == (1, 2, {rank})
    return step(self, batch, number) * (float("nan") if bad else 1)

cli.EmotionClassifier.training_step = nan
"""


@pytest.fixture
def long_config(tiny_config: Path) -> Path:
    """Three epochs of nine steps, with everything that is drawn at random and has a memory."""
    config = yaml.safe_load(tiny_config.read_text())
    config["model"]["averaging"] = {"kind": "ema", "decay": 0.9}
    config["data"] |= {"batch_size": 2, "augment": {"mixup": 0.5, "cutmix": 0.5}}
    config["trainer"] |= {"max_epochs": 3, "log_every_n_steps": 1}
    tiny_config.write_text(yaml.safe_dump(config))
    return tiny_config


def weights(folder: Path, name: str = "last") -> dict[str, Any]:
    return torch.load(folder / "checkpoints" / f"{name}.ckpt", weights_only=True)


def assert_same_run(folder: Path, expected: Path) -> None:
    for name in ("last", "best"):
        found, wanted = weights(folder, name), weights(expected, name)
        torch.testing.assert_close(found["state_dict"], wanted["state_dict"], rtol=0, atol=0)
        torch.testing.assert_close(found["optimizer_states"], wanted["optimizer_states"], rtol=0, atol=0)
        assert (found["epoch"], found["global_step"]) == (wanted["epoch"], wanted["global_step"])
        assert found["lr_schedulers"] == wanted["lr_schedulers"]


def scores(folder: Path) -> dict[str, Any]:
    """What was logged of the epochs, but for what depends on the clock."""
    log = read_log(folder, "run")
    return {name: values for name, values in log.items() if name.startswith(("train/", "val/")) and "/c" not in name}


def last_of(run: Path) -> Path:
    return run / "checkpoints/last.ckpt"


def logged_steps(run: Path) -> set[int]:
    """Return the steps whose gradient is in a log of the run."""
    rows = [row for path in run.glob("logs/version_*/metrics.csv") for row in csv.DictReader(path.open())]
    return {int(row["step"]) for row in rows if row.get("train/grad_norm")}


def until_as_long(path: Path, size: int) -> None:
    """Wait until a file has so many bytes."""
    for _ in range(6000):
        if size == 0 or (path.exists() and path.stat().st_size >= size):
            return
        time.sleep(0.01)
    raise TimeoutError(path)


def test_twenty_kills_at_random_moments_change_nothing(nursery: Any, voice_config: Path, tmp_path: Path) -> None:
    """Every start goes on with the line of the first; what a kill takes is done again, to the same bits."""
    fit = ["fit", f"--config={voice_config}", "--save_every=2", "--data.batch_size=1", "--trainer.max_epochs=10"]
    fit += ["--model.averaging.kind=ema", "--model.averaging.decay=0.9", "--trainer.log_every_n_steps=1"]
    whole = nursery.start([*fit, f"--trainer.default_root_dir={tmp_path / 'whole'}"], tmp_path / "whole.log")
    assert whole.wait() == 0, whole.said()
    line, log = [*fit, "--ckpt_path=auto", f"--trainer.default_root_dir={tmp_path / 'killed'}"], tmp_path / "killed.log"
    draw, steps = random.Random(0), 0
    for life in range(20):
        count = tmp_path / f"steps-{life}"
        run = nursery.start(line, log, before=COUNT.format(path=str(count)))
        until_as_long(count, draw.randint(0, 6))
        time.sleep(draw.uniform(0, 0.05))
        run.send(signal.SIGKILL)
        assert run.wait() == -signal.SIGKILL, run.said()
        steps += count.stat().st_size if count.exists() else 0
    assert steps > 20, "most kills came in the middle of a training"
    last = nursery.start(line, log)
    assert last.wait() == 0, last.said()
    assert_same_run(tmp_path / "killed", tmp_path / "whole")
    assert logged_steps(tmp_path / "killed") == logged_steps(tmp_path / "whole") == set(range(150))
    assert [path.name for path in (tmp_path / "killed/checkpoints").iterdir() if path.name.startswith(".")] == []


def test_a_kill_between_the_checkpoints_of_the_first_epoch_changes_nothing(
    nursery: Any, long_config: Path, tmp_path: Path
) -> None:
    fit = ["fit", f"--config={long_config}", "--ckpt_path=auto", "--trainer.max_epochs=2"]
    whole = nursery.start([*fit, f"--trainer.default_root_dir={tmp_path / 'whole'}"], tmp_path / "whole.log")
    assert whole.wait() == 0, whole.said()
    line = [*fit, f"--trainer.default_root_dir={tmp_path / 'killed'}"]
    first = nursery.start(line, tmp_path / "log", before=KILL)
    assert first.wait() == -signal.SIGKILL, first.said()
    assert [path.name for path in (tmp_path / "killed/checkpoints").iterdir()] == ["best.ckpt"]
    second = nursery.start(line, tmp_path / "log")
    assert second.wait() == 0, second.said()
    assert_same_run(tmp_path / "killed", tmp_path / "whole")


@pytest.mark.parametrize(("name", "code"), [("SIGTERM", 143), ("SIGUSR1", 138)])
def test_a_signal_keeps_the_step_and_ends(
    nursery: Any, long_config: Path, tmp_path: Path, name: str, code: int
) -> None:
    """What comes after, losses and clips of every step and the log of every epoch, is as if there had been none."""
    whole = ["fit", f"--config={long_config}", f"--trainer.default_root_dir={tmp_path / 'whole'}"]
    run = nursery.start(whole, tmp_path / "whole.log", before=RECORD.format(path=str(tmp_path / "whole")))
    assert run.wait() == 0, run.said()
    broken = ["fit", f"--config={long_config}", f"--trainer.default_root_dir={tmp_path / 'broken'}"]
    record = RECORD.format(path=str(tmp_path / "broken"))
    first = nursery.start(broken, tmp_path / "log", before=record + SIGNAL.format(place=(1, 3, 0), name=name))
    assert first.wait() == code, first.said()
    path = tmp_path / "broken/checkpoints/last.ckpt"
    expected = f"train.py: ended by {name} at epoch 2, step 13: {path} goes on with --ckpt_path last, or auto"
    assert first.errors()[-1] == expected
    second = nursery.start([*broken, "--ckpt_path=last"], tmp_path / "log", before=record)
    assert second.wait() == 0, second.said()
    assert (tmp_path / "broken.0").read_text() == (tmp_path / "whole.0").read_text()
    assert_same_run(tmp_path / "broken", tmp_path / "whole")
    assert scores(tmp_path / "broken") == scores(tmp_path / "whole")


def test_a_signal_to_all_processes_leaves_the_readers_at_work(nursery: Any, long_config: Path, tmp_path: Path) -> None:
    """As torchrun, SLURM and ``timeout`` send it."""
    group = SIGNAL.format(place=(1, 3, 0), name="SIGTERM").replace("os.kill(os.getpid(), ", "os.killpg(os.getpgrp(), ")
    fit = ["fit", f"--config={long_config}", "--data.workers=2"]
    run = nursery.start(fit, tmp_path / "log", before=f"import os; os.setsid()\n{group}")
    assert run.wait() == 143, run.said()
    assert "ended by SIGTERM at epoch 2, step 13: " in run.errors()[-1]


def test_ctrl_c_ends_at_once_and_says_what_goes_on(nursery: Any, long_config: Path, tmp_path: Path) -> None:
    """A terminal sends it to the readers too."""
    fit, log = ["fit", f"--config={long_config}", "--data.workers=2"], tmp_path / "log"
    last, moved = last_of(tmp_path / "run"), tmp_path / "run-2"
    other = f"{last_of(moved)} goes on with --trainer.default_root_dir={moved} --ckpt_path auto"
    lives = [
        (["--ckpt_path=auto"], (0, 3, 0), "1, step 3: nothing of it was kept"),
        (["--ckpt_path=auto"], (1, 3, 0), f"2, step 12: {last} goes on with --ckpt_path auto"),
        (
            [],
            (1, 3, 0),
            f"2, step 12: {other}",
        ),
    ]
    for flags, place, said in lives:
        group = SIGNAL.format(place=place, name="SIGINT").replace("os.kill(os.getpid(), ", "os.killpg(os.getpgrp(), ")
        run = nursery.start([*fit, *flags], log, before=f"import os; os.setsid()\n{group}")
        assert run.wait() == 130, run.said()
        assert run.errors()[-1] == f"train.py: interrupted at epoch {said}"
        assert "Traceback" not in run.said()


@pytest.mark.parametrize("heard", [1, 2])
def test_ctrl_c_ends_several_processes(nursery: Any, long_config: Path, tmp_path: Path, heard: int) -> None:
    """Who has not heard it finds the other gone."""
    told = "".join(SIGNAL.format(place=(1, 3, rank), name="SIGINT") for rank in range(heard))
    fit = ["fit", f"--config={long_config}", "--data.batch_size=1"]
    runs = nursery.start_all(2, fit, tmp_path / "log", told)
    assert [run.wait() for run in runs] == [130, 130 if heard == 2 else 2], runs[0].said() + runs[1].said()
    assert runs[0].errors()[-1].startswith("train.py: interrupted at epoch 2, step 12: ")
    assert "Traceback" not in runs[0].said() + runs[1].said()


def test_half_of_an_accumulated_step_is_not_kept(nursery: Any, long_config: Path, tmp_path: Path) -> None:
    fit = ["fit", f"--config={long_config}", "--trainer.accumulate_grad_batches=4"]
    run = nursery.start(fit, tmp_path / "log", before=SIGNAL.format(place=(1, 1, 0), name="SIGTERM"))
    assert run.wait() == 143, run.said()
    assert "at epoch 2, step 4: " in run.errors()[-1], "three steps of an epoch of nine batches, and the next whole one"


def test_a_signal_in_the_last_step_of_an_epoch_waits_for_its_end(
    nursery: Any, long_config: Path, tmp_path: Path
) -> None:
    run = nursery.start(
        ["fit", f"--config={long_config}"], tmp_path / "log", before=SIGNAL.format(place=(0, 8, 0), name="SIGTERM")
    )
    assert run.wait() == 143, run.said()
    assert "ended by SIGTERM at epoch 2, step 9: " in run.errors()[-1]
    assert read_log(tmp_path / "run", "run")["val/uar"][0] is not None


def test_slurm_is_asked_for_another_turn(nursery: Any, voice_config: Path, tmp_path: Path) -> None:
    scontrol = tmp_path / "bin/scontrol"
    scontrol.parent.mkdir()
    scontrol.write_text(f'#!/bin/sh\necho "$@" > {tmp_path / "asked"}\n')
    scontrol.chmod(0o755)
    slurm = {"SLURM_NTASKS": "1", "SLURM_JOB_ID": "7", "SLURM_JOB_NAME": "emotions", "SLURM_PROCID": "0"}
    slurm |= {"SLURM_LOCALID": "0", "SLURM_NODEID": "0", "SLURM_NTASKS_PER_NODE": "1", "SLURM_NODELIST": "localhost"}
    run = nursery.start(
        ["fit", f"--config={voice_config}", "--trainer.devices=1", "--trainer.num_nodes=1"],
        tmp_path / "log",
        {**slurm, "PATH": f"{scontrol.parent}:/usr/bin:/bin"},
        SIGNAL.format(place=(1, 1, 0), name="SIGUSR1"),
    )
    assert run.wait() == 138, run.said()
    assert run.errors()[-1].endswith("; job 7 is in the queue again")
    assert (tmp_path / "asked").read_text() == "requeue 7\n"


def test_a_loss_that_is_no_number_ends_the_training_with_its_clips(
    nursery: Any, voice_config: Path, tmp_path: Path
) -> None:
    record = RECORD.format(path=str(tmp_path / "steps"))
    run = nursery.start(["fit", f"--config={voice_config}"], tmp_path / "log", before=NAN.format(rank=0) + record)
    assert run.wait() == 2, run.said()
    path = tmp_path / "run/nonfinite.json"
    assert run.errors()[-1].startswith(
        f"train.py: error: the loss is nan in epoch 2, batch 3; its clips are in {path};"
    )
    found = json.loads(path.read_text())
    clips = (tmp_path / "steps.0").read_text().splitlines()[-1].split()[3:]
    assert sorted(found.pop("clips")) == clips and len(clips) == 4
    assert found == {"epoch": 1, "batch": 2, "step": 5, "rank": 0, "loss": "nan"}
    assert all(value.isfinite().all() for value in weights(tmp_path / "run")["state_dict"].values())


def test_a_full_disk_is_one_line_and_costs_no_checkpoint(nursery: Any, voice_config: Path, tmp_path: Path) -> None:
    fit = ["fit", f"--config={voice_config}", "--trainer.max_epochs=1"]
    assert nursery.start(fit, tmp_path / "log").wait() == 0
    before = (tmp_path / "run/checkpoints/last.ckpt").read_bytes()
    full = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))"
    line = ["fit", f"--config={voice_config}", "--trainer.max_epochs=3", "--ckpt_path=last"]
    run = nursery.start(line, tmp_path / "log", before=full)
    assert run.wait() == 2, run.said()
    assert run.errors()[-1].endswith("best.ckpt: File too large") or run.errors()[-1].endswith(
        "last.ckpt: File too large"
    )
    assert "Traceback" not in run.said()
    assert (tmp_path / "run/checkpoints/last.ckpt").read_bytes() == before
    assert sorted(path.name for path in (tmp_path / "run/checkpoints").iterdir()) == ["best.ckpt", "last.ckpt"]


def test_the_best_epochs_are_kept_beside_the_best_and_the_last(
    nursery: Any, voice_config: Path, tmp_path: Path
) -> None:
    fit = ["fit", f"--config={voice_config}", "--trainer.max_epochs=5", "--keep=3"]
    run = nursery.start(fit, tmp_path / "log")
    assert run.wait() == 0, run.said()
    names = sorted(path.stem for path in (tmp_path / "run/checkpoints").iterdir())
    assert names[0] == "best" and names[-1] == "last" and len(names) == 5
    uar = read_log(tmp_path / "run", "run")["val/uar"]
    kept = [uar[int(name.removeprefix("epoch-"))] for name in names[1:-1]]
    assert sorted(kept) == sorted(uar)[-3:]


def test_the_best_epochs_are_those_of_the_whole_run_behind_a_kill(
    nursery: Any, voice_config: Path, tmp_path: Path
) -> None:
    """A rate that is constant does not depend on how long the run was to be."""

    def kept(name: str, *lives: int) -> list[str]:
        folder = tmp_path / name
        fit = ["fit", f"--config={voice_config}", "--keep=2", f"--trainer.default_root_dir={folder}"]
        fit += [
            "--model.optim.schedule=constant",
            "--model.optim.warmup=0",
            "--ckpt_path=auto",
        ]
        for epochs in lives:
            run = nursery.start([*fit, f"--trainer.max_epochs={epochs}"], tmp_path / f"{name}.log")
            assert run.wait() == 0, run.said()
        return sorted(path.name for path in (folder / "checkpoints").iterdir())

    assert kept("broken", 1, 2, 3, 4, 6) == kept("whole", 6)


def test_a_run_that_goes_on_with_other_steps_has_the_rate_of_their_rule(
    nursery: Any, voice_config: Path, tmp_path: Path
) -> None:
    """Twice the clips a step, twice the rate, of the same one that was chosen for four."""
    fit = ["fit", f"--config={voice_config}", "--model.optim.scaling=linear", "--model.optim.schedule=constant"]
    fit += ["--model.optim.warmup=0", "--trainer.log_every_n_steps=1"]
    assert nursery.start([*fit, "--trainer.max_epochs=1"], tmp_path / "log").wait() == 0
    second = nursery.start([*fit, "--ckpt_path=last", "--data.batch_size=8"], tmp_path / "log")
    assert second.wait() == 0, second.said()
    assert read_log(tmp_path / "run", "run")["lr"] == pytest.approx([0.001, 0.002])
    said = "the learning rate is 0.002, 2 times 0.001 (linear scaling): a step takes 8 clips, and that rate is for 4"
    assert any(said in line for line in second.errors())


def test_a_validation_that_is_due_is_not_left_out(nursery: Any, long_config: Path, tmp_path: Path) -> None:
    """Nine steps with a validation behind every third: a signal in the third waits for the fourth."""
    fit = ["fit", f"--config={long_config}", "--trainer.val_check_interval=3"]
    run = nursery.start(fit, tmp_path / "log", before=SIGNAL.format(place=(1, 2, 0), name="SIGTERM"))
    assert run.wait() == 143, run.said()
    assert "at epoch 2, step 13: " in run.errors()[-1]


def test_nobody_chooses_epochs_without_validation_speakers(nursery: Any, voice_config: Path, tmp_path: Path) -> None:
    run = nursery.start(["fit", f"--config={voice_config}", "--keep=2", "--data.split.validation=[]"], tmp_path / "log")
    assert run.wait() == 2
    assert "keep=2 watches validation speakers and there are none" in run.errors()[-1]


def test_two_processes_end_together_and_go_on_together(nursery: Any, long_config: Path, tmp_path: Path) -> None:
    """The second is told alone. One process goes on with twice the batch, for a step takes the same clips."""
    fit = ["fit", f"--config={long_config}", "--data.batch_size=1", "--trainer.max_epochs=2"]
    fit += ["--data.augment.mixup=0", "--data.augment.cutmix=0"]
    runs = nursery.start_all(2, fit, tmp_path / "log", SIGNAL.format(place=(1, 2, 1), name="SIGTERM"))
    assert [run.wait() for run in runs] == [143, 0], runs[0].said()
    assert runs[0].errors()[-1].startswith("train.py: ended by SIGTERM at epoch 2, step 13: ")
    refused = nursery.start([*fit, "--ckpt_path=last"], tmp_path / "refused")
    assert refused.wait() == 2
    said = (
        "in the middle of an epoch with data.batch_size=1 on 2 processes, and this is 1 on 1; give what makes 2 clips"
    )
    assert said in refused.errors()[-1]
    steps = RECORD.format(path=str(tmp_path / "steps"))
    alone = nursery.start([*fit, "--ckpt_path=last", "--data.batch_size=2"], tmp_path / "alone", before=steps)
    assert alone.wait() == 0, alone.said()
    assert [line.split()[:2] for line in (tmp_path / "steps.0").read_text().splitlines()] == [
        ["1", str(step)] for step in range(4, 9)
    ]


def test_a_process_whose_peer_is_killed_says_so(nursery: Any, long_config: Path, tmp_path: Path) -> None:
    endless = ["fit", f"--config={long_config}", "--trainer.max_epochs=1000"]
    first, second = nursery.start_all(2, endless, tmp_path / "log", SLOW)
    until_as_long(tmp_path / "run/logs/version_0/metrics.csv", 1)
    second.send(signal.SIGKILL)
    assert second.wait() == -signal.SIGKILL
    assert first.wait() == 2, first.said()
    assert first.errors()[-1].startswith("train.py: error: another process of this training is gone or does not answer")
    assert first.errors()[-1].endswith("a fit goes on with --ckpt_path last in its folder")


def test_a_loss_that_is_no_number_ends_the_other_process_too(nursery: Any, long_config: Path, tmp_path: Path) -> None:
    runs = nursery.start_all(2, ["fit", f"--config={long_config}"], tmp_path / "log", NAN.format(rank=1))
    assert [run.wait() for run in runs] == [2, 2]
    assert "another process of this training is gone" in runs[0].errors()[-1]
    assert "the loss is nan in epoch 2, batch 3; its clips are in" in runs[1].errors()[-1]
    assert json.loads((tmp_path / "run/nonfinite-1.json").read_text())["rank"] == 1


def test_a_port_that_is_taken_loses_nobody(nursery: Any, voice_config: Path, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        shared = {"MASTER_ADDR": "localhost", "MASTER_PORT": port, "TORCHELASTIC_RUN_ID": "test", "WORLD_SIZE": "1"}
        place = {"RANK": "0", "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "1", "GROUP_RANK": "0"}
        fit = ["fit", f"--config={voice_config}", "--trainer.strategy=ddp", "--trainer.devices=1"]
        run = nursery.start(fit, tmp_path / "log", {**shared, **place})
        assert run.wait() == 2, run.said()
    (line,) = [line for line in run.errors() if "error: " in line]
    assert line.startswith("train.py: error: the processes of this training have not met (") and "EADDRINUSE" in line
    assert f"with MASTER_ADDR=localhost, MASTER_PORT={port}, WORLD_SIZE=1; name the first one's machine" in line


def test_without_checkpoints_a_signal_ends_all_processes_and_keeps_nothing(
    nursery: Any, voice_config: Path, tmp_path: Path
) -> None:
    """Lightning would ask the first process before every step, and end with exit code 0."""
    asks = "from lightning.pytorch.loops.training_epoch_loop import _TrainingEpochLoop as loop\n"
    asks += "def ask(self): raise AssertionError('asked')\nloop._broadcast_sigterm_tensor = ask\n"
    fit = ["fit", f"--config={voice_config}", "--trainer.enable_checkpointing=false", "--data.batch_size=1"]
    runs = nursery.start_all(2, fit, tmp_path / "log", asks + SIGNAL.format(place=(0, 2, 1), name="SIGUSR1"))
    assert [run.wait() for run in runs] == [138, 0], runs[0].said() + runs[1].said()
    assert runs[0].errors()[-1] == "train.py: ended by SIGUSR1 at epoch 1, step 4: nothing of it was kept"
    assert not (tmp_path / "run/checkpoints").exists()


def test_a_test_that_is_told_to_end_does_not_pretend_to_be_finished(
    nursery: Any, voice_config: Path, tmp_path: Path
) -> None:
    """Lightning would end with exit code 0."""
    assert nursery.start(["fit", f"--config={voice_config}", "--trainer.max_epochs=1"], tmp_path / "log").wait() == 0
    told = SIGNAL.format(place=(0, 0, 0), name="SIGTERM").replace("training_step", "test_step")
    run = nursery.start(["test", f"--config={voice_config}", "--ckpt_path=best"], tmp_path / "log", before=told)
    assert run.wait() == 143, run.said()
    assert run.errors()[-1] == "train.py: ended by SIGTERM: nothing of it was kept"


def test_a_run_that_replaces_another_leaves_none_of_its_checkpoints(
    nursery: Any, voice_config: Path, tmp_path: Path
) -> None:
    """Killed within its first epoch, it would else go on from those of the other."""
    fit = ["fit", f"--config={voice_config}", "--keep=2"]
    assert nursery.start(fit, tmp_path / "log").wait() == 0
    fit, kill = [*fit, "--overwrite"], SIGNAL.format(place=(0, 1, 0), name="SIGKILL")
    kept = tmp_path / "run/checkpoints"
    (tmp_path / "link").symlink_to(tmp_path / "run")
    goes_on = [*fit, f"--ckpt_path={tmp_path}/link/checkpoints/last.ckpt", "--trainer.max_epochs=3"]
    later = SIGNAL.format(place=(2, 1, 0), name="SIGKILL")
    assert nursery.start(goes_on, tmp_path / "log", before=later).wait() == -signal.SIGKILL
    assert (kept / "last.ckpt").is_file() and (kept / "best.ckpt").is_file(), "what goes on replaces nothing"
    assert nursery.start(fit, tmp_path / "log", before=kill).wait() == -signal.SIGKILL
    assert list(kept.iterdir()) == []


def test_the_best_validations_within_epochs_are_kept_apart(nursery: Any, voice_config: Path, tmp_path: Path) -> None:
    fit = ["fit", f"--config={voice_config}", "--keep=9", "--trainer.max_epochs=1"]
    for interval, size, steps in ((2, 2, (2, 4, 6)), (1, 6, (1, 2))):
        folder = tmp_path / str(interval)
        flags = [f"--trainer.val_check_interval={interval}", f"--data.batch_size={size}"]
        run = nursery.start([*fit, *flags, f"--trainer.default_root_dir={folder}"], tmp_path / "log")
        assert run.wait() == 0, run.said()
        names = sorted(path.name for path in (folder / "checkpoints").glob("epoch-*"))
        assert names == [f"epoch-000-step-{step:06d}.ckpt" for step in steps]


def test_a_time_is_no_interval_of_validations(voice_config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fit", f"--config={voice_config}", "--trainer.val_check_interval=00:15:00"]) == 2
    assert capsys.readouterr().err.splitlines()[-1] == (
        "train.py: error: trainer.val_check_interval=00:15:00 is a time, at which processes would not agree; give a "
        "number of batches, or a share of an epoch"
    )


def test_a_run_that_shows_nobody_to_validate_keeps_its_last_epoch(
    nursery: Any, voice_config: Path, tmp_path: Path
) -> None:
    fit = ["fit", f"--config={voice_config}", "--trainer.limit_val_batches=0", "--trainer.check_val_every_n_epoch=9"]
    run = nursery.start(fit, tmp_path / "log")
    assert run.wait() == 0, run.said()
    best = weights(tmp_path / "run", "best")
    assert best["epoch"] == 1
