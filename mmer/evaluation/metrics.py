"""Scores, all from sums over clips, so that thousands of resamples cost a few matrix products.

torchmetrics has most of them, for one set of clips at a time and in single precision; tests hold these against its, and
against scikit-learn's.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mmer.evaluation.predictions import Predictions
from mmer.evaluation.ranking import Ranking, areas, rank

BINS = 15
"""Of the expected calibration error, all of the same width."""

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


def weighted_f1(confusion: NDArray[Any]) -> Array:
    """Mean F1, each class weighed by its clips."""
    support = confusion.sum(axis=-1)
    return _divide((f1(confusion) * support).sum(axis=-1), support.sum(axis=-1))


SCORES = {"accuracy": accuracy, "uar": uar, "macro_f1": macro_f1}
"""The headline scores."""

EVERY_SCORE = (*SCORES, "weighted_f1", "top2", "auroc", "average_precision", "ece", "brier", "log_loss")
"""The names of all scores, in the order of tables."""

ERRORS = ("ece", "brier", "log_loss")
"""The scores that are the better the smaller they are."""


class Tally:
    """What all scores follow from, summed up for each unit of clips: then any resample of units is quickly scored.

    Args:
        predictions: The answers.
        unit: To which unit each clip belongs, [n].
        count: How many units there are.
    """

    def __init__(self, predictions: Predictions, unit: NDArray[np.int64], count: int) -> None:
        classes, ones = len(predictions.names), np.ones(len(predictions))
        cells = predictions.label * classes + predictions.predicted
        confidence, right = _confidence(predictions)
        self._classes = classes
        self._size = _sums(unit, count, ones)
        self._confusion = _sums(unit * classes**2 + cells, count * classes**2, ones).reshape(count, -1)
        gaps = _sums(unit * BINS + _bins(confidence), count * BINS, right - confidence)
        self._gaps = gaps.reshape(count, -1)
        each = {"top2": _among_two(predictions), "brier": _brier(predictions), "log_loss": _log_loss(predictions)}
        self._means = {name: _sums(unit, count, values) for name, values in each.items()}
        self._rankings = [Ranking(*rank(predictions, i), unit, count) for i in range(classes)]

    def scores(self, weight: Array) -> dict[str, Array]:
        """Return every score, [r] each, NaN where there is none.

        Args:
            weight: How often each unit counts, [r u].
        """
        confusion = (weight @ self._confusion).reshape(-1, self._classes, self._classes)
        size = weight @ self._size
        found = {name: score(confusion) for name, score in {**SCORES, "weighted_f1": weighted_f1}.items()}
        found |= {name: _divide(weight @ sums, size) for name, sums in self._means.items()}
        found["ece"] = _divide(np.abs(weight @ self._gaps).sum(axis=1), size)
        auroc, precise = zip(*(ranking.areas(weight) for ranking in self._rankings), strict=True)
        found |= {"auroc": _mean(np.stack(auroc)), "average_precision": _mean(np.stack(precise))}
        return {name: found[name] for name in EVERY_SCORE}


def score(predictions: Predictions) -> dict[str, float]:
    """Return every score of some answers, NaN where there is none."""
    tally = Tally(predictions, np.zeros(len(predictions), np.int64), 1)
    return {name: float(value[0]) for name, value in tally.scores(np.ones((1, 1))).items()}


def score_classes(predictions: Predictions) -> dict[str, dict[str, float]]:
    """Return the scores of each class by its name; an area is NaN where a class has no clips."""
    confusion = count_answers(predictions)
    areas_of = [areas(predictions, i) for i in range(len(predictions.names))]
    columns = {
        "precision": precision(confusion).tolist(),
        "recall": recall(confusion).tolist(),
        "f1": f1(confusion).tolist(),
        "auroc": [area for area, _ in areas_of],
        "average_precision": [area for _, area in areas_of],
        "support": confusion.sum(axis=1).tolist(),
        "predicted": confusion.sum(axis=0).tolist(),
    }
    rows = zip(*columns.values(), strict=True)
    return {name: dict(zip(columns, row, strict=True)) for name, row in zip(predictions.names, rows, strict=True)}


def count_answers(predictions: Predictions) -> NDArray[np.int64]:
    """Return the confusion matrix of some answers."""
    return confusion_matrix(predictions.label, predictions.predicted, len(predictions.names))


def reliability(predictions: Predictions) -> list[dict[str, float]]:
    """Return for each bin of confidence how many clips it has, and their mean confidence and accuracy, NaN of none."""
    confidence, right = _confidence(predictions)
    bins, edges = _bins(confidence), np.linspace(0, 1, BINS + 1)
    n = np.bincount(bins, minlength=BINS)
    means = [_sums(bins, BINS, values) / np.where(n, n, np.nan) for values in (confidence, right)]
    columns = zip(edges[:-1], edges[1:], n, *means, strict=True)
    return [
        {"low": float(low), "high": float(high), "n": int(k), "confidence": float(c), "accuracy": float(a)}
        for low, high, k, c, a in columns
    ]


def _confidence(predictions: Predictions) -> tuple[Array, Array]:
    """Return the probability of each predicted class, and 1 where it is right."""
    predicted = predictions.predicted
    confidence = predictions.probabilities[np.arange(len(predictions)), predicted]
    return confidence, (predicted == predictions.label).astype(np.float64)


def _bins(confidence: Array) -> NDArray[np.int64]:
    """Return each clip's bin; a bin holds its upper edge (Guo et al. 2017), the first its lower too."""
    edges = np.linspace(0, 1, BINS + 1)
    bins: NDArray[np.int64] = np.clip(np.searchsorted(edges, confidence, side="left") - 1, 0, BINS - 1)
    return bins


def _among_two(predictions: Predictions) -> Array:
    """Return 1 where the true class is among the two likeliest; of equals the later counts, as in scikit-learn."""
    likeliest = np.argsort(predictions.probabilities, axis=1, kind="stable")[:, -2:]
    among: NDArray[np.bool_] = (likeliest == predictions.label[:, None]).any(axis=1)
    return among.astype(np.float64)


def _brier(predictions: Predictions) -> Array:
    truth = np.eye(len(predictions.names))[predictions.label]
    distance: Array = ((predictions.probabilities - truth) ** 2).sum(axis=1)
    return distance


def _log_loss(predictions: Predictions) -> Array:
    """Return the negative logarithm of each true class's probability; as in scikit-learn no less than epsilon."""
    true = predictions.probabilities[np.arange(len(predictions)), predictions.label]
    loss: Array = -np.log(np.clip(true, np.finfo(np.float64).eps, 1))
    return loss


def _sums(index: NDArray[np.int64], count: int, values: Array) -> Array:
    return np.asarray(np.bincount(index, weights=values, minlength=count), np.float64)


def _mean(values: Array) -> Array:
    """Return the mean over the first axis of those that are not NaN; NaN of none."""
    known = ~np.isnan(values)
    n = np.count_nonzero(known, axis=0)
    return np.where(n > 0, _divide(np.where(known, values, 0).sum(axis=0), n), np.nan)


def _hits(confusion: NDArray[Any]) -> NDArray[Any]:
    return np.diagonal(confusion, axis1=-2, axis2=-1)


def _divide(a: ArrayLike, b: ArrayLike) -> Array:
    """Divide, with 0 where there is nothing to divide by."""
    numerator, denominator = np.asarray(a, np.float64), np.asarray(b, np.float64)
    return np.divide(numerator, denominator, out=np.zeros_like(numerator), where=denominator != 0)
