"""Encoders of the voice."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from mmer.config.checks import require
from mmer.config.clip import Modality


@dataclass(frozen=True)
class WaveCNNConfig:
    """Strided 1D CNN over the raw waveform."""

    reads: ClassVar[Modality] = "audio"

    encoder: Literal["wave_cnn"]
    variant: Literal["base", "tiny"] = "base"
    """``base``: 512 channels, the seven-block layout of wav2vec 2.0's encoder, 50 tokens a second. ``tiny``: 64, 25."""
    dropout: float = 0.1
    """Rate at which whole channels of a block are dropped in training."""
    normalise: bool = False
    """Bring each window to unit power, as wav2vec 2.0 does: neither the microphone nor loudness matters then."""

    def __post_init__(self) -> None:
        require(0 <= self.dropout < 1, f"dropout={self.dropout} must lie in [0, 1)")


@dataclass(frozen=True)
class SpecAugmentConfig:
    """What SpecAugment hides of a spectrogram in training (Park et al. 2019, arXiv:1904.08779)."""

    bands: int = 2
    """Bands of frequencies that are hidden, each drawn anew for every clip."""
    band_width: int = 27
    """Largest width of a band, in bins."""
    spans: int = 2
    """Spans of time that are hidden."""
    span_share: float = 0.1
    """Largest length of a span, as a share of the clip's own steps."""

    def __post_init__(self) -> None:
        for name in ("bands", "band_width", "spans"):
            require(getattr(self, name) >= 0, f"spec_augment.{name}={getattr(self, name)} must not be negative")
        require(0 <= self.span_share < 1, f"spec_augment.span_share={self.span_share} must lie in [0, 1)")
