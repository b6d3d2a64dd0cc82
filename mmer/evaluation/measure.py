"""Systems to metrics.json: everything that is said of them, and everything that is counted."""

from __future__ import annotations

import math
import platform
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib.metadata import version
from typing import Any

import numpy as np

from mmer.corpora.catalogue import describe_corpora
from mmer.corpora.manifest import reading_order
from mmer.errors import ConfigError, PredictionsError
from mmer.evaluation.compare import compare, on_common_clips
from mmer.evaluation.explanation import Explanation
from mmer.evaluation.intervals import LEVEL, Units, bootstrap
from mmer.evaluation.metrics import ERRORS, EVERY_SCORE, SCORES, count_answers, reliability, score, score_classes
from mmer.evaluation.predictions import GROUPS, Predictions
from mmer.evaluation.ranking import areas
from mmer.evaluation.system import Degraded, System

FORMAT = 3
"""Version of metrics.json."""

FEW_SPEAKERS = 10
"""Below this many, intervals over speakers are known to be too narrow."""

_ABOUT = ("source", "protocol", "part", "seeds", "speakers", "model", "trained_with", "corpus", "calibration")


def measure(
    systems: Sequence[System], *, metric: str = "uar", resamples: int = 10_000, seed: int = 0, command: str = ""
) -> dict[str, Any]:
    """Return the whole content of metrics.json; see docs/metrics.md.

    Args:
        systems: The systems, each with a name of its own.
        metric: By which score they are sorted, best first.
        resamples: How many times speakers are drawn for the intervals and the tests.
        seed: Seed of the draws.
        command: The command that made it.

    Raises:
        ConfigError: There is no system, or no such score, or the number of resamples is not positive.
        PredictionsError: The systems have different classes, or no clip in common.
    """
    if metric not in EVERY_SCORE:
        raise ConfigError(f"metric {metric} is unknown; take one of {', '.join(EVERY_SCORE)}")
    if not systems:
        raise ConfigError("there is no system to measure; give a checkpoint or a table of answers")
    if resamples < 1:
        raise ConfigError(f"resamples={resamples} must be at least 1")
    assert len({system.name for system in systems}) == len(systems), "systems are told apart by their names"
    labels = systems[0].predictions.names
    common, left_out = on_common_clips([_with_classes(system, labels) for system in systems])
    systems = sort_systems(common, metric)
    answers = {system.name: system.predictions for system in systems}
    metrics: dict[str, Any] = _plain(
        {
            "format": FORMAT,
            "command": command,
            "versions": versions(),
            "labels": labels,
            "chance": 1 / len(labels),
            "metric": metric,
            "bootstrap": {"resamples": resamples, "level": LEVEL, "seed": seed},
            "systems": [_describe(system, left_out[system.name], resamples, seed) for system in systems],
            "comparison": {**compare(answers, resamples=resamples, seed=seed), "left_out": left_out}
            if len(systems) > 1
            else None,
        }
    )
    return metrics


def sort_systems(systems: Sequence[System], metric: str) -> list[System]:
    """Return systems with the best by a score first; those without it last, equals by their names."""

    def rank(system: System) -> tuple[bool, float, str]:
        value = score(system.predictions)[metric]
        return math.isnan(value), value if metric in ERRORS else -value, system.name

    return sorted(systems, key=rank)


def versions() -> dict[str, str]:
    """Return the versions that scores and figures depend on."""
    names = ("mmer", "torch", "torchmetrics", "numpy", "scipy", "matplotlib")
    return {"python": platform.python_version(), **{name: version(name) for name in names}}


def _with_classes(system: System, labels: Sequence[str]) -> System:
    """Return a system with its classes in the order of all; refuse other classes."""
    own = system.predictions.names
    if own == tuple(labels):
        return system
    if set(own) != set(labels):
        raise PredictionsError(
            f"system {system.name} has the classes {', '.join(own)}, the first one {', '.join(labels)}; compare "
            "systems of the same classes (a class that is never predicted has a column of zeros)"
        )
    return replace(
        system,
        predictions=system.predictions.renamed(labels),
        about={**system.about, "calibration": _reordered(system.about.get("calibration"), own, labels)},
        oracle=system.oracle and system.oracle.renamed(labels),
        subsets={name: found.renamed(labels) for name, found in system.subsets.items()},
        degraded=[replace(each, predictions=each.predictions.renamed(labels)) for each in system.degraded],
    )


