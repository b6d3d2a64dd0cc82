"""Whether one system is better than another on the same clips, or only luckier."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest

from mmer.corpora.manifest import listed
from mmer.errors import PredictionsError
from mmer.evaluation.intervals import Units, draw, percentiles
from mmer.evaluation.metrics import SCORES, Array
from mmer.evaluation.predictions import Predictions
from mmer.evaluation.system import System

MOST_DISAGREEMENTS = 20
"""How many clips on which systems disagree are named."""

_NAMED = 5  # names that an error gives


def compare(answers: Mapping[str, Predictions], *, resamples: int = 10_000, seed: int = 0) -> dict[str, Any]:
    """Compare systems, each with each, on the clips that all of them answered for: COMPARISON of docs/metrics.md.

    A system of several seeds is scored over the answers of all of them, so systems need not have the same seeds; its
    clips are those that each of its seeds answered for.

    Args:
        answers: The systems' answers by their names, with the same class names.
        resamples: How many times the same speakers are drawn for all.
        seed: Seed of the draws.

    Raises:
        PredictionsError: There is no such clip, or systems take different classes for the truth.
    """
    common, left_out = _common(answers)
    systems = {name: _Aligned.of(predictions, common) for name, predictions in answers.items()}
    label = _agree(systems, common)
    units = _units(systems, common)
    resampled = {name: _resample(system, units, resamples, seed) for name, system in systems.items()}
    pairs: list[dict[str, Any]] = [
        {
            "a": a,
            "b": b,
            "differences": {
                score: _difference(systems[a].score(score) - systems[b].score(score), resampled[a][i] - resampled[b][i])
                for i, score in enumerate(SCORES)
            },
            "mcnemar": _mcnemar(systems[a].right(label), systems[b].right(label)),
        }
        for a, b in combinations(systems, 2)
    ]
    for family in ([pair["differences"][score] for pair in pairs] for score in SCORES):
        _correct(family)
    _correct([pair["mcnemar"] for pair in pairs])
    return {
        "clips": len(common),
        "left_out": left_out,
        "unit": units.kind,
        "pairs": pairs,
        "disagreements": _disagreements(systems, common, label),
    }


def on_common_clips(systems: Sequence[System]) -> tuple[list[System], dict[str, int]]:
    """Return systems with their answers about the clips that all of them answered for, and how many more each has.

    Raises:
        PredictionsError: There is no such clip.
    """
    if len(systems) < 2:
        return list(systems), {system.name: 0 for system in systems}
    common, left_out = _common({system.name: system.predictions for system in systems})
    kept = frozenset(common)
    return [_restrict(system, kept) if left_out[system.name] else system for system in systems], left_out


def _restrict(system: System, keys: frozenset[str]) -> System:
    """Return a system with its answers about some clips."""

    def some(answers: Predictions) -> Predictions:
        return answers.where(np.array([key in keys for key in answers.key], bool))

    subsets = {name: found for name, answers in system.subsets.items() if len(found := some(answers))}
    degraded = [replace(each, predictions=found) for each in system.degraded if len(found := some(each.predictions))]
    return replace(
        system,
        predictions=some(system.predictions),
        oracle=system.oracle and some(system.oracle),
        subsets=subsets,
        degraded=degraded,
    )


def holm(p: Sequence[float]) -> list[float]:
    """Return p-values that hold for a whole family of tests (Holm 1979), in the order that was given."""
    order = np.argsort(p, kind="stable")
    steps = np.array(p)[order] * np.arange(len(p), 0, -1)
    corrected = np.empty(len(p))
    corrected[order] = np.minimum(np.maximum.accumulate(steps), 1)
    return [float(value) for value in corrected]


@dataclass(frozen=True, slots=True)
class _Aligned:
    """A system's answers, all seeds', with the place of each among the common clips, [n]."""

    predictions: Predictions
    place: NDArray[np.int64]
    clips: int

    @classmethod
    def of(cls, predictions: Predictions, common: Sequence[str]) -> _Aligned:
        place = {key: i for i, key in enumerate(common)}
        kept = predictions.where(np.array([key in place for key in predictions.key]))
        return cls(kept, np.array([place[key] for key in kept.key], np.int64), len(common))

    def confusion(self, unit: NDArray[np.int64], count: int) -> Array:
        """Count answers by unit, true and predicted class, [u c c]."""
        c = len(self.predictions.names)
        cells = (unit[self.place] * c + self.predictions.label) * c + self.predictions.predicted
        return np.bincount(cells, minlength=count * c * c).reshape(count, c, c).astype(np.float64)

    def score(self, name: str) -> float:
        return float(SCORES[name](self.confusion(np.zeros(self.clips, np.int64), 1)[0]))

    def share(self, values: NDArray[Any]) -> Array:
        """Return each clip's mean over the seeds of a value an answer."""
        seeds = np.bincount(self.place, minlength=self.clips)
        return np.bincount(self.place, weights=values, minlength=self.clips) / seeds

    def right(self, label: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Say which clips more than half of the seeds got right."""
        answers: NDArray[np.bool_] = self.share(self.predictions.predicted == label[self.place]) > 0.5
        return answers

    def votes(self) -> Array:
        """Return for each clip how many of its seeds named each class, [n c]."""
        c = len(self.predictions.names)
        cells = self.place * c + self.predictions.predicted
        return np.bincount(cells, minlength=self.clips * c).reshape(self.clips, c).astype(np.float64)


def _common(answers: Mapping[str, Predictions]) -> tuple[list[str], dict[str, int]]:
    """Return the clips for which every seed of every system answered, and how many more each system has."""
    complete = {}
    for name, predictions in answers.items():
        seeds, counts = len(set(predictions.seed)) or 1, Counter(predictions.key)
        complete[name] = {key for key, count in counts.items() if count == seeds}
    shared = set.intersection(*complete.values())
    if not shared:
        raise PredictionsError(
            f"{listed(answers, _NAMED)} have no clip in common, so they cannot be compared; evaluate them apart, or "
            "give them the same keys"
        )
    return sorted(shared), {name: len(set(found.key) - shared) for name, found in answers.items()}


def _agree(systems: Mapping[str, _Aligned], common: Sequence[str]) -> NDArray[np.int64]:
    """Return the clips' true classes, which all must know alike."""
    labels = {}
    for name, system in systems.items():
        labels[name] = np.empty(system.clips, np.int64)
        labels[name][system.place] = system.predictions.label
    first, *others = labels
    for other in others:
        if wrong := np.flatnonzero(labels[first] != labels[other]).tolist():
            names, clip = systems[first].predictions.names, wrong[0]
            raise PredictionsError(
                f"clip {common[clip]} is {names[labels[first][clip]]} for {first} and {names[labels[other][clip]]} for "
                f"{other} ({len(wrong)} clips differ); compare answers to the same truth"
            )
    return labels[first]


def _units(systems: Mapping[str, _Aligned], common: Sequence[str]) -> Units:
    """Find what is drawn, by the names of the system that knows most of the speakers."""
    named = []
    for system in systems.values():
        speakers = [""] * len(common)
        for place, speaker in zip(system.place, system.predictions.speaker, strict=True):
            speakers[place] = speaker
        named.append(speakers)
    best = max(named, key=lambda speakers: sum(map(bool, speakers)))
    return Units.of_names(best, common)


def _resample(system: _Aligned, units: Units, resamples: int, seed: int) -> Array:
    """Return the headline scores of each resample, [3 r]; the same speakers are drawn for every system."""
    table = system.confusion(units.index, units.count).reshape(units.count, -1)
    c = len(system.predictions.names)
    parts = []
    for weight in draw(units.count, c * c, resamples=resamples, seed=seed):
        confusion = (weight @ table).reshape(-1, c, c)
        parts.append(np.stack([score(confusion) for score in SCORES.values()]))
    return np.concatenate(parts, axis=1)


def _difference(value: float, resampled: Array) -> dict[str, Any]:
    """Return a difference, its interval and its two-sided p: the level at which an interval would begin at 0.

    The difference itself counts as one more resample, so that p is never 0 (Davison and Hinkley 1997).
    """
    interval, n = percentiles(resampled), len(resampled)
    below, above = int((resampled <= 0).sum()), int((resampled >= 0).sum())
    return {
        "value": value,
        "low": None if interval is None else interval.low,
        "high": None if interval is None else interval.high,
        "p": min(1.0, 2 * (1 + min(below, above)) / (n + 1)),
    }


def _mcnemar(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> dict[str, Any]:
    """Return McNemar's exact test: of the clips that one got right and the other wrong, is either's share too large?"""
    only_a, only_b = int((a & ~b).sum()), int((b & ~a).sum())
    p = float(binomtest(only_a, only_a + only_b).pvalue) if only_a + only_b else 1.0
    return {"only_a": only_a, "only_b": only_b, "p": p}


def _correct(tests: Sequence[dict[str, Any]]) -> None:
    """Add to each test of a family its p-value after Holm's correction."""
    for test, p in zip(tests, holm([test["p"] for test in tests]), strict=True):
        test["p_holm"] = p


def _disagreements(
    systems: Mapping[str, _Aligned], common: Sequence[str], label: NDArray[np.int64]
) -> list[dict[str, Any]]:
    """Return the clips on whose true class systems that answer differently spread most.

    Of several seeds the class that most of them named counts, and their mean probability.
    """
    answers, chances = [], []
    speakers: dict[int, str] = defaultdict(str)
    for system in systems.values():
        answers.append(system.votes().argmax(axis=1))
        own = system.predictions.probabilities[np.arange(len(system.predictions)), label[system.place]]
        chances.append(system.share(own))
        for place, speaker in zip(system.place.tolist(), system.predictions.speaker, strict=True):
            speakers[place] = speakers[place] or speaker
    predicted, true = np.stack(answers), np.stack(chances)
    differ = np.flatnonzero((predicted != predicted[0]).any(axis=0))
    spread = np.ptp(true[:, differ], axis=0).round(9)  # so that the last bit decides no order
    widest = np.argsort(-spread, kind="stable")[:MOST_DISAGREEMENTS]
    names = next(iter(systems.values())).predictions.names
    return [
        {
            "key": common[clip],
            "speaker": speakers[clip],
            "label": names[label[clip]],
            "answers": {
                name: {"predicted": names[predicted[i, clip]], "probability": float(true[i, clip])}
                for i, name in enumerate(systems)
            },
        }
        for clip in differ[widest].tolist()
    ]
