"""What a training outlives: a signal, a full disk, a loss that is no number, a process that is gone."""

from __future__ import annotations

import errno
import json
import os
import re
import signal
import subprocess
import threading
from collections import deque
from pathlib import Path
from types import FrameType
from typing import Any

import lightning as L
import torch
import torch.distributed as dist
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.pytorch.callbacks import Callback, Checkpoint
from lightning.pytorch.plugins.io import TorchCheckpointIO
from torch import Tensor
from torch.distributed import ProcessGroup, Work

from mmer.atomic import replacing
from mmer.batch import Batch
from mmer.data.store import is_url
from mmer.errors import ConfigError, MmerError
from mmer.training.say import say, say_each

_DEAF = (signal.SIGKILL, signal.SIGSTOP)
"""Signals that no process can note."""

_UNWRITTEN = re.compile(r"PytorchStreamWriter|unexpected pos")
"""What PyTorch says where a file took less than it was given."""

_WRITING = re.compile(r"\.(best|last|epoch-\d+(-step-\d+)?)\.\d+\.ckpt")
"""Names of checkpoints that were being written when their process was killed."""


_FIRST = "MMER_FIRST"
"""Variable of the environment: the number of the process from which Lightning starts the others of its machine."""


class NonFiniteError(MmerError):
    """A loss that is no number."""


class Ended(Exception):
    """A training that was told to end, and has kept how far it was.

    Args:
        line: What to tell the user.
        code: The exit code.
    """

    def __init__(self, line: str, code: int) -> None:
        super().__init__(line)
        self.code = code


class AtomicCheckpoints(TorchCheckpointIO):
    """Writes checkpoints that are there whole or not at all, also after a loss of power or on a full disk."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Write a checkpoint beside its place, and then put it there.

        Raises:
            OSError: The disk is full, or the folder may not be written to.
            TypeError: There are ``storage_options``, which Lightning's own knows no use for either.
        """
        if is_url(str(path)) or storage_options is not None:
            super().save_checkpoint(checkpoint, path, storage_options)
            return
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as temporary:
            try:
                with temporary.open("wb") as file:
                    torch.save(checkpoint, file)
                    file.flush()
                    os.fsync(file.fileno())
            except RuntimeError as error:  # how PyTorch says that a file could not be written
                cause = error.__cause__ or error.__context__
                if isinstance(cause, OSError):
                    raise OSError(cause.errno, cause.strerror, str(path)) from error
                if not _UNWRITTEN.search(str(error)):
                    raise
                raise OSError(errno.EIO, f"cannot be written ({error})", str(path)) from error
            except OSError as error:
                raise OSError(error.errno, error.strerror, str(path)) from error


def remove_unfinished(folder: Path) -> None:
    """Remove what killed processes were writing into a folder of checkpoints."""
    for path in folder.glob(".*.ckpt"):
        if _WRITING.fullmatch(path.name):
            path.unlink(missing_ok=True)


def newest(folder: Path) -> Path | None:
    """Return the checkpoint of a folder from which a run goes on by itself, None where there is none.

    Until the end of its first epoch a run may have ``best`` alone.
    """
    return next((path for path in (folder / "last.ckpt", folder / "best.ckpt") if path.is_file()), None)


def is_between_steps(trainer: L.Trainer, batch_idx: int) -> bool:
    """Tell whether a training can be broken off behind a batch and go on as if it had not been.

    It is not half an accumulated step, nor is anything due that Lightning would leave out afterwards: a validation, the
    end of the epoch or of the training.
    """
    loop = trainer.fit_loop
    assert loop._data_fetcher is not None
    return (
        (batch_idx + 1) % trainer.accumulate_grad_batches == 0
        and not trainer.is_last_batch
        and trainer.global_step != trainer.max_steps
        and not loop.epoch_loop._should_check_val_fx(loop._data_fetcher)
    )