def _reordered(calibration: Any, own: Sequence[str], labels: Sequence[str]) -> Any:
    """Return what is said of a calibration with its numbers for each class in the order of all; None of none."""
    if calibration is None or calibration["method"] != "vector":
        return calibration
    order = [own.index(name) for name in labels]
    numbers = {name: [calibration[name][i] for i in order if calibration[name]] for name in ("scale", "bias")}
    return {**calibration, **numbers}


def _describe(system: System, left_out: int, resamples: int, seed: int) -> dict[str, Any]:
    """Return SYSTEM."""
    predictions = system.predictions
    about, settings = _about(system), {"resamples": resamples, "seed": seed}
    scores = _scores(predictions, **settings)
    auroc, precision = areas(predictions, None)
    groups = _groups(predictions)
    return {
        "name": system.name,
        **about,
        "notes": [*about["notes"], *_missed(left_out), *_doubts(predictions)],
        "scores": scores,
        "folds": _folds(predictions),
        "seeds_scores": _seeds(predictions),
        "per_class": score_classes(predictions),
        "global": {"auroc": auroc, "average_precision": precision},
        "confusion": count_answers(predictions).tolist(),
        "groups": groups,
        "worst_speaker": _worst(groups.get("speaker", {})),
        "reliability": reliability(predictions),
        "abstention": _abstention(predictions, system.about.get("abstention")),
        "modalities": _modalities(system, scores, **settings),
        "degradations": [_degradation(each) for each in system.degraded] or None,
        "oracle": None
        if system.oracle is None
        else {"scores": _scores(system.oracle, **settings), "folds": _folds(system.oracle)},
        "training": system.training,
        "explanations": [_explanation(each) for each in system.explanations],
    }


def _about(system: System) -> dict[str, Any]:
    """Return what is said of a system, and what its answers tell where nothing is said."""
    predictions, said = system.predictions, system.about
    speakers = sorted(set(predictions.speaker) - {""}, key=reading_order)
    told = {
        "seeds": [_whole(name) for name in sorted(set(predictions.seed), key=reading_order)],
        "speakers": {"train": None, "validation": None, "scored": speakers},
        "corpus": _corpus(predictions),
    }
    leaks = list(said.get("leaks", ()))
    if predictions.leaky and not leaks:
        leaks = ["the predictions say so of themselves: column leaky"]
    notes = [*said.get("notes", ()), *(note for note in predictions.notes if note not in said.get("notes", ()))]
    return {**{name: said.get(name, told.get(name)) for name in _ABOUT}, "leaks": leaks, "notes": notes}


def _corpus(predictions: Predictions) -> dict[str, Any] | None:
    """Return what predictions tell of their corpora; None where they name none."""
    names = set(predictions.groups.get("corpus", ())) - {""}
    return describe_corpora(names) if names else None


def _missed(left_out: int) -> list[str]:
    """Say how many clips are not scored, for systems are compared on the same ones."""
    return [f"{left_out} of its clips are left out, for another system has no answer about them"] if left_out else []


def _doubts(predictions: Predictions) -> list[str]:
    """Return why the intervals say less than they seem to."""
    units = Units.of(predictions)
    if units.kind == "clip":
        who = "all clips are of one speaker" if any(predictions.speaker) else "nobody says who the speakers are"
        return [f"{who}: the intervals are over clips and say nothing of how other speakers would fare"]
    if units.count < FEW_SPEAKERS:
        return [f"the intervals are over {units.count} speakers only, and with so few they are too narrow"]
    return []


def _scores(predictions: Predictions, *, resamples: int, seed: int) -> dict[str, Any]:
    """Return SCORES."""
    units = Units.of(predictions)
    values, intervals = score(predictions), bootstrap(predictions, units, resamples=resamples, seed=seed)
    found: dict[str, Any] = {
        "n": len(predictions),
        "unit": units.kind,
        "majority": float(np.bincount(predictions.label).max() / len(predictions)),
    }
    for name, value in values.items():
        interval = None if math.isnan(value) else intervals[name]
        found[name] = {"value": value, "low": interval and interval.low, "high": interval and interval.high}
    return found


def _numbers(predictions: Predictions) -> dict[str, Any]:
    return {"n": len(predictions), **score(predictions)}


