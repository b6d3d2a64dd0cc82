"""Probabilities that mean what they say: a correction that was fitted on validation speakers."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

CalibrationMethod = Literal["temperature", "vector"]
"""One number for all classes, or a scale and a bias for each."""


@dataclass(frozen=True)
class Calibration:
    """How a checkpoint's probabilities are corrected, and when it abstains (Guo et al. 2017, arXiv:1706.04599).

    It works on the logarithm of the probabilities, which differs from the logits by a constant a clip; so it serves
    means over several windows, and other programs' answers.

    Args:
        method: Which correction.
        scale: By what the logarithms are multiplied: one number, the inverse temperature, or one a class.
        bias: What is then added to each class; nothing with a temperature.
        speakers: On whom it was fitted.
        clips: On how many of their clips.
        threshold: Below which largest probability the system abstains; None never abstains.
        precision: Share of right answers that was wanted of those that it does not withhold.
        coverage: Share of the clips on which it was fitted that it answers.
    """

    method: CalibrationMethod
    scale: tuple[float, ...]
    bias: tuple[float, ...] = ()
    speakers: list[str] = field(default_factory=list)
    clips: int = 0
    threshold: float | None = None
    precision: float | None = None
    coverage: float | None = None

    def apply(self, probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return corrected probabilities, [n c]."""
        floor = np.finfo(np.float64).tiny
        logits = np.log(np.maximum(probabilities, floor)) * np.array(self.scale) + (np.array(self.bias or (0.0,)))
        exponents = np.exp(logits - logits.max(axis=1, keepdims=True))
        corrected: NDArray[np.float64] = exponents / exponents.sum(axis=1, keepdims=True)
        return corrected
