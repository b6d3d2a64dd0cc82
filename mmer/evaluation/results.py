"""Tables of answers to systems, and systems to a folder of results; without torch, so that it is quick and small."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any, Literal, get_args

from mmer.atomic import replacing
from mmer.evaluation.compare import on_common_clips
from mmer.evaluation.predictions import Predictions
from mmer.evaluation.report.page import write_report
from mmer.evaluation.system import System

TableFormat = Literal["csv", "parquet"]
"""How the answers are written."""


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What was measured.

    Args:
        metrics: The content of metrics.json.
        systems: The systems.
    """

    metrics: dict[str, Any]
    systems: Sequence[System]

    def write(self, output: Path, table: TableFormat = "csv") -> None:
        """Write metrics.json, the answers, index.html and its figures into a folder.

        The answers are written whole, also those about clips on which the systems are not compared.
        Answers of an earlier report that have no place in this one are removed; files of anybody else's stay.
        """
        output.mkdir(parents=True, exist_ok=True)
        before, tables = _earlier_tables(output), _tables(self.metrics, table)
        for system in self.systems:
            path = output / tables[system.name]
            path.parent.mkdir(exist_ok=True)
            system.predictions.write(path)
        write_report(output, self.metrics, on_common_clips(self.systems)[0])
        with replacing(output / "metrics.json") as temporary:
            temporary.write_text(json.dumps(self.metrics, indent=2, allow_nan=False) + "\n", encoding="utf-8")
        for name in before - set(tables.values()):
            (output / name).unlink(missing_ok=True)


def evaluate_predictions(path: Path, *, name: str | None = None, labels: Sequence[str] | None = None) -> System:
    """Read the answers of any system, as docs/metrics.md describes their table.

    Args:
        path: The table, CSV or Parquet.
        name: What the report calls it; None takes the name of the file.
        labels: The class names; None takes those of the table.

    Raises:
        PredictionsError: The table is not what it should be.
    """
    answers = Predictions.read(path, labels)
    return System(name or system_name(path), answers, _describe_table(path))


def _describe_table(path: Path) -> dict[str, Any]:
    """Return what is known of a table of answers; the rest they tell themselves."""
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    return {"source": {"kind": "predictions", "path": str(path), "sha256": sha256, "epoch": None}}


def system_name(path: Path) -> str:
    """Return what a report calls a checkpoint or a table where nobody says: its run, its report, or its own name."""
    whole = path.absolute()
    if whole.parent.name == "checkpoints":
        run = whole.parent.parent.name
        return run if path.stem == "best" else f"{run} {path.stem}"
    return whole.parent.name if path.stem == "predictions" else path.stem


def number_names(names: Sequence[str], join: str = " ") -> list[str]:
    """Return names so that no two are the same, whatever their case: ``a``, ``a 2``, ``a 3``."""
    taken: dict[str, str] = {}
    for name in names:
        tries = (name if number == 1 else f"{name}{join}{number}" for number in count(1))
        free = next(each for each in tries if each.casefold() not in taken)
        taken[free.casefold()] = free
    return list(taken.values())


def _tables(metrics: Mapping[str, Any], table: str) -> dict[str, str]:
    """Return where the answers of each system are written, inside the folder of results."""
    names = [system["name"] for system in metrics["systems"]]
    if len(names) == 1:
        return {names[0]: f"predictions.{table}"}
    safe = number_names([re.sub(r"[^\w+.-]+", "-", name).strip("-.") or "system" for name in names], join="-")
    return {name: f"predictions/{file}.{table}" for name, file in zip(names, safe, strict=True)}


def _earlier_tables(output: Path) -> set[str]:
    """Return where the report that a folder holds may have written answers."""
    try:
        metrics = json.loads((output / "metrics.json").read_text(encoding="utf-8"))
        return {path for table in get_args(TableFormat) for path in _tables(metrics, table).values()}
    except (OSError, ValueError, TypeError, KeyError):  # there is none, or it is another program's or version's
        return set()
