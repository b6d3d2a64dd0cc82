"""What a system answered for each clip of a test, whatever system it is."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mmer.atomic import replacing

GROUPS = ("corpus", "gender", "intensity", "statement")
"""Columns by which clips are told apart, beside their speaker: each value gets scores of its own."""


@dataclass(frozen=True, slots=True)
class Predictions:
    """Answers for N clips; a clip may be answered for once by each of several seeds.

    Args:
        names: The class names.
        key: The clips' keys.
        speaker: Their speakers; empty where nobody knows.
        label: Their true classes, [n].
        probabilities: The answers, [n c].
        given: The predicted classes, [n], where the system says them itself, as a support vector machine whose
            probabilities come afterwards; None takes the likeliest.
        fold: The fold in which each clip was tested; empty without folds.
        seed: The seed of the system that answered; empty where it does not matter.
        groups: By what else clips are told apart, a value a clip: ``GROUPS``, as far as they are known.
        leaky: Whether they come of a leaky split.
    """

    names: tuple[str, ...]
    key: tuple[str, ...]
    speaker: tuple[str, ...]
    label: NDArray[np.int64]
    probabilities: NDArray[np.float64]
    given: NDArray[np.int64] | None = None
    fold: tuple[str, ...] = ()
    seed: tuple[str, ...] = ()
    groups: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    leaky: bool = False

    def __len__(self) -> int:
        return len(self.key)

    @property
    def predicted(self) -> NDArray[np.int64]:
        """The predicted classes, [n]."""
        likeliest: NDArray[np.int64] = self.probabilities.argmax(axis=1) if self.given is None else self.given
        return likeliest

    def where(self, keep: NDArray[np.bool_]) -> Predictions:
        """Return some of the clips."""
        return self.take(np.flatnonzero(keep))

    def take(self, chosen: NDArray[np.intp]) -> Predictions:
        """Return some of the clips, in this order."""
        return Predictions(
            self.names,
            _take(self.key, chosen),
            _take(self.speaker, chosen),
            self.label[chosen],
            self.probabilities[chosen],
            None if self.given is None else self.given[chosen],
            _take(self.fold, chosen),
            _take(self.seed, chosen),
            {name: _take(values, chosen) for name, values in self.groups.items()},
            self.leaky,
        )

    def write(self, path: Path) -> None:
        """Write a CSV table of all that is known of each clip, with a probability column for each class name.

        Of a leaky split a last column ``leaky`` says ``yes`` of each.
        """
        columns = {"key": self.key, "speaker": self.speaker}
        columns |= {name: values for name, values in (("fold", self.fold), ("seed", self.seed)) if values}
        columns |= {name: tuple(self.names[i] for i in getattr(self, name)) for name in ("label", "predicted")}
        columns |= {name: tuple(f"{p:.6f}" for p in self.probabilities[:, i]) for i, name in enumerate(self.names)}
        columns |= {**self.groups, **({"leaky": ("yes",) * len(self)} if self.leaky else {})}
        with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(columns)
            writer.writerows(zip(*columns.values(), strict=True))


def _take(values: tuple[str, ...], chosen: NDArray[np.intp]) -> tuple[str, ...]:
    return tuple(values[i] for i in chosen) if values else ()
