"""The course of a training, from the log that its run keeps."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mmer.errors import ConfigError


def read_log(folder: Path, name: str) -> dict[str, Any]:
    """Read a run's log: its metrics and its learning rate, epoch by epoch.

    A run that was resumed or replaced has several logs; from the epoch on with which a later one begins, it counts.

    Args:
        folder: The run's folder, ``trainer.default_root_dir``.
        name: What to call the run.

    Returns:
        ``name``, ``epochs``, and a list as long as ``epochs`` for each metric and for ``lr``; None where an epoch has
        no such number.

    Raises:
        ConfigError: The folder has no log of a whole epoch.
    """
    course: dict[int, dict[str, float]] = {}
    for path in sorted((folder / "logs").glob("version_*/metrics.csv"), key=_version):
        later = _read_epochs(path)
        course = {epoch: values for epoch, values in course.items() if not later or epoch < min(later)} | later
    if not course:
        raise ConfigError(
            f"{folder} holds no log of a whole epoch (logs/version_*/metrics.csv); name the folder of a run, "
            "its trainer.default_root_dir"
        )
    epochs = sorted(course)
    metrics = sorted({metric for values in course.values() for metric in values})
    return {
        "name": name,
        "epochs": epochs,
        **{metric: [course[epoch].get(metric) for epoch in epochs] for metric in metrics},
    }


def _version(path: Path) -> tuple[int, str]:
    number = path.parent.name.rpartition("_")[2]
    return (int(number) if number.isdecimal() else -1, path.parent.name)


def _read_epochs(path: Path) -> dict[int, dict[str, float]]:
    """Return what one log says of each epoch, the last word of several."""
    epochs: dict[int, dict[str, float]] = {}
    with path.open(newline="", encoding="utf-8", errors="replace") as file:
        unsaid: dict[str, float] = {}
        for row in csv.DictReader(file):
            values = dict(_numbers(row))
            epoch = values.pop("epoch", None)
            unsaid |= values
            if epoch is not None:  # the learning rate is logged without its epoch, which comes behind it
                epochs.setdefault(int(epoch), {}).update(unsaid)
                unsaid = {}
    return epochs


def _numbers(row: Mapping[str | None, str | list[str] | None]) -> Iterator[tuple[str, float]]:
    """Yield the numbers of a line by name; the first of several learning rates is ``lr``.

    A line that is being written may be cut off, even in a letter, and what a failed training logged may be no number.
    """
    rates = [name for name in row if name is not None and name.startswith("lr-")]
    for name, text in row.items():
        shown = "lr" if rates and name == rates[0] else name
        if shown is None or shown == "step" or shown in rates or not isinstance(text, str):
            continue
        try:
            value = float(text)
        except ValueError:
            continue
        if math.isfinite(value):
            yield shown, value
