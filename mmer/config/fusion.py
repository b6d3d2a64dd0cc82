"""How the streams of a model become one answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from mmer.config.checks import require_multiple, require_positive, require_rate, require_sizes
from mmer.config.temporal import TemporalConfig


@dataclass(frozen=True)
class TransformerFusionConfig:
    """Transformer over the tokens of all streams, read out by one learned query."""

    kind: Literal["transformer"] = "transformer"
    dim: int = 256
    """Width of the fused tokens."""
    depth: int = 4
    """Transformer layers."""
    heads: int = 8
    """Attention heads; must divide ``dim``."""
    dropout: float = 0.1
    """Rate of dropout inside the layers and before the classifier."""
    max_tokens: int = 512
    """Longest stream, in tokens, that has time embeddings."""

    def __post_init__(self) -> None:
        require_sizes("fusion.", self, "dim", "depth", "heads", "max_tokens")
        require_multiple("fusion.dim", self.dim, "fusion.heads", self.heads)
        require_rate("fusion.dropout", self.dropout)


@dataclass(frozen=True)
class MeanFusionConfig:
    """Mean over the steps of each stream, then over the streams that are there; what a single stream needs."""

    kind: Literal["mean"]
    dim: int = 256
    """Width that every stream is brought to."""
    dropout: float = 0.1
    """Rate of dropout before the classifier."""

    def __post_init__(self) -> None:
        require_positive("fusion.dim", self.dim)
        require_rate("fusion.dropout", self.dropout)


@dataclass(frozen=True)
class CrossAttentionFusionConfig:
    """Attention from each stream to each other one, in both directions (Tsai et al. 2019, arXiv:1906.00295)."""

    kind: Literal["cross_attention"]
    dim: int = 256
    """Width that every stream is brought to."""
    depth: int = 2
    """Layers of each ordered pair of streams."""
    heads: int = 8
    """Attention heads; must divide ``dim``."""
    dropout: float = 0.1
    """Rate of dropout inside the layers and before the classifier."""
    max_tokens: int = 512
    """Longest stream, in tokens, that has time embeddings."""

    def __post_init__(self) -> None:
        require_sizes("fusion.", self, "dim", "depth", "heads", "max_tokens")
        require_multiple("fusion.dim", self.dim, "fusion.heads", self.heads)
        require_rate("fusion.dropout", self.dropout)


@dataclass(frozen=True)
class GatedFusionConfig:
    """Gated multimodal unit (Arevalo et al. 2017, arXiv:1702.01992) over any number of streams."""

    kind: Literal["gated"]
    dim: int = 256
    """Width of the streams' vectors and of their gates."""
    dropout: float = 0.1
    """Rate of dropout before the classifier."""

    def __post_init__(self) -> None:
        require_positive("fusion.dim", self.dim)
        require_rate("fusion.dropout", self.dropout)


@dataclass(frozen=True)
class EarlyFusionConfig:
    """Streams brought to one clock, laid side by side and read by one network over the steps."""

    kind: Literal["early"]
    temporal: TemporalConfig
    """The network over the steps; a causal one can go on from what it has read, step by step."""
    dim: int = 64
    """Width that every stream is brought to before they are laid side by side."""
    steps: int = 16
    """Steps of the clock, spread evenly over the clip; as many as ``clip.frames`` makes a step of every frame."""
    dropout: float = 0.1
    """Rate of dropout before the classifier."""

    def __post_init__(self) -> None:
        require_sizes("fusion.", self, "dim", "steps")
        require_rate("fusion.dropout", self.dropout)


FusionConfig = (
    TransformerFusionConfig | MeanFusionConfig | CrossAttentionFusionConfig | GatedFusionConfig | EarlyFusionConfig
)
"""One way to fuse; ``kind`` says which."""
