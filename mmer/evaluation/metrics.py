"""Scores, all from confusion matrices, so that thousands of resamples cost one matrix product."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mmer.evaluation.predictions import Predictions

LEVEL = 0.95
"""Of the confidence intervals."""

_DRAWS = 10_000_000  # numbers drawn at once; resamples of 50,000 clips would need a gigabyte

Array = NDArray[np.float64]


def confusion_matrix(label: NDArray[np.int64], predicted: NDArray[np.int64], classes: int) -> NDArray[np.int64]:
    """Count clips by true class (rows) and predicted class (columns), [c c]."""
    counts = np.bincount(label * classes + predicted, minlength=classes * classes)
    return counts.reshape(classes, classes)


def accuracy(confusion: NDArray[Any]) -> Array:
    """Share of clips that are right: the field's WAR. ``confusion`` is [... c c]."""
    return _divide(np.trace(confusion, axis1=-2, axis2=-1), confusion.sum(axis=(-2, -1)))


def uar(confusion: NDArray[Any]) -> Array:
    """Unweighted average recall, over the classes that occur: scikit-learn's balanced accuracy."""
    support = confusion.sum(axis=-1)
    return _divide(recall(confusion).sum(axis=-1), np.count_nonzero(support, axis=-1))


def macro_f1(confusion: NDArray[Any]) -> Array:
    """Mean F1 over the classes that occur or were predicted: scikit-learn's macro F1."""
    seen = confusion.sum(axis=-1) + confusion.sum(axis=-2)
    return _divide(f1(confusion).sum(axis=-1), np.count_nonzero(seen, axis=-1))


def recall(confusion: NDArray[Any]) -> Array:
    """Share of each class's clips that were found, [... c]; 0 for a class without clips."""
    return _divide(_hits(confusion), confusion.sum(axis=-1))


def precision(confusion: NDArray[Any]) -> Array:
    """Share of each class's predictions that are right, [... c]; 0 for a class that was never predicted."""
    return _divide(_hits(confusion), confusion.sum(axis=-2))


def f1(confusion: NDArray[Any]) -> Array:
    """Harmonic mean of precision and recall, [... c]; 0 for a class that neither occurs nor was predicted."""
    return _divide(2 * _hits(confusion), confusion.sum(axis=-1) + confusion.sum(axis=-2))


SCORES = {"accuracy": accuracy, "uar": uar, "macro_f1": macro_f1}
"""The headline scores."""


@dataclass(frozen=True, slots=True)
class Interval:
    """A 95% bootstrap interval.

    Args:
        low: Its lower end.
        high: Its upper end.
    """

    low: float
    high: float


def bootstrap(predictions: Predictions, *, resamples: int = 2000, seed: int = 0) -> dict[str, Interval]:
    """Return percentile intervals of the headline scores, by resampling speakers (Efron 1979).

    Clips of one speaker resemble each other, so whole speakers are drawn; with a single speaker clips are drawn. A clip
    whose speaker nobody knows is drawn alone.

    Args:
        predictions: The answers.
        resamples: How many times to draw.
        seed: Seed of the draws.
    """
    pairs = zip(predictions.speaker, predictions.key, strict=True)
    names, unit = np.unique([speaker or f" {key}" for speaker, key in pairs], return_inverse=True)  # no name begins so
    if len(names) < 2:
        unit = np.arange(len(predictions))
    count, classes = int(unit.max()) + 1, len(predictions.names)
    cells = predictions.label * classes + predictions.predicted
    table = np.zeros((count, classes * classes))
    np.add.at(table, (unit, cells), 1)
    generator, at_once = np.random.default_rng(seed), max(1, _DRAWS // count)
    draws = (
        generator.multinomial(count, np.full(count, 1 / count), size=min(at_once, resamples - done)) @ table
        for done in range(0, resamples, at_once)
    )
    resampled = np.concatenate(list(draws)).reshape(resamples, classes, classes)
    tails = [(1 - LEVEL) / 2, (1 + LEVEL) / 2]
    return {name: Interval(*(float(q) for q in np.quantile(score(resampled), tails))) for name, score in SCORES.items()}


def summarise(predictions: Predictions) -> dict[str, Any]:
    """Return all scores of some answers as plain data."""
    confusion = confusion_matrix(predictions.label, predictions.predicted, len(predictions.names))
    intervals = bootstrap(predictions)
    columns = zip(precision(confusion), recall(confusion), f1(confusion), confusion.sum(axis=1), strict=True)
    return {
        "n": len(predictions),
        **{name: float(score(confusion)) for name, score in SCORES.items()},
        "interval": {
            "level": LEVEL,
            "unit": "speaker" if len(set(predictions.speaker)) > 1 else "clip",
            **{name: [interval.low, interval.high] for name, interval in intervals.items()},
        },
        "per_class": {
            name: {"precision": float(p), "recall": float(r), "f1": float(f), "support": int(n)}
            for name, (p, r, f, n) in zip(predictions.names, columns, strict=True)
        },
        "confusion": confusion.tolist(),
    }


def _hits(confusion: NDArray[Any]) -> NDArray[Any]:
    return np.diagonal(confusion, axis1=-2, axis2=-1)


def _divide(a: ArrayLike, b: ArrayLike) -> Array:
    """Divide, with 0 where there is nothing to divide by."""
    numerator, denominator = np.asarray(a, np.float64), np.asarray(b, np.float64)
    return np.divide(numerator, denominator, out=np.zeros_like(numerator), where=denominator != 0)
