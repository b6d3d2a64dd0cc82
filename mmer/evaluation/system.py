"""A system under test: its answers, and what is known of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mmer.evaluation.explanation import Explanation
from mmer.evaluation.predictions import Predictions


@dataclass(frozen=True, slots=True)
class Degraded:
    """Answers about clips that were made worse.

    Args:
        kind: What was done to them, as ``audio_noise``.
        level: How much, in the kind's unit; None is the same clips unharmed, the first of each kind.
        predictions: The answers.
        unit: What the level counts, as ``dB SNR``.
    """

    kind: str
    level: float | None
    predictions: Predictions
    unit: str = ""


@dataclass(frozen=True, slots=True)
class System:
    """A system under test.

    Args:
        name: What the report calls it.
        predictions: Its answers, from all that it reads.
        about: What else metrics.json says of it: ``source``, ``protocol``, ``corpus``, ``notes``, ``leaks`` and the
            rest of a SYSTEM in docs/metrics.md that its answers do not tell.
        oracle: Its answers at the epoch that is best on the test itself, which is no honest choice.
        subsets: Its answers from fewer modalities, by these, as ``audio``; of the clips that have them.
        degraded: Its answers about clips that were made worse.
        explanations: Why it answered so, for some clips.
        training: The course of its training; None where no log was given.
    """

    name: str
    predictions: Predictions
    about: Mapping[str, Any]
    oracle: Predictions | None = None
    subsets: Mapping[str, Predictions] = field(default_factory=dict)
    degraded: Sequence[Degraded] = ()
    explanations: Sequence[Explanation] = ()
    training: Mapping[str, Any] | None = None
