"""The encoder of precomputed descriptors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from mmer.config.checks import require, require_positive, require_rate
from mmer.config.clip import is_stream_name
from mmer.config.temporal import TemporalConfig


@dataclass(frozen=True)
class FeaturesConfig:
    """A stream of precomputed descriptors, a vector a step or one a clip, and a network over its steps.

    Each column is standardised with its mean and deviation over the training clips, which the checkpoint keeps.
    """

    encoder: Literal["features"]
    features: str
    """The stream's name, as ``mmer prepare --features NAME=PATH`` gave it."""
    width: int
    """Numbers in each of its steps."""
    percentile: float = 95.0
    """Steps are cut behind this percentile of the training clips' numbers of steps; 100 keeps the longest whole."""
    dropout: float = 0.1
    """Rate of dropout of the standardised numbers."""
    temporal: TemporalConfig | None = None
    """The network over the steps; null leaves them as they are."""

    def __post_init__(self) -> None:
        require(
            is_stream_name(self.features),
            f"features={self.features!r} is no name of a stream, such as 'action_units'",
        )
        require_positive("width", self.width)
        require(0 < self.percentile <= 100, f"percentile={self.percentile} must lie in (0, 100]")
        require_rate("dropout", self.dropout)

    @property
    def reads(self) -> str:
        """The stream's name: what the encoder reads of a batch."""
        return self.features
