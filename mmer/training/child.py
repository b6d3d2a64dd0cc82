"""Child processes: they never outlive who started them, and say in one line why they failed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from threading import Thread
from types import MappingProxyType

from mmer.training.devices import count_cores

_LEASHED = "MMER_LEASHED"  # set where standard input is a pipe that the parent holds open as long as it lives


class Child:
    """A module of this package that runs in a process of its own, with those that it starts.

    Args:
        module: The module, as ``python -m`` runs it; it calls :func:`follow_parent`.
        args: Its arguments.
        log: To which file it says what it has to say.
        threads: How many threads its mathematics have.
        surroundings: What else it finds in its environment.
    """

    def __init__(
        self,
        module: str,
        args: Sequence[str],
        log: Path,
        threads: int,
        surroundings: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self.log = log
        with log.open("ab") as file:
            self.process = subprocess.Popen(
                [sys.executable, "-m", module, *args],
                stdin=subprocess.PIPE,
                stdout=file,
                stderr=subprocess.STDOUT,
                env={**os.environ, **surroundings, _LEASHED: "1", "OMP_NUM_THREADS": str(threads)},
                start_new_session=True,  # a Ctrl-C is for the parent, and a signal reaches the whole group
            )

    def poll(self) -> int | None:
        """Return its exit code, None as long as it runs; where it failed, none of those that it started is left."""
        code = self.process.poll()
        if code is not None and self.process.stdin is not None and not self.process.stdin.closed:
            self.process.stdin.close()
            if code:
                self.kill()
        return code

    def kill(self) -> None:
        """End it and all that it has started, at once: nothing of it is kept. Its end is seen by :meth:`poll`."""
        with suppress(ProcessLookupError, PermissionError):  # it is gone; all of it is, which is what macOS says
            os.killpg(self.process.pid, signal.SIGKILL)

    def complaint(self) -> str:
        """Return in one line why it failed."""
        code = self.process.returncode
        if code < 0:
            return f"it was ended by {signal.Signals(-code).name}"
        return complaint(self.log.read_text(encoding="utf-8", errors="replace"))


def stop(children: Sequence[Child]) -> None:
    """End processes whose work begins anew, all of them at once, and wait until they are gone."""
    for child in children:
        child.kill()
    for child in children:
        child.process.wait()
        child.poll()


def share_threads(jobs: int) -> int:
    """Return how many threads a training has: those that the environment names, or its share of the cores.

    Args:
        jobs: How many run at once.
    """
    named = os.environ.get("OMP_NUM_THREADS", "")
    return int(named) if named.isdecimal() and int(named) else max(1, count_cores() // jobs)


def complaint(text: str) -> str:
    """Return the line in which a program said what went wrong: its error, or the last line."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line.partition(": error: ")[2] for line in lines if ": error: " in line]
    return errors[-1] if errors else lines[-1] if lines else "it said nothing"


def follow_parent() -> None:
    """End this process, where it is a :class:`Child`, as soon as whoever started it is gone, however that came."""
    if os.environ.get(_LEASHED):
        Thread(target=_wait, daemon=True).start()


def _wait() -> None:
    while os.read(sys.stdin.fileno(), 1024):
        pass
    os._exit(1)  # nothing is left to tidy: files appear whole or not at all
