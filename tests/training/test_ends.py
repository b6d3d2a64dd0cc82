"""How trainings end, and what each ending says."""

from __future__ import annotations

import csv
import errno
import os
import runpy
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import lightning as L
import pytest
import torch
import torch.distributed as dist
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment

from mmer.errors import ConfigError
from mmer.training import cli, peers, survive
from mmer.training.peers import WatchChildren, parted
from mmer.training.signals import Ended, EndOnSignal, KeepOnSignal, interrupted
from mmer.training.survive import AtomicCheckpoints, NamedLog, remove_unfinished

MODULE = Mock(spec=L.LightningModule)


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    """Give signals back to whom they belong."""
    numbers = (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)
    before = {number: signal.getsignal(number) for number in numbers}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A SLURM job, and the folder of its commands."""
    for name in [name for name in os.environ if name.startswith("SLURM_")]:
        monkeypatch.delenv(name)
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    return tmp_path / "bin"


def scontrol(folder: Path, does: str) -> None:
    path = folder / "scontrol"
    path.write_text(f"#!/bin/sh\n{does}\n")
    path.chmod(0o755)


def make_trainer(environment: Any = None, fn: str = "fit") -> Any:
    """What a callback asks of a trainer on one process, behind step 13 of its second epoch."""
    return Mock(
        spec=L.Trainer,
        state=SimpleNamespace(fn=fn),
        current_epoch=1,
        global_step=13,
        ckpt_path=None,
        max_steps=-1,
        world_size=1,
        is_global_zero=True,
        is_last_batch=False,
        accumulate_grad_batches=1,
        received_sigterm=False,
        fit_loop=SimpleNamespace(
            _data_fetcher=object(), epoch_loop=SimpleNamespace(_should_check_val_fx=lambda fetcher: False)
        ),
        _accelerator_connector=SimpleNamespace(cluster_environment=environment),
        _signal_connector=SimpleNamespace(received_sigterm=False, _get_current_signal_handlers=dict),
    )


def end(callback: EndOnSignal, trainer: Any, *numbers: signal.Signals) -> Ended:
    """Signal a training and let it do its step."""
    callback.on_train_start(trainer, MODULE)
    for number in numbers:
        os.kill(os.getpid(), number)
    with pytest.raises(Ended) as ended:
        callback.on_train_batch_end(trainer, MODULE, None, None, 3)
    return ended.value


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGUSR1, 138)])
def test_a_run_without_checkpoints_says_that_nothing_was_kept(number: signal.Signals, code: int) -> None:
    ended = end(EndOnSignal(), make_trainer(), number)
    assert str(ended) == f"ended by {number.name} at epoch 2, step 13: nothing of it was kept"
    assert ended.code == code


@pytest.mark.parametrize("fn", ["test", "validate"])
def test_an_evaluation_ends_behind_a_batch(fn: str) -> None:
    callback, trainer = EndOnSignal(), make_trainer(fn=fn)
    stage = "test" if fn == "test" else "validation"
    begin, step = (getattr(callback, f"on_{stage}_{when}") for when in ("start", "batch_end"))
    begin(trainer, MODULE)
    step(trainer, MODULE, None, None, 0)
    os.kill(os.getpid(), signal.SIGTERM)
    with pytest.raises(Ended, match=r"^ended by SIGTERM: nothing of it was kept$") as ended:
        step(trainer, MODULE, None, None, 1)
    assert ended.value.code == 143


def test_the_validation_of_a_training_is_brought_to_its_end() -> None:
    callback, trainer = EndOnSignal(), make_trainer()
    callback.on_train_start(trainer, MODULE)
    os.kill(os.getpid(), signal.SIGTERM)
    callback.on_validation_start(trainer, MODULE)
    callback.on_validation_batch_end(trainer, MODULE, None, None, 0)
    assert callback.asked == signal.SIGTERM


def test_a_run_ends_between_two_epochs_of_its_own_alone(tmp_path: Path) -> None:
    """Where it goes on from a checkpoint of another run, none of its own is there yet."""
    callback, trainer = KeepOnSignal(tmp_path / "last.ckpt"), make_trainer()
    callback.on_train_start(trainer, MODULE)
    os.kill(os.getpid(), signal.SIGTERM)
    callback.on_train_epoch_start(trainer, MODULE)
    trainer.current_epoch += 1
    with pytest.raises(Ended, match="goes on with --ckpt_path last"):
        callback.on_train_epoch_start(trainer, MODULE)


@pytest.mark.filterwarnings("default")
def test_signals_are_noted_from_the_beginning_and_given_back(
    voice_config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What comes after the training, as the upload of its checkpoint, can be ended."""
    heard = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGUSR1)
    during: list[Any] = []

    class Looking(cli.TellSplit):
        def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
            during.append(signal.getsignal(signal.SIGTERM).__qualname__)  # type: ignore[union-attr]

        def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
            during.append(signal.getsignal(signal.SIGTERM))

    monkeypatch.setattr(cli, "TellSplit", Looking)
    assert cli.main(["fit", f"--config={voice_config}", "--trainer.max_epochs=1"]) == 0
    assert during == ["EndOnSignal._note", heard[0]]
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGUSR1)) == heard


