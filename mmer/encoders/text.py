"""Words to tokens, learned from scratch."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Int
from torch import Tensor, nn

from mmer.batch import Tokens
from mmer.config import TextConfig
from mmer.encoders.masking import TokenDropout
from mmer.temporal import build_optional_temporal
from mmer.tokenizer import Tokenizer


class Text(nn.Module):
    """Embeddings of a text's tokens, and the network over them that the config names.

    Args:
        config: Widths, dropout, the network.
        tokenizer: What made the token ids.
    """

    def __init__(self, config: TextConfig, tokenizer: Tokenizer) -> None:
        super().__init__()
        self.hide = TokenDropout(config.token_dropout, tokenizer.special)
        self.embedding = nn.Embedding(tokenizer.size, config.width)
        self.dropout = nn.Dropout(config.dropout)
        self.temporal = build_optional_temporal(config.width, config.temporal)
        self.dim = self.temporal.dim

    def forward(self, x: Int[Tensor, "b l"], mask: Bool[Tensor, "b l"]) -> Tokens:
        """Encode token ids; those where the mask is False never matter."""
        mask = self.hide(x, mask)
        words = self.dropout(self.embedding(torch.where(mask, x, 0)))
        tokens: Tokens = self.temporal(Tokens(torch.where(mask.unsqueeze(2), words, 0.0), mask))
        return tokens
