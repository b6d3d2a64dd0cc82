"""What a process of a training says and does where another one is gone, or was never met."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import threading

import lightning as L
import torch.distributed as dist
from lightning.pytorch.callbacks import Callback

from mmer.training.say import say, say_each
from mmer.training.signals import interrupted

_FIRST = "MMER_FIRST"
"""Variable of the environment: the number of the process from which Lightning starts the others of its machine."""


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
            "killed; a fit goes on with --ckpt_path last in its folder"
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
        parent, first = os.getppid(), int(os.environ.get(_FIRST, 0))
        if "TORCHELASTIC_RUN_ID" in os.environ:
            threading.Thread(target=self._follow, args=(parent, "the torchrun"), daemon=True).start()
        elif trainer.local_rank and first and (first == parent or not _lives(first)):  # it may have gone before this
            threading.Thread(target=self._follow, args=(first, "the first process"), daemon=True).start()

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
            say_each(f"{line}; a fit goes on with --ckpt_path last in its folder")
            os._exit(2)  # the main thread may wait for the lost one for ever


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # somebody else's
        return True
    return True