def test_a_signal_before_the_first_step_is_not_lost() -> None:
    """Lightning has noted it meanwhile, and would end with exit code 0."""
    trainer = make_trainer()
    trainer.received_sigterm = True
    trainer._signal_connector = SimpleNamespace(received_sigterm=True)
    assert end(EndOnSignal(), trainer).code == 143
    assert not trainer._signal_connector.received_sigterm


@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGUSR2])
def test_the_signal_that_slurm_was_asked_for_asks_for_another_turn(
    job: Path, tmp_path: Path, number: signal.Signals
) -> None:
    """SLURM sends SIGTERM behind it."""
    scontrol(job, f'echo "$@" > {tmp_path / "asked"}')
    trainer = make_trainer(SLURMEnvironment(requeue_signal=number))
    ended = end(KeepOnSignal(tmp_path / "last.ckpt"), trainer, number, signal.SIGTERM)
    assert str(ended).endswith("last.ckpt goes on with --ckpt_path last, or auto; job 7 is in the queue again")
    assert ended.code == 128 + number
    assert (tmp_path / "asked").read_text() == "requeue 7\n"


@pytest.mark.parametrize("environment", ["other signal", "no requeue", "not kept"])
def test_nothing_else_asks_for_another_turn(job: Path, tmp_path: Path, environment: str) -> None:
    """A run that keeps nothing would begin anew each time."""
    scontrol(job, f"touch {tmp_path / 'asked'}")
    slurm = SLURMEnvironment(auto_requeue=environment != "no requeue")
    callback = EndOnSignal() if environment == "not kept" else KeepOnSignal(tmp_path / "last.ckpt")
    number = signal.SIGTERM if environment == "other signal" else signal.SIGUSR1
    assert "job 7" not in str(end(callback, make_trainer(slurm), number))
    assert not (tmp_path / "asked").exists()


@pytest.mark.parametrize(
    ("does", "said"),
    [
        (None, "job 7 could not be put back into the queue: [Errno 2] No such file or directory: 'scontrol'"),
        ("echo 'Invalid job id specified' >&2; exit 1", "job 7 could not be put back into the queue: Invalid job id"),
    ],
    ids=["no scontrol", "refused"],
)
def test_a_job_that_cannot_be_put_back_says_why(job: Path, tmp_path: Path, does: str | None, said: str) -> None:
    if does is not None:
        scontrol(job, does)
    ended = end(KeepOnSignal(tmp_path / "last.ckpt"), make_trainer(SLURMEnvironment()), signal.SIGUSR1)
    assert f"--ckpt_path last, or auto; {said}" in str(ended)
    assert ended.code == 138, "it was kept all the same"


def test_a_signal_that_nobody_hears_cannot_be_asked_for(job: Path) -> None:
    trainer = make_trainer(SLURMEnvironment(requeue_signal=signal.SIGKILL))
    with pytest.raises(ConfigError, match="requeue_signal=SIGKILL ends a process unheard; give another, as SIGUSR1"):
        EndOnSignal().on_fit_start(trainer, MODULE)