def _folds(predictions: Predictions) -> dict[str, Any] | None:
    if not predictions.fold:
        return None
    each = []
    for seed, fold, part in _parts(predictions, predictions.seed, predictions.fold):
        speakers = sorted(set(part.speaker) - {""}, key=reading_order)
        each.append({"fold": _whole(fold), "seed": _whole(seed), "speakers": speakers, **_numbers(part)})
    return {"each": each, "mean": _mean(each)}


def _seeds(predictions: Predictions) -> dict[str, Any] | None:
    if len(set(predictions.seed)) < 2:
        return None
    each = [{"seed": _whole(seed), **_numbers(part)} for seed, part in _parts(predictions, predictions.seed)]
    return {"each": each, "mean": _mean(each)}


def _parts(predictions: Predictions, *columns: Sequence[str]) -> list[tuple[Any, ...]]:
    """Return the clips of each combination of values that occurs, in reading order, as (value, ..., answers)."""
    filled = [column or ("",) * len(predictions) for column in columns]
    rows = list(zip(*filled, strict=True))
    found = sorted(set(rows), key=lambda values: [reading_order(value) for value in values])
    places = {values: i for i, values in enumerate(found)}
    index = np.array([places[values] for values in rows])
    return [(*values, predictions.where(index == i)) for i, values in enumerate(found)]


def _mean(each: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return mean and standard deviation of every score over parts; of a score only those parts that have it."""
    found = {}
    for name in EVERY_SCORE:
        values = [part[name] for part in each if not math.isnan(part[name])]
        sd = float(np.std(values, ddof=1)) if len(values) > 1 else None
        found[name] = {"value": float(np.mean(values)) if values else None, "sd": sd}
    return found


def _groups(predictions: Predictions) -> dict[str, dict[str, Any]]:
    columns = {"speaker": predictions.speaker, **{name: predictions.groups.get(name, ()) for name in GROUPS}}
    return {
        name: {value: _numbers(part) for value, part in _parts(predictions, values) if value}
        for name, values in columns.items()
        if any(values)
    }


def _worst(speakers: Mapping[str, Mapping[str, Any]]) -> dict[str, Any] | None:
    """Return the speaker with the lowest accuracy, the first of equals.

    Not by UAR: a speaker may lack classes, and one clip of a rare one would weigh as much as all others.
    """
    if not speakers:
        return None
    name = min(speakers, key=lambda speaker: speakers[speaker]["accuracy"])
    return {"speaker": name, **speakers[name]}


def _abstention(predictions: Predictions, said: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Return how answering only above a threshold went."""
    if said is None:
        return None
    answered = predictions.probabilities.max(axis=1) >= said["threshold"]
    right = (predictions.predicted == predictions.label)[answered]
    return {
        "threshold": said["threshold"],
        "wanted": said["wanted"],
        "coverage": float(answered.mean()),
        "precision": float(right.mean()) if len(right) else None,
        "n": len(right),
    }


def _modalities(system: System, scores: Mapping[str, Any], *, resamples: int, seed: int) -> dict[str, Any] | None:
    model = system.about.get("model")
    if model is None:
        return None
    subsets = {name: _scores(found, resamples=resamples, seed=seed) for name, found in system.subsets.items()}
    return {"+".join(model["modalities"]): scores, **subsets}


def _degradation(degraded: Degraded) -> dict[str, Any]:
    numbers = score(degraded.predictions)
    return {
        "kind": degraded.kind,
        "level": degraded.level,
        "unit": degraded.unit,
        "n": len(degraded.predictions),
        **{name: numbers[name] for name in SCORES},
    }


def _explanation(explanation: Explanation) -> dict[str, Any]:
    return {
        "key": explanation.key,
        "label": explanation.label,
        "predicted": explanation.predicted,
        "streams": dict(explanation.modalities),
    }


def _whole(name: str) -> int | str | None:
    """Return a fold's or a seed's name as the number that it is; None of none."""
    return int(name) if name.isdecimal() else name or None


def _plain(value: Any) -> Any:
    """Return data that JSON knows: NaN, which nobody can count, becomes null."""
    if isinstance(value, Mapping):
        return {name: _plain(each) for name, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(each) for each in value]
    return None if isinstance(value, float) and math.isnan(value) else value
