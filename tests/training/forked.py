"""``mmer`` whose trainings are forked from it instead of started, which spares the seconds that imports take.

What runs in a child is what ``python -m MODULE`` would run, with its arguments, its environment and its leash.
"""

from __future__ import annotations

import os
import runpy
import signal
import sys
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, NoReturn

import torch

from mmer import cli
from mmer.errors import ConfigError
from mmer.training import child, crossval, settings, sweep, sweep_plan
from mmer.training.classifier import EmotionClassifier
from mmer.training.understand import read_line


class Process:
    """A forked process, as :class:`subprocess.Popen` shows one, so far as a child needs it."""

    def __init__(self, pid: int, leash: int) -> None:
        self.pid = pid
        self.stdin = os.fdopen(leash, "wb")
        self.returncode: int | None = None

    def poll(self) -> int | None:
        return self._look(os.WNOHANG)

    def wait(self) -> int | None:
        return self._look(0)

    def _look(self, how: int) -> int | None:
        if self.returncode is None:
            pid, status = os.waitpid(self.pid, how)
            self.returncode = os.waitstatus_to_exitcode(status) if pid else None
        return self.returncode


class Forked(child.Child):
    """A module of this package that runs in a process of its own; the trial ``killed`` is, in its second epoch."""

    killed: int | None = None

    def __init__(
        self,
        module: str,
        args: Sequence[str],
        log: Path,
        threads: int,
        surroundings: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self.log = log
        held, leash = os.pipe()
        pid = os.fork()
        if not pid:
            os.setsid()
            os.dup2(held, 0)
            said = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            os.dup2(said, 1), os.dup2(said, 2)
            os.closerange(3, 1024)  # the locks and leashes of others
            os.environ.update({**surroundings, child._LEASHED: "1", "OMP_NUM_THREADS": str(threads)})
            torch.set_num_threads(threads)
            if log.parent.name == str(self.killed):
                EmotionClassifier.on_train_epoch_start = die_in_the_second
            run(module, args)
        os.close(held)
        self.process: Any = Process(pid, leash)


def die_in_the_second(module: EmotionClassifier) -> None:
    if module.current_epoch == 1:
        os.kill(os.getpid(), signal.SIGKILL)


def run(module: str, args: Sequence[str]) -> NoReturn:
    """Do as ``python -m MODULE ARGS`` does."""
    code: Any = 0
    try:
        sys.argv = [module, *args]
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except SystemExit as ended:
        code = ended.code or 0
    except Exception:  # noqa: BLE001 - as an interpreter does
        traceback.print_exc()
        code = 1
    finally:
        sys.stdout.flush(), sys.stderr.flush()
        os._exit(code)


def read_here(lines: Sequence[Sequence[str]]) -> list[Any]:
    """Read settings as :func:`mmer.training.settings.read_several`, in this process."""
    try:
        return [read_line(line) for line in lines]
    except SystemExit as ended:
        raise ConfigError("standard error says what") from ended


def mmer(args: Sequence[str], killed: int | None = None) -> int:
    """Run ``mmer``."""
    Forked.killed = killed
    sweep.Child = crossval.Child = Forked
    settings.read_several = sweep_plan.read_several = read_here
    return cli.main(args)