def test_a_disk_that_takes_less_than_it_is_given_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: Any) -> None:
        raise RuntimeError("[enforce fail at inline_container.cc:664] . unexpected pos 576 vs 470")

    monkeypatch.setattr(survive.torch, "save", fail)
    with pytest.raises(OSError, match=r"cannot be written \(.*unexpected pos 576 vs 470\)") as failed:
        AtomicCheckpoints().save_checkpoint({}, tmp_path / "last.ckpt")
    assert (failed.value.errno, failed.value.filename) == (errno.EIO, str(tmp_path / "last.ckpt"))
    assert list(tmp_path.iterdir()) == []


def test_a_log_that_cannot_be_written_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: Any, **more: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    log = NamedLog(tmp_path, name="logs")
    log.log_metrics({"loss": 1.0}, step=0)
    monkeypatch.setattr(csv, "DictWriter", full)
    with pytest.raises(OSError, match="No space left") as failed:
        log.save()
    assert failed.value.filename == str(tmp_path / "logs/version_0/metrics.csv")


def test_what_is_no_fault_of_a_disk_is_not_called_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: Any) -> None:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    monkeypatch.setattr(survive.torch, "save", fail)
    with pytest.raises(RuntimeError, match="illegal memory access"):
        AtomicCheckpoints().save_checkpoint({}, tmp_path / "last.ckpt")


def test_options_of_a_storage_are_not_dropped(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="storage_options"):
        AtomicCheckpoints().save_checkpoint({}, tmp_path / "last.ckpt", storage_options={"compression": True})
    assert list(tmp_path.iterdir()) == []


def test_what_killed_processes_were_writing_is_removed_and_nothing_else(tmp_path: Path) -> None:
    stays = ["last.ckpt", ".mine.ckpt", ".last.old.ckpt"]
    goes = [".last.12.ckpt", ".best.3.ckpt", ".epoch-007.4.ckpt", ".epoch-007-step-000120.5.ckpt"]
    for name in (*stays, *goes):
        (tmp_path / name).touch()
    remove_unfinished(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(stays)


GLOO = "[../third_party/gloo/gloo/transport/tcp/pair.cc:534] Connection closed by peer [::1]:1"


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (RuntimeError(GLOO), "Connection closed by peer [::1]:1"),
        (
            dist.DistBackendError("NCCL communicator was aborted on rank 0.\nsecond line"),
            "NCCL communicator was aborted",
        ),
        (dist.DistNetworkError("failed to recv, got 0 bytes"), "failed to recv, got 0 bytes"),
    ],
    ids=["gloo", "nccl", "network"],
)
def test_a_lost_process_is_called_one_once_all_have_met(
    monkeypatch: pytest.MonkeyPatch, error: Exception, reason: str
) -> None:
    monkeypatch.setattr(dist, "is_initialized", lambda: True)
    said = str(parted(error))
    assert said.startswith(f"another process of this training is gone or does not answer ({reason}")
    assert said.endswith("; it says above why, or was killed; a fit goes on with --ckpt_path last in its folder")
    assert "\n" not in said


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (dist.DistNetworkError("The client socket has failed to connect to (nowhere, 29500)."), "The client socket"),
        (dist.DistStoreError("Timed out after 61 seconds waiting for clients. 1/2 joined."), "Timed out after 61"),
        (RuntimeError("Gloo connectFullMesh failed with [../third_party/gloo/x.cc:1]"), "Gloo connectFullMesh failed"),
    ],
    ids=["address", "too few", "gloo"],
)  # fmt: skip
def test_a_mistake_of_setting_up_loses_nobody(monkeypatch: pytest.MonkeyPatch, error: Exception, reason: str) -> None:
    for name, value in {"MASTER_ADDR": "nowhere", "MASTER_PORT": "29500", "WORLD_SIZE": "2"}.items():
        monkeypatch.setenv(name, value)
    said = str(parted(error))
    assert said.startswith(f"the processes of this training have not met ({reason}")
    assert said.endswith(
        ") with MASTER_ADDR=nowhere, MASTER_PORT=29500, WORLD_SIZE=2; name the first one's machine and a port that is "
        "free there, the same to all, and start as many"
    )


