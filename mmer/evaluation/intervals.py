"""How sure one may be of a score: bootstrap intervals over speakers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from mmer.evaluation.metrics import EVERY_SCORE, Array, Tally
from mmer.evaluation.predictions import Predictions

LEVEL = 0.95
"""Of the intervals."""

_NUMBERS = 2_000_000  # of one array at a time, 16 MB; there are about ten


@dataclass(frozen=True, slots=True)
class Interval:
    """A 95% bootstrap interval.

    Args:
        low: Its lower end.
        high: Its upper end.
    """

    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Units:
    """What is drawn in a resample.

    Args:
        kind: Speakers, or clips where fewer than two speakers are known.
        index: To which unit each line belongs, [n]. A clip whose speaker nobody knows is a unit of its own; the
            answers of several seeds about a clip belong together.
        count: How many units there are.
    """

    kind: Literal["speaker", "clip"]
    index: NDArray[np.int64]
    count: int

    @classmethod
    def of(cls, predictions: Predictions) -> Units:
        """Find the units of some answers."""
        return cls.of_names(predictions.speaker, predictions.key)

    @classmethod
    def of_names(cls, speakers: Sequence[str], keys: Sequence[str]) -> Units:
        """Find the units of clips; they are in the order of their names, whatever the order of the clips.

        Args:
            speakers: Who is in each clip; empty where nobody knows.
            keys: The clips.
        """
        known = len(set(speakers) - {""}) > 1
        pairs = zip(speakers, keys, strict=True)
        names = [speaker if speaker and known else f" {key}" for speaker, key in pairs]  # no speaker's name begins so
        found, index = np.unique(np.array(names), return_inverse=True)
        return cls("speaker" if known else "clip", index.astype(np.int64), len(found))


def bootstrap(
    predictions: Predictions, units: Units, *, resamples: int = 10_000, seed: int = 0
) -> dict[str, Interval | None]:
    """Return percentile intervals of every score, by resampling speakers (Efron 1979).

    Clips of one speaker resemble each other, so whole speakers are drawn. A score that a resample does not have, as an
    area without clips of any other class, is left out of its percentiles.

    Args:
        predictions: The answers.
        units: What is drawn.
        resamples: How many times to draw.
        seed: Seed of the draws.

    Returns:
        The intervals by score; None where a single unit says nothing of others, or where no resample has the score.
    """
    if units.count < 2:
        return dict.fromkeys(EVERY_SCORE)
    tally = Tally(predictions, units.index, units.count)
    widest = max(len(predictions), len(predictions.names) ** 2)
    parts = [tally.scores(weight) for weight in draw(units.count, widest, resamples=resamples, seed=seed)]
    return {name: percentiles(np.concatenate([part[name] for part in parts])) for name in EVERY_SCORE}


def draw(count: int, width: int, *, resamples: int, seed: int) -> Iterator[Array]:
    """Yield how often each unit is drawn in each resample, [r u], a share of the resamples at a time.

    Args:
        count: How many units there are, and how many of them are drawn each time, with replacement.
        width: How many numbers are made of each resample: it decides how many are drawn at a time, not which.
        resamples: How many resamples there are in all.
        seed: Seed of the draws: the same for two systems draws the same units for both.
    """
    generator, at_once = np.random.default_rng(seed), max(1, _NUMBERS // max(count, width))
    for done in range(0, resamples, at_once):
        rows = min(at_once, resamples - done)
        drawn = generator.integers(count, size=(rows, count)) + count * np.arange(rows)[:, None]
        yield np.bincount(drawn.ravel(), minlength=rows * count).reshape(rows, count).astype(np.float64)


def percentiles(values: Array) -> Interval | None:
    """Return the interval that holds the middle of some resampled scores; None where there is none."""
    known = values[~np.isnan(values)]
    if not len(known):
        return None
    low, high = np.quantile(known, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(float(low), float(high))
