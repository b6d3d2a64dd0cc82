"""One class against the rest: ROC and precision-recall curves, and the areas under them.

torchmetrics has them too, for one weight at a time and in single precision; importing it takes longer than all of this,
and 250 MB. Tests hold these against its, and against scikit-learn's.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mmer.evaluation.predictions import Predictions

_FEW = 256  # units, up to which a product with a matrix is faster than a running sum over the clips

Array = NDArray[np.float64]


class Ranking:
    """How clips of a class rank among the others, ready to be weighed thousands of times.

    Args:
        score: What clips are ranked by, [n].
        positive: Which of them are of the class, [n].
        unit: To which unit each belongs, [n]; a unit's clips are weighed together.
        count: How many units there are.
    """

    def __init__(self, score: Array, positive: NDArray[np.bool_], unit: NDArray[np.int64], count: int) -> None:
        order = np.argsort(-score, kind="stable")
        score, self._positive, self._unit = score[order], positive[order], unit[order]
        begins = np.flatnonzero(np.diff(score, prepend=np.inf))  # of each run of equal scores
        run = np.searchsorted(begins, np.flatnonzero(self._positive), side="right") - 1
        self._above = begins[run]  # how many clips stand strictly above each positive one
        self._beside = np.append(begins[1:], len(score))[run]  # and how many above or beside it
        self._matrices = self._counts(count) if count <= _FEW else None

    def areas(self, weight: Array) -> tuple[Array, Array]:
        """Return the area under the ROC curve and the average precision, [r] each, NaN where it has none.

        Positive and negative clips that tie count half, as scikit-learn has it.

        Args:
            weight: How much each unit counts, [r u].
        """
        rivals, hits, found = self._sums(weight)
        positive = weight[:, self._unit[self._positive]]
        p = positive.sum(axis=1)
        n = weight[:, self._unit[~self._positive]].sum(axis=1) if self._matrices is None else weight @ self._others
        ahead = n * p - np.einsum("rj,rj->r", positive, rivals)
        share = np.divide(hits, found, out=hits, where=found > 0)
        precise = np.einsum("rj,rj->r", positive, share)
        return _ratio(ahead, n * p), _ratio(precise, p)

    def _counts(self, count: int) -> tuple[Array, Array, Array]:
        """Count each unit's clips that a positive clip competes with: what ``_sums`` is linear in, [u j] each."""
        member = np.zeros((2, count, len(self._unit) + 1))
        member[self._positive.astype(int), self._unit, np.arange(1, len(self._unit) + 1)] = 1
        others, own = member.cumsum(axis=2)
        self._others = others[:, -1]
        hits, wrong = own[:, self._beside], others[:, self._beside]
        return (others[:, self._above] + wrong) / 2, hits, hits + wrong

    def _sums(self, weight: Array) -> tuple[Array, Array, Array]:
        """Return for each positive clip, [r j] each, what weight stands where.

        Of the negative clips above it and half of those beside it; of the positive ones above or beside it, itself
        included; of all above or beside it.
        """
        if self._matrices is not None:
            rivals, hits, found = (weight @ matrix for matrix in self._matrices)
            return rivals, hits, found
        each = weight[:, self._unit]
        everything = np.zeros((len(weight), each.shape[1] + 1))
        own = np.zeros_like(everything)
        np.cumsum(each, axis=1, out=everything[:, 1:])
        np.cumsum(each * self._positive, axis=1, out=own[:, 1:])
        hits, found = own[:, self._beside], everything[:, self._beside]
        rivals = (everything[:, self._above] - own[:, self._above] + found - hits) / 2
        return rivals, hits, found


def rank(predictions: Predictions, index: int | None) -> tuple[Array, NDArray[np.bool_]]:
    """Return what a class is ranked by and which are of it; for None all pairs of a clip and a class at once, [n * c].

    Args:
        predictions: The answers.
        index: The class.
    """
    classes = np.arange(len(predictions.names)) if index is None else np.array([index])
    return predictions.probabilities[:, classes].ravel(), (predictions.label[:, None] == classes).ravel()


def areas(predictions: Predictions, index: int | None) -> tuple[float, float]:
    """Return the area under the ROC curve and the average precision; NaN where there is none.

    Args:
        predictions: The answers.
        index: The class against the rest; None takes all pairs of a clip and a class at once.
    """
    score, positive = rank(predictions, index)
    auroc, precision = Ranking(score, positive, np.zeros(len(score), np.int64), 1).areas(np.ones((1, 1)))
    return float(auroc[0]), float(precision[0])


def roc_curve(predictions: Predictions, index: int | None) -> tuple[Array, Array]:
    """Return the false and the true positive rate, rising; empty where a class has no clips, or all.

    Args:
        predictions: The answers.
        index: The class against the rest; None takes all pairs of a clip and a class at once.
    """
    score, positive = rank(predictions, index)
    if positive.all() or not positive.any():
        return np.zeros(0), np.zeros(0)
    true, false = _steps(score, positive)
    return false / false[-1], true / true[-1]


def pr_curve(predictions: Predictions, index: int | None) -> tuple[Array, Array]:
    """Return recall, falling, and precision; empty where a class has no clips.

    Args:
        predictions: The answers.
        index: The class against the rest; None takes all pairs of a clip and a class at once.
    """
    score, positive = rank(predictions, index)
    if not positive.any():
        return np.zeros(0), np.zeros(0)
    true, false = _steps(score, positive)
    precision = np.append(true[:0:-1] / (true + false)[:0:-1], 1)  # of no answers at all, as scikit-learn has it
    return true[::-1] / true[-1], precision


def _steps(score: Array, positive: NDArray[np.bool_]) -> tuple[Array, Array]:
    """Return how many clips of the class, and how many others, score no less than each score, from none to all."""
    order = np.argsort(-score, kind="stable")
    ends = np.flatnonzero(np.diff(score[order], append=-np.inf)) + 1
    true = positive[order].cumsum()[ends - 1]
    return np.append(0.0, true), np.append(0.0, ends - true)


def _ratio(a: Array, b: Array) -> Array:
    return np.divide(a, b, out=np.full_like(a, np.nan), where=b > 0)