@pytest.mark.parametrize("begun", [True, False])
def test_other_errors_are_none_of_them(monkeypatch: pytest.MonkeyPatch, begun: bool) -> None:
    monkeypatch.setattr(dist, "is_initialized", lambda: begun)
    assert parted(RuntimeError("a bug of ours")) is None


def behind(context: BaseException, error: BaseException) -> BaseException:
    """Return an error as one that came while another was dealt with."""
    error.__context__ = context
    return error


def test_what_comes_behind_a_ctrl_c_is_none_of_it() -> None:
    told = KeyboardInterrupt()
    told.add_note("interrupted at epoch 2, step 13: nothing of it was kept")
    assert interrupted(KeyboardInterrupt()) == "interrupted"
    for error in (SystemExit(1), RuntimeError(GLOO)):
        assert interrupted(behind(told, error)) == "interrupted at epoch 2, step 13: nothing of it was kept"
    for error in (SystemExit(1), behind(ValueError(), RuntimeError(GLOO))):
        assert interrupted(error) is None


@pytest.mark.parametrize(
    ("files", "step", "kept"),
    [
        (["last.ckpt", "best.ckpt"], 13, "last.ckpt goes on with --ckpt_path auto"),
        (["best.ckpt"], 13, "best.ckpt goes on with --ckpt_path auto"),
        ([], 13, "interrupted at epoch 2, step 13: nothing of it was kept"),
        (["last.ckpt"], 0, "interrupted at epoch 2, step 0: nothing of it was kept"),
    ],
    ids=["both", "first epoch", "none", "another run's"],
)
def test_a_ctrl_c_is_told_which_checkpoint_goes_on(tmp_path: Path, files: list[str], step: int, kept: str) -> None:
    for name in files:
        (tmp_path / name).touch()
    trainer, told = make_trainer(), KeyboardInterrupt()
    trainer.global_step = step
    KeepOnSignal(tmp_path / "last.ckpt").on_exception(trainer, MODULE, told)
    assert str(interrupted(told)).endswith(kept)


def test_a_ctrl_c_while_settings_are_read_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cli, "TrainCLI", Mock(side_effect=KeyboardInterrupt))
    assert cli.main([]) == 130
    assert capsys.readouterr().err == "train.py: interrupted\n"


def test_a_ctrl_c_while_pytorch_is_imported_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Importing:
        def __getattr__(self, name: str) -> Any:
            raise KeyboardInterrupt

    monkeypatch.setitem(sys.modules, "mmer.training.cli", Importing())
    with pytest.raises(SystemExit, match="130"):
        runpy.run_path(str(Path(__file__).parents[2] / "train.py"), run_name="__main__")
    assert capsys.readouterr().err == "train.py: interrupted\n"


class Gone(BaseException):
    """Instead of the end of this process."""


@pytest.fixture
def watch(monkeypatch: pytest.MonkeyPatch) -> WatchChildren:
    def leave(code: int) -> None:
        raise Gone(code)

    monkeypatch.setattr(peers.os, "_exit", leave)
    monkeypatch.setattr(WatchChildren, "patience", 0.0)
    return WatchChildren()


