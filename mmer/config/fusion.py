"""How the streams of a model become one answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from mmer.config.checks import require
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
        require(min(self.dim, self.depth, self.heads, self.max_tokens) > 0, f"{self} has a size that is not positive")
        _check_heads(self.dim, self.heads)
        _check_dropout(self.dropout)


@dataclass(frozen=True)
class MeanFusionConfig:
    """Mean over the steps of each stream, then over the streams that are there; what a single stream needs."""

    kind: Literal["mean"]
    dim: int = 256
    """Width that every stream is brought to."""
    dropout: float = 0.1
    """Rate of dropout before the classifier."""

    def __post_init__(self) -> None:
        require(self.dim > 0, f"fusion.dim={self.dim} must be positive")
        _check_dropout(self.dropout)


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
        require(min(self.dim, self.depth, self.heads, self.max_tokens) > 0, f"{self} has a size that is not positive")
        _check_heads(self.dim, self.heads)
        _check_dropout(self.dropout)


@dataclass(frozen=True)
class GatedFusionConfig:
    """Gated multimodal unit (Arevalo et al. 2017, arXiv:1702.01992) over any number of streams."""

    kind: Literal["gated"]
    dim: int = 256
    """Width of the streams' vectors and of their gates."""
    dropout: float = 0.1
    """Rate of dropout before the classifier."""

    def __post_init__(self) -> None:
        require(self.dim > 0, f"fusion.dim={self.dim} must be positive")
        _check_dropout(self.dropout)


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
        require(min(self.dim, self.steps) > 0, f"{self} has a size that is not positive")
        _check_dropout(self.dropout)


FusionConfig = (
    TransformerFusionConfig | MeanFusionConfig | CrossAttentionFusionConfig | GatedFusionConfig | EarlyFusionConfig
)
"""One way to fuse; ``kind`` says which."""


def _check_heads(dim: int, heads: int) -> None:
    require(dim % heads == 0, f"fusion.dim={dim} is not a multiple of fusion.heads={heads}; change one of them")


def _check_dropout(dropout: float) -> None:
    require(0 <= dropout < 1, f"fusion.dropout={dropout} must lie in [0, 1)")
