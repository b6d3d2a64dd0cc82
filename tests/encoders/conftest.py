"""What the tests of encoders share."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from mmer.batch import Tokens
from mmer.config import LSTMConfig, SelfAttentionConfig, TemporalConfig

NETWORKS: list[TemporalConfig | None] = [
    None,
    LSTMConfig("lstm", width=8, dropout=0.0),
    SelfAttentionConfig("transformer", width=8, depth=1, heads=2, dropout=0.0),
]
"""What may lie behind an encoder: nothing, or a network over its steps."""

Exported = Callable[[nn.Module, Tensor, Tensor], Tokens]


class Plain(nn.Module):
    """An encoder that returns plain tensors, as a program must."""

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        tokens = self.encoder(x, mask)
        return tokens.x, tokens.mask


@pytest.fixture
def exported() -> Exported:
    """What an encoder says of its input after ``torch.export``."""

    def run(encoder: nn.Module, x: Tensor, mask: Tensor) -> Tokens:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "The tensor attributes .* were assigned", UserWarning)  # torch's LSTM
            program = torch.export.export(Plain(encoder).eval(), (x, mask)).module()
        return Tokens(*program(x, mask))

    return run
