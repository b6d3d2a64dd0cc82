"""Why a model answered so: how much each modality, each moment and each part of the face mattered."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from mmer.config import Modality


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why a model answered so for one window of a clip.

    What was hidden mattered by as much as the probability of the predicted class falls without it; below zero it spoke
    against the class.

    Args:
        key: The clip's key.
        label: Its true class, or None where nobody knows.
        probabilities: The answer, a probability for each class name.
        modalities: How much each modality mattered.
        seconds: Length of the window.
        moments: How much each of k equal parts of the window mattered, by modality, [k] each.
        face: How much each cell of a grid over the face mattered, [g g]; None without video.
        attention: Of the fusion's query, which share went to each token of each stream, by the stream's name, [t]
            each; they add up to at most 1, and the rest is the query itself. Empty where a model has no such query.
        frames: RGB frames of the window, evenly spread, [f h w 3]; None without video.
        audio: Its waveform; None without sound.
        sample_rate: The waveform's rate, in Hz.
    """

    key: str
    label: str | None
    probabilities: Mapping[str, float]
    modalities: Mapping[Modality, float]
    seconds: float
    moments: Mapping[Modality, NDArray[np.float64]]
    face: NDArray[np.float64] | None = None
    attention: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)
    frames: NDArray[np.uint8] | None = None
    audio: NDArray[np.float32] | None = None
    sample_rate: int = 0

    @property
    def predicted(self) -> str:
        """The class that was predicted, which is explained."""
        return max(self.probabilities, key=lambda name: self.probabilities[name])