def test_a_process_whose_first_is_gone_says_so(watch: WatchChildren, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(Gone, match="2"):
        watch._follow(-1, "the first process")
    assert capsys.readouterr().err == (
        "train.py: error: the first process of this training is gone, and the others cannot go on without it; "
        "a fit goes on with --ckpt_path last in its folder\n"
    )


@pytest.mark.parametrize(
    ("known", "local_rank", "followed"),
    [
        ({peers._FIRST: str(os.getppid())}, 1, "the first process"),
        ({peers._FIRST: str(os.getppid()), "SLURM_PROCID": "0"}, 1, "the first process"),  # an interactive job
        ({peers._FIRST: str(os.getppid())}, 0, None),
        ({peers._FIRST: str(os.getpid())}, 1, None),  # of a training that has started this one as another
        ({}, 1, None),  # by hand: the shell may go
        ({"TORCHELASTIC_RUN_ID": "x"}, 0, "the torchrun"),
        ({"TORCHELASTIC_RUN_ID": "x", peers._FIRST: "-1"}, 1, "the torchrun"),
    ],
)
def test_a_process_follows_whoever_has_started_it_to_learn_together(
    known: dict[str, str], local_rank: int, followed: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"LOCAL_RANK": str(local_rank), **known}.items():
        monkeypatch.setenv(name, value)
    threads = Mock()
    monkeypatch.setattr(peers.threading, "Thread", threads)
    watch = WatchChildren()
    trainer = make_trainer()
    trainer.local_rank, trainer.strategy.launcher.procs = local_rank, []
    watch.setup(trainer, MODULE, "fit")
    found = [call.kwargs["args"] for call in threads.call_args_list]
    assert found == ([] if followed is None else [(os.getppid(), followed)])


def test_a_process_whose_first_is_gone_before_it_looks_says_so(
    watch: WatchChildren, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    gone = subprocess.Popen(["true"])
    gone.wait()
    monkeypatch.setenv("LOCAL_RANK", "1")
    monkeypatch.setenv(peers._FIRST, str(gone.pid))
    threads = Mock()
    monkeypatch.setattr(peers.threading, "Thread", threads)
    trainer = make_trainer()
    trainer.local_rank, trainer.strategy.launcher.procs = 1, []
    watch.setup(trainer, MODULE, "fit")
    with pytest.raises(Gone, match="2"):
        threads.call_args.kwargs["target"](*threads.call_args.kwargs["args"])
    assert "the first process of this training is gone" in capsys.readouterr().err


def test_the_first_process_leaves_its_number_to_those_that_it_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(peers._FIRST, "1")
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    WatchChildren()
    assert os.environ[peers._FIRST] == str(os.getpid())


def test_a_training_that_is_over_follows_nobody(watch: WatchChildren, capsys: pytest.CaptureFixture[str]) -> None:
    watch.teardown(make_trainer(), MODULE, "fit")
    watch._follow(-1, "the first process")
    watch._leave("error: nothing")
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("code", "why"), [(-9, "was ended by SIGKILL"), (2, "ended with exit code 2")], ids=["killed", "failed"]
)
def test_a_process_that_is_gone_is_named(
    watch: WatchChildren, capsys: pytest.CaptureFixture[str], code: int, why: str
) -> None:
    alive, gone = (Mock(spec=subprocess.Popen, poll=Mock(return_value=each), returncode=each) for each in (None, code))
    with pytest.raises(Gone, match="2"):
        watch._watch([alive, gone])
    assert f"process 2 of this training {why}, and the others cannot go on without it" in capsys.readouterr().err


def test_on_a_gpu_a_process_leaves_the_lost_one_at_once(
    watch: WatchChildren, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It might wait for it while it tidies up."""
    monkeypatch.setattr(dist, "is_initialized", lambda: True)
    trainer, module = make_trainer(), Mock(spec=L.LightningModule, device=torch.device("cuda"))
    with pytest.raises(Gone, match="2"):
        watch.on_exception(trainer, module, dist.DistBackendError("NCCL timeout"))
    assert "is gone or does not answer (NCCL timeout)" in capsys.readouterr().err
    watch.on_exception(trainer, module, ValueError("a bug of ours"))


@pytest.mark.parametrize("processes", [1, 2])
def test_one_of_several_processes_does_not_tidy_up_for_ever(
    watch: WatchChildren, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], processes: int
) -> None:
    """On a GPU, behind a Ctrl-C, it may wait for what another one did not send."""
    timer, trainer, told = Mock(), make_trainer(), KeyboardInterrupt()
    monkeypatch.setattr(peers.threading, "Timer", timer)
    trainer.world_size = processes
    watch.on_exception(trainer, Mock(spec=L.LightningModule, device=torch.device("cpu")), told)
    assert timer.call_count == timer.return_value.start.call_count == processes - 1
    with pytest.raises(Gone, match="130"):
        watch._give_up(told)
    assert capsys.readouterr().err == "train.py: interrupted\n"
