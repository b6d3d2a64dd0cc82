"""A system under test: its answers, and what is known of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mmer.evaluation.explain import Explanation
from mmer.evaluation.predictions import Predictions


@dataclass(frozen=True, slots=True)
class Degraded:
    """Answers about clips that were made worse.

    Args:
        kind: What was done to them, as ``audio_noise``.
        level: How much, in the kind's unit.
        predictions: The answers.
    """

    kind: str
    level: float
    predictions: Predictions


@dataclass(frozen=True, slots=True)
class System:
    """A system under test.

    Args:
        name: What the report calls it.
        predictions: Its answers, from all that it reads.
        about: What else metrics.json says of it: ``source``, ``about``, ``corpus``, ``notes``, ``leaks``; see
            docs/metrics.md.
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