class EndOnSignal(Callback):
    """End a run when SIGTERM or SIGUSR1 asks for it; what it has learned is lost.

    A signal is only noted where it arrives, and obeyed behind the next optimiser step, or the next batch of an
    evaluation. All processes end at the same step, whichever was told: they tell each other beside the training, and no
    GPU is waited for.
    """

    def __init__(self) -> None:
        self.asked = 0
        self._signals: tuple[int, ...] = (0, signal.SIGTERM, signal.SIGUSR1)  # where processes heard several, the last
        self._group: ProcessGroup | None = None
        self._told: tuple[Work, Tensor] | None = None
        self._first = 0  # the epoch with which the run began or goes on

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Note signals from now on, in the place of Lightning, which gives them back in the end."""
        connector = trainer._signal_connector
        connector._original_handlers = connector._get_current_signal_handlers()
        connector.register_signal_handlers = lambda: None  # type: ignore[method-assign]
        self._listen(trainer)

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Open the processes' own line."""
        self._begin(trainer)
        self._first = trainer.current_epoch
        # Lightning asks the first process before every step, and waits for the GPU to answer
        trainer.fit_loop.epoch_loop._broadcast_sigterm_tensor = lambda: None  # type: ignore[method-assign]

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Take the signals over where nothing but a validation is asked for."""
        if trainer.state.fn == "validate":
            self._begin(trainer)

    def on_test_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Take the signals over."""
        self._begin(trainer)

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """End behind a step, unless it is half of one or the last of its epoch."""
        asked = self._ask_all()
        if asked and is_between_steps(trainer, batch_idx):
            self._keep(trainer)
            self._end(trainer, asked)

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """End between two epochs of this run: the first one's checkpoint is written."""
        if trainer.current_epoch > self._first and (asked := self._ask_all_now()):
            self._end(trainer, asked)

    def on_validation_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *args: Any) -> None:
        """End a validation that is no part of a training."""
        if trainer.state.fn == "validate" and (asked := self._ask_all()):
            self._end(trainer, asked)

    def on_test_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *args: Any) -> None:
        """End a test."""
        if asked := self._ask_all():
            self._end(trainer, asked)

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        """Note on a Ctrl-C, which waits for no step, what is left of the run; see :func:`interrupted`."""
        if isinstance(exception, KeyboardInterrupt):
            exception.add_note(f"interrupted{_place(trainer)}: {self._left(trainer)}")

    def _begin(self, trainer: L.Trainer) -> None:
        self._listen(trainer)
        if trainer.received_sigterm:  # in between; Lightning would end behind the first batch, with exit code 0
            trainer._signal_connector.received_sigterm = False
            self.asked = self.asked or signal.SIGTERM
        if trainer.world_size > 1 and dist.is_available() and dist.is_initialized():
            self._group = dist.new_group(backend="gloo", timeout=getattr(trainer.strategy, "_timeout", None))

    def _listen(self, trainer: L.Trainer) -> None:
        if (requeue := _requeue_signal(trainer)) is not None:
            self._signals = (0, signal.SIGTERM, signal.SIGUSR1, requeue)
        if threading.current_thread() is threading.main_thread():
            for number in self._signals[1:]:
                signal.signal(number, self._note)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.asked = self.asked or number  # SLURM sends SIGTERM behind the signal that it is asked for

    def _ask_all(self) -> int:
        """Return which signal some process had noted at the step before; all processes find the same."""
        if self._group is None:
            return self.asked
        asked = 0
        if self._told is not None:
            work, said = self._told
            work.wait()
            asked = self._signals[int(said)]
        said = torch.tensor(self._signals.index(self.asked))
        work = dist.all_reduce(said, dist.ReduceOp.MAX, group=self._group, async_op=True)
        assert work is not None
        self._told = work, said
        return asked

    def _ask_all_now(self) -> int:
        before = self._ask_all()
        return before if self._group is None else max(before, self._ask_all(), key=self._signals.index)

    def _end(self, trainer: L.Trainer, number: int) -> None:
        """Break the run off.

        Raises:
            Ended: Always.
        """
        name = signal.Signals(number).name
        trainer._signal_connector._original_handlers = {}  # SLURM sends SIGTERM where we are about to end anyway
        # a shell's code for it; any but 0 of another process would end the first before it has tidied up
        raise Ended(
            f"ended by {name}{_place(trainer)}: {self._outcome(trainer, number)}",
            128 + number if trainer.is_global_zero else 0,
        )

    def _keep(self, trainer: L.Trainer) -> None:
        """Keep how far the training is."""

    def _outcome(self, trainer: L.Trainer, number: int) -> str:
        """Say what is left of the run behind :meth:`_keep`."""
        return self._left(trainer)

    def _left(self, trainer: L.Trainer) -> str:
        """Say what is left of the run as it is."""
        return "nothing of it was kept"


