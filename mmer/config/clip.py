"""What is cut from a clip, and what it is made of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from mmer.config.checks import require, require_positive

Modality = Literal["video", "audio", "text"]
"""What a clip is made of; the same word in manifests, batches, configs and reports."""


def is_stream_name(name: str) -> bool:
    """Tell whether a stream of precomputed features may have a name: a lower-case identifier, and no modality's."""
    return name.isidentifier() and name.islower() and name not in get_args(Modality)


@dataclass(frozen=True)
class ClipConfig:
    """How much of a clip a model sees, the same for every stream, so that streams line up in time."""

    seconds: float = 3.6
    """Length of the window, in seconds, taken from the middle of the clip; a shorter clip is used whole."""
    frames: int = 16
    """Video frames sampled uniformly over the window."""
    sample_rate: int = 16_000
    """Rate of the waveform, in Hz."""
    tokens: int = 64
    """Most tokens of a clip's words; what is said beyond them is cut."""

    def __post_init__(self) -> None:
        require_positive("clip.seconds", self.seconds)
        require_positive("clip.frames", self.frames)
        require_positive("clip.sample_rate", self.sample_rate, "Hz")
        require(self.tokens >= 8, f"clip.tokens={self.tokens} must be at least 8")
