"""How a trial goes, from the log that its training writes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mmer.errors import ConfigError
from mmer.evaluation.training_log import read_log


@dataclass(slots=True)
class Course:
    """What a trial was worth so far: its best epoch.

    Args:
        folder: The trial's.
        metric: What is compared.
        goal: Whether much or little of it is good.
        last: The newest epoch that is known, from 0; -1 before the first.
        best: The best value; None before the first.
        epoch: The epoch of the best.
    """

    folder: Path
    metric: str
    goal: str
    last: int = -1
    best: float | None = None
    epoch: int = -1
    _size: int = 0

    def read(self, *, whole: bool) -> list[tuple[int, float]]:
        """Return the epochs that are new, with their values.

        Args:
            whole: Whether the log is; one that may be written right now is left until its last line has an end.
        """
        logs = list((self.folder / "logs").glob("version_*/metrics.csv"))
        size = sum(path.stat().st_size for path in logs)
        if not whole and (size == self._size or not all(map(_is_whole, logs))):
            return []
        self._size = size
        try:
            log = read_log(self.folder, "")
        except ConfigError:
            return []
        values = log.get(self.metric) or [None] * len(log["epochs"])
        pairs = zip(log["epochs"], values, strict=True)
        return [(epoch, value) for epoch, value in pairs if value is not None and epoch > self.last]

    def add(self, epoch: int, value: float) -> float:
        """Take an epoch in, and return the best so far."""
        if self.best is None or better(value, self.best, self.goal):
            self.best, self.epoch = value, epoch
        self.last = epoch
        return self.best

    def is_named(self) -> bool:
        """Tell whether the log has the metric, if only with values that are no numbers."""
        logs = (self.folder / "logs").glob("version_*/metrics.csv")
        return any(
            self.metric in path.read_text(encoding="utf-8", errors="replace").partition("\n")[0].split(",")
            for path in logs
        )

    def logged(self) -> str:
        """Say what the training logged, where it was not the metric."""
        try:
            log = read_log(self.folder, "")
        except ConfigError:
            return "logged no epoch at all"
        known = ", ".join(name for name in log if name.startswith("val/"))
        return f"logged no {self.metric}, but {known or 'nothing of validation speakers'}"


def better(value: float, best: float | None, goal: str) -> bool:
    """Tell whether a value is better than the best."""
    return best is None or (value > best if goal == "maximize" else value < best)


def _is_whole(path: Path) -> bool:
    """Tell whether a file ends with a line's end, for it may be read while it is written."""
    with path.open("rb") as file:
        file.seek(0, 2)
        if not file.tell():
            return False
        file.seek(-1, 2)
        return file.read(1) == b"\n"
