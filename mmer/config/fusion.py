"""How the streams of a model become one answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from mmer.config.checks import require


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
        require(
            self.dim % self.heads == 0,
            f"fusion.dim={self.dim} is not a multiple of fusion.heads={self.heads}; change one of them",
        )
        require(0 <= self.dropout < 1, f"fusion.dropout={self.dropout} must lie in [0, 1)")


FusionConfig = TransformerFusionConfig
"""One way to fuse; ``kind`` says which."""