class KeepOnSignal(EndOnSignal, Checkpoint):
    """Keep how far a training is and end it, when a signal asks for it; on SLURM, ask for a new turn.

    Between the two halves of an optimiser step the weights would be of no use. Behind the last step of an epoch its
    validation comes first. On SLURM, SIGUSR1 (``sbatch --signal``), or what the environment's ``requeue_signal`` names,
    puts the job back into the queue, as Lightning's own handler does, which would write its checkpoint wherever the
    signal happens to arrive.

    Args:
        path: Where to keep it, ``last.ckpt``.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path

    def _keep(self, trainer: L.Trainer) -> None:
        trainer.save_checkpoint(self.path)

    def _outcome(self, trainer: L.Trainer, number: int) -> str:
        kept = f"{self.path} goes on with --ckpt_path last, or auto"
        return f"{kept}; {_requeue()}" if trainer.is_global_zero and number == _requeue_signal(trainer) else kept

    def _left(self, trainer: L.Trainer) -> str:
        begun = trainer.global_step or trainer.ckpt_path  # else a checkpoint is of the run that this one replaces
        kept = newest(self.path.parent) if begun else None
        return super()._left(trainer) if kept is None else f"{kept} goes on with --ckpt_path auto"


def _place(trainer: L.Trainer) -> str:
    fits = trainer.state.fn == "fit"
    return f" at epoch {trainer.current_epoch + 1}, step {trainer.global_step}" if fits else ""


def _requeue_signal(trainer: L.Trainer) -> signal.Signals | None:
    """Return with which signal SLURM asks a job to go back into its queue; None elsewhere.

    Raises:
        ConfigError: No process ever hears of it.
    """
    environment = trainer._accelerator_connector.cluster_environment
    if not (isinstance(environment, SLURMEnvironment) and environment.auto_requeue):
        return None
    number = environment.requeue_signal
    if number in _DEAF:
        raise ConfigError(
            f"requeue_signal={signal.Signals(number).name} ends a process unheard; give another, as SIGUSR1 or SIGUSR2"
        )
    return number


def _requeue() -> str:
    """Put this SLURM job back into the queue, and say whether that was possible."""
    job = os.environ.get("SLURM_JOB_ID", "")
    if array := os.environ.get("SLURM_ARRAY_JOB_ID"):
        job = f"{array}_{os.environ['SLURM_ARRAY_TASK_ID']}"
    try:
        done = subprocess.run(["scontrol", "requeue", job], capture_output=True, text=True, check=False)
    except OSError as error:
        return f"job {job} could not be put back into the queue: {error}"
    if done.returncode != 0:
        return f"job {job} could not be put back into the queue: {done.stderr.strip()}"
    return f"job {job} is in the queue again"


class CheckLoss(Callback):
    """End a training whose loss is no number, and write down which clips it was.

    On a GPU the loss of a step is looked at when it is known and no step waits for it, one or a few steps later; before
    a checkpoint is written it is waited for.

    Args:
        folder: Where ``nonfinite.json`` goes, which has a number behind its name on all processes but the first.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._waiting: deque[tuple[Tensor, torch.cuda.Event | None, dict[str, Any]]] = deque()
        self._keys: tuple[str, ...] = ()
        self._number = 0

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Batch, batch_idx: int
    ) -> None:
        """Remember whose loss comes."""
        self._keys, self._number = batch.key, batch_idx

    def on_before_backward(self, trainer: L.Trainer, pl_module: L.LightningModule, loss: Tensor) -> None:
        """Look at the losses that are known by now."""
        where = {
            "epoch": trainer.current_epoch,
            "batch": self._number,
            "step": trainer.global_step,
            "rank": trainer.global_rank,
            "clips": list(self._keys),
        }
        event = None
        value = loss.detach()
        if value.is_cuda:
            value = torch.empty_like(value, device="cpu", pin_memory=True).copy_(value, non_blocking=True)
            event = torch.cuda.Event()  # type: ignore[no-untyped-call]
            event.record()
        self._waiting.append((value, event, where))
        self._look(wait=False)

    def on_save_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Keep no weights of which nobody knows whether they are numbers."""
        self._look(wait=True)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Look at the last ones."""
        self._look(wait=True)

    def _look(self, wait: bool) -> None:
        while self._waiting:
            value, event, where = self._waiting[0]
            if event is not None and wait:
                event.synchronize()
            if event is not None and not event.query():  # type: ignore[no-untyped-call]
                return
            self._waiting.popleft()
            if not value.isfinite():
                self._refuse(float(value), where)

    def _refuse(self, loss: float, where: dict[str, Any]) -> None:
        rank = where["rank"]
        path = self.folder / ("nonfinite.json" if rank == 0 else f"nonfinite-{rank}.json")
        self.folder.mkdir(parents=True, exist_ok=True)
        with replacing(path) as temporary:
            temporary.write_text(json.dumps({**where, "loss": str(loss)}, indent=2) + "\n", encoding="utf-8")
        raise NonFiniteError(
            f"the loss is {loss} in epoch {where['epoch'] + 1}, batch {where['batch'] + 1}; its clips are in {path}; "
            "look at them, or lower model.optim.lr, and go on from the last checkpoint"
        )


