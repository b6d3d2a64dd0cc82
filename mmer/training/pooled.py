"""The tasks of a cross-validation as one system: every clip tested once for each seed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from mmer.corpora.manifest import listed, reading_order
from mmer.evaluation.metrics import score
from mmer.evaluation.predictions import Predictions, join
from mmer.evaluation.select import BROKEN
from mmer.evaluation.system import Degraded, System
from mmer.training.fold import read_system
from mmer.training.plan import Plan, PlannedFold, Task

_DOUBTED = ("ece", "brier", "log_loss")  # the scores that a calibration is there to mend


def pool(plan: Plan, folder: Path, tasks: Sequence[Task], missing: Sequence[Task] = ()) -> System:
    """Put the answers of finished tasks together.

    Args:
        plan: The cross-validation.
        folder: Its folder.
        tasks: The finished tasks.
        missing: The others, which the notes name.

    Raises:
        CrossvalError: What a task left cannot be read.
    """
    read = [read_system(plan, task) for task in tasks]
    systems = [system for system, _ in read]
    raw = [answers for _, answers in read if answers is not None]
    oracles = [system.oracle for system in systems if system.oracle is not None]
    runs = [run for system in systems if system.training is not None for run in system.training["runs"]]
    names = dict.fromkeys(chain.from_iterable(system.subsets for system in systems))
    return System(
        plan.name,
        join([system.predictions for system in systems]),
        _about(plan, folder, systems, join(raw) if raw else None, missing),
        oracle=join(oracles) if oracles else None,
        subsets={name: join([system.subsets[name] for system in systems if name in system.subsets]) for name in names},
        degraded=_degraded(systems),
        training={"runs": runs} if runs else None,
    )


def _degraded(systems: Sequence[System]) -> list[Degraded]:
    """Return each kind and level of harm with the answers of all systems."""
    found: dict[tuple[str, float | None, str], list[Predictions]] = {}
    for each in chain.from_iterable(system.degraded for system in systems):
        found.setdefault((each.kind, each.level, each.unit), []).append(each.predictions)
    return [Degraded(kind, level, join(parts), unit) for (kind, level, unit), parts in found.items()]


def _about(
    plan: Plan, folder: Path, systems: Sequence[System], raw: Predictions | None, missing: Sequence[Task]
) -> dict[str, Any]:
    """Return what metrics.json says of the pooled system: what all tasks share, and what each adds."""
    first = systems[0].about
    scored = sorted({name for system in systems for name in system.about["speakers"]["scored"]}, key=reading_order)
    bare = ["the oracle's probabilities are not calibrated"] if raw is not None and plan.extras.oracle else []
    who = map(_who, plan.folds)
    said = (note for system in systems for note in system.about["notes"])
    return {
        "source": {"kind": "crossval", "path": str(folder), "sha256": None, "epoch": None},
        "protocol": plan.protocol if len(plan.folds) == 1 else f"{plan.protocol}, {len(plan.folds)} folds",
        "part": "test",
        "seeds": list(dict.fromkeys(seed for system in systems for seed in system.about["seeds"])),
        "speakers": {"train": None, "validation": None, "scored": scored},
        "model": first["model"],
        "trained_with": first["trained_with"],
        "corpus": _corpus([system.about["corpus"] for system in systems if system.about["seeds"] == first["seeds"]]),
        "calibration": None if raw is None else _calibration(plan.extras.calibrate, systems, raw),
        "leaks": list(dict.fromkeys(leak for system in systems for leak in system.about["leaks"])),
        "notes": list(dict.fromkeys((*_missing(missing, len(systems)), *plan.left_out, *who, *bare, *said))),
    }


def _missing(tasks: Sequence[Task], finished: int) -> Iterator[str]:
    if tasks:
        names = ", ".join(task.name for task in tasks)
        yield f"PARTIAL: {len(tasks)} of {len(tasks) + finished} tasks are missing: {names}"


def _who(fold: PlannedFold) -> str:
    """Say who is in each part of a fold."""
    test, validation, train = (
        listed(fold.speakers[part]) or "nobody known" for part in ("test", "validation", "train")
    )
    chose = f"{validation} chose the checkpoint" if fold.clips["validation"] else "the last checkpoint was kept"
    return f"fold {fold.number}: {test} tested; {chose}; {train} trained"


def _corpus(tasks: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the corpora of one seed's folds, with the clips that are left out of any, each counted once."""
    counts: Counter[str] = Counter()
    for task in tasks:
        for each in task["left_out"]:
            reason, clips = each["reason"], each["clips"]
            counts[reason] = max(counts[reason], clips) if reason.startswith(BROKEN) else counts[reason] + clips
    licences = {name: licence for task in tasks for name, licence in task["licences"].items()}
    return {
        **tasks[0],
        "names": sorted(licences),
        "licences": dict(sorted(licences.items())),
        "synthetic": any(task["synthetic"] for task in tasks),
        "left_out": [{"reason": reason, "clips": clips} for reason, clips in counts.items()],
    }


def _calibration(method: str, systems: Sequence[System], raw: Predictions) -> dict[str, Any]:
    """Return how the folds' probabilities were corrected, and how good they were before."""
    each, before = [system.about["calibration"] for system in systems], score(raw)
    return {
        "method": method,
        "scale": [],
        "bias": [],
        "speakers": sorted({name for found in each for name in found["speakers"]}, key=reading_order),
        "clips": sum(found["clips"] for found in each),
        "before": {name: before[name] for name in _DOUBTED},
    }
