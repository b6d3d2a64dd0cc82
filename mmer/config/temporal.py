"""Networks over the steps of a stream, the same for faces, voices and tables of descriptors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from mmer.config.checks import require, require_rate, require_sizes


@dataclass(frozen=True)
class LSTMConfig:
    """LSTM over the steps (Hochreiter and Schmidhuber 1997), in both directions unless causal."""

    kind: Literal["lstm"]
    width: int = 128
    """Cells of each direction."""
    depth: int = 1
    """Layers."""
    dropout: float = 0.1
    """Rate of dropout before each layer."""
    causal: bool = False
    """Read forwards only, so that a step never depends on later ones."""

    def __post_init__(self) -> None:
        require_sizes("temporal.", self, "width", "depth")
        require_rate("temporal.dropout", self.dropout)


@dataclass(frozen=True)
class SelfAttentionConfig:
    """Transformer encoder over the steps (Vaswani et al. 2017, arXiv:1706.03762)."""

    kind: Literal["transformer"]
    width: int = 128
    """Width of the steps."""
    depth: int = 2
    """Layers."""
    heads: int = 4
    """Attention heads; must divide ``width``."""
    dropout: float = 0.1
    """Rate of dropout inside the layers."""
    causal: bool = False
    """Let a step look at earlier ones only."""

    def __post_init__(self) -> None:
        require_sizes("temporal.", self, "width", "depth", "heads")
        require(
            self.width % self.heads == 0 and self.width % 2 == 0,
            f"temporal.width={self.width} must be even and a multiple of temporal.heads={self.heads}; change one",
        )
        require_rate("temporal.dropout", self.dropout)


TemporalConfig = LSTMConfig | SelfAttentionConfig
"""A network over steps; ``kind`` says which."""
