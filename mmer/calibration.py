"""Probabilities that mean what they say: a correction that was fitted on validation speakers."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from mmer.errors import ConfigError

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

    def __post_init__(self) -> None:
        if not self.scale or not all(math.isfinite(s) and s > 0 for s in self.scale):
            raise ConfigError(f"calibration.scale={list(self.scale)} must hold positive numbers")
        if not all(map(math.isfinite, self.bias)):
            raise ConfigError(f"calibration.bias={list(self.bias)} must hold finite numbers")
        wanted = (1, 0) if self.method == "temperature" else (len(self.scale), len(self.scale))
        if (len(self.scale), len(self.bias)) != wanted:
            raise ConfigError(
                f"calibration has {len(self.scale)} scales and {len(self.bias)} biases; temperature is one scale "
                "without a bias, vector is a scale and a bias for each class"
            )
        if self.clips < 0:
            raise ConfigError(f"calibration.clips={self.clips} must not be negative")
        for name in ("threshold", "precision", "coverage"):
            value = getattr(self, name)
            if value is not None and not 0 <= value <= 1:
                raise ConfigError(f"calibration.{name}={value} must lie in [0, 1]")

    def apply(self, probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return corrected probabilities, [n c]."""
        logits = log_probabilities(probabilities) * np.array(self.scale) + np.array(self.bias or (0.0,))
        exponents = np.exp(logits - logits.max(axis=1, keepdims=True))
        corrected: NDArray[np.float64] = exponents / exponents.sum(axis=1, keepdims=True)
        return corrected


def log_probabilities(probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the logarithm of probabilities; that of 0 is as low as a number can be, and finite."""
    logarithms: NDArray[np.float64] = np.log(np.maximum(probabilities, np.finfo(np.float64).tiny))
    return logarithms


def calibrated(probabilities: NDArray[np.float64], calibration: Calibration | None) -> NDArray[np.float64]:
    """Return probabilities, [n c], as a calibration corrects them; without one as they are."""
    return probabilities if calibration is None else calibration.apply(probabilities)