def interrupted(error: BaseException | None) -> str | None:
    """Return what to tell the user where a Ctrl-C is behind an error; None where there is none.

    Lightning makes an exit with code 1 of it, and who tidies up may find another process gone.
    """
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__context__
    return None if error is None else next(iter(getattr(error, "__notes__", ())), "interrupted")


def parted(error: BaseException) -> str | None:
    """Return what to tell the user where processes have lost each other or never met; None where it is another error.

    Before all have met it is a mistake in how they were started, and nobody was lost.
    """
    if not (isinstance(error, dist.DistError) or (isinstance(error, RuntimeError) and "gloo" in str(error).lower())):
        return None
    first = next(iter(str(error).strip().splitlines()), type(error).__name__)
    reason = re.sub(r"\s+", " ", re.sub(r"^\[[^]]*\]\s*", "", first))
    if dist.is_initialized():
        return (
            f"another process of this training is gone or does not answer ({reason}); it says above why, or was "
            "killed; a fit goes on with --ckpt_path last"
        )
    place = ", ".join(f"{name}={os.environ.get(name)}" for name in ("MASTER_ADDR", "MASTER_PORT", "WORLD_SIZE"))
    return (
        f"the processes of this training have not met ({reason}) with {place}; name the first one's machine and a port "
        "that is free there, the same to all, and start as many"
    )


class WatchChildren(Callback):
    """Say which process is gone where Lightning or torchrun has started them, and end the training.

    Lightning would end it without a word, a process that waits for another one on a GPU does not notice by itself, and
    whoever is left of a torchrun that was killed trains on. Elsewhere the parent is a shell, which may go.
    """

    patience = 3.0
    """Seconds in which a process that notices by itself may say so."""

    tidying = 15.0
    """Seconds that one of several processes has behind a Ctrl-C."""

    def __init__(self) -> None:
        self._over = threading.Event()
        if "LOCAL_RANK" not in os.environ:
            os.environ[_FIRST] = str(os.getpid())  # found again by those that Lightning starts from here

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Begin to watch."""
        processes = getattr(trainer.strategy.launcher, "procs", [])
        for thread in threading.enumerate():
            if thread.name == "child-process-observer":  # Lightning's, which kills this process without a word
                thread._run = lambda: True  # type: ignore[attr-defined]
        if processes:
            threading.Thread(target=self._watch, args=(processes,), daemon=True).start()
        parent = os.getppid()
        if trainer.local_rank and os.environ.get(_FIRST) == str(parent):
            threading.Thread(target=self._follow, args=(parent, "the first process"), daemon=True).start()
        elif "TORCHELASTIC_RUN_ID" in os.environ:
            threading.Thread(target=self._follow, args=(parent, "the torchrun"), daemon=True).start()

    def teardown(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """The training is over, and whoever ends now may."""
        self._over.set()

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        """The training is over, and says why itself; on a GPU it might wait for the lost one while it tidies up."""
        self._over.set()
        if pl_module.device.type == "cuda" and (line := parted(exception)) is not None:
            say_each(f"error: {line}")
            os._exit(2)
        if isinstance(exception, KeyboardInterrupt) and trainer.world_size > 1:
            timer = threading.Timer(self.tidying, self._give_up, (exception,))
            timer.daemon = True
            timer.start()

    def _give_up(self, exception: KeyboardInterrupt) -> None:
        """Leave where this process still tidies up: on a GPU it waits for what another one did not send."""
        say(str(interrupted(exception)))
        os._exit(128 + signal.SIGINT)

    def _watch(self, processes: list[subprocess.Popen[bytes]]) -> None:
        while not self._over.wait(0.5):
            if gone := [rank for rank, process in enumerate(processes, 1) if process.poll()]:
                code = processes[gone[0] - 1].returncode
                why = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
                self._leave(f"error: process {gone[0]} of this training {why}, and the others cannot go on without it")

    def _follow(self, parent: int, name: str) -> None:
        while not self._over.wait(0.5):
            if os.getppid() != parent:
                self._leave(f"error: {name} of this training is gone, and the others cannot go on without it")

    def _leave(self, line: str) -> None:
        if not self._over.wait(self.patience):
            say_each(f"{line}; a fit goes on with --ckpt_path last")
            os._exit(2)  # the main thread may wait for the lost one for ever
