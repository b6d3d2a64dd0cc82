"""How a training ends that is told to: by SIGTERM, by what a cluster sends before its time is over, by Ctrl-C."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import threading
from pathlib import Path
from types import FrameType
from typing import Any

import lightning as L
import torch
import torch.distributed as dist
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.pytorch.callbacks import Callback, Checkpoint
from torch import Tensor
from torch.distributed import ProcessGroup, Work

from mmer.errors import ConfigError
from mmer.training.survive import is_between_steps, newest

_DEAF = (signal.SIGKILL, signal.SIGSTOP)
"""Signals that no process can note."""


class Ended(Exception):
    """A training that was told to end, and has kept how far it was.

    Args:
        line: What to tell the user.
        code: The exit code.
    """

    def __init__(self, line: str, code: int) -> None:
        super().__init__(line)
        self.code = code


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
        moved: Whether the run's folder is another than its settings name.
    """

    def __init__(self, path: Path, moved: bool = False) -> None:
        super().__init__()
        self.path = path
        folder = f"--trainer.default_root_dir={shlex.quote(str(path.parent.parent))} " if moved else ""
        self._again = f"goes on with {folder}--ckpt_path"

    def _keep(self, trainer: L.Trainer) -> None:
        trainer.save_checkpoint(self.path)

    def _outcome(self, trainer: L.Trainer, number: int) -> str:
        kept = f"{self.path} {self._again} last, or auto"
        return f"{kept}; {_requeue()}" if trainer.is_global_zero and number == _requeue_signal(trainer) else kept

    def _left(self, trainer: L.Trainer) -> str:
        begun = trainer.global_step or trainer.ckpt_path  # else a checkpoint is of the run that this one replaces
        kept = newest(self.path.parent) if begun else None
        return super()._left(trainer) if kept is None else f"{kept} {self._again} auto"


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


def interrupted(error: BaseException | None) -> str | None:
    """Return what to tell the user where a Ctrl-C is behind an error; None where there is none.

    Lightning makes an exit with code 1 of it, and who tidies up may find another process gone.
    """
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__context__
    return None if error is None else next(iter(getattr(error, "__notes__", ())), "interrupted")
