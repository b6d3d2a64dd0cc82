"""Why a model answered so, as plain data; explain.py finds it out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray


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
        moments: How much each of k equal parts of the window mattered, by modality, [k] each; video of fewer frames
            has as many parts as frames.
        face: How much each cell of a grid over the face mattered, [g g]; None without video.
        attention: Of the fusion's query, which share went to each token of each stream, by the stream's name, [t]
            each without padding; they add up to at most 1, and the rest is the query itself. Empty where a model has
            no such query.
        frames: RGB frames of the window, evenly spread, [f h w 3]; None without video.
        audio: Its waveform; None without sound.
        sample_rate: The waveform's rate, in Hz.
        start: Where the window begins in the clip, in seconds.
        explained: The class that the whole clip was answered with, where this window alone may say another; None takes
            the window's own.
    """

    key: str
    label: str | None
    probabilities: Mapping[str, float]
    modalities: Mapping[str, float]
    seconds: float
    moments: Mapping[str, NDArray[np.float64]]
    face: NDArray[np.float64] | None = None
    attention: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)
    frames: NDArray[np.uint8] | None = None
    audio: NDArray[np.float32] | None = None
    sample_rate: int = 0
    start: float = 0.0
    explained: str | None = None

    @property
    def predicted(self) -> str:
        """The class that was predicted, which is explained."""
        return self.explained or max(self.probabilities, key=lambda name: self.probabilities[name])

    def to_plain(self) -> dict[str, Any]:
        """Return the numbers as plain data, without pixels and samples."""
        return {
            "key": self.key,
            "label": self.label,
            "predicted": self.predicted,
            "probabilities": dict(self.probabilities),
            "start": self.start,
            "seconds": self.seconds,
            "modalities": dict(self.modalities),
            "moments": {name: values.tolist() for name, values in self.moments.items()},
            "face": None if self.face is None else self.face.tolist(),
            "attention": {name: values.tolist() for name, values in self.attention.items()},
        }
