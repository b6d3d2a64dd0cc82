"""Words become tokens; hidden words and padding never matter."""

from __future__ import annotations

import pytest
import torch

from mmer.config import TemporalConfig, TextConfig
from mmer.encoders.text import Text
from mmer.tokenizer import Tokenizer
from tests.encoders.conftest import NETWORKS, Exported

TOKENIZER = Tokenizer.train(["I am so happy", "I am so happy"], 300)


def make(temporal: TemporalConfig | None = None, token_dropout: float = 0.0) -> Text:
    torch.manual_seed(0)
    config = TextConfig("text", width=12, dropout=0.0, token_dropout=token_dropout, temporal=temporal)
    return Text(config, TOKENIZER).eval()


@pytest.mark.parametrize("temporal", NETWORKS)
def test_what_is_masked_and_padding_never_matter(temporal: TemporalConfig | None) -> None:
    encoder = make(temporal)
    x = torch.randint(0, TOKENIZER.size, (3, 5))
    mask = torch.tensor([[True] * 5, [True, True, False, False, False], [False] * 5])
    before = encoder(x, mask)
    longer = torch.cat([torch.where(mask, x, 10**9), torch.full((3, 4), -1)], dim=1)
    after = encoder(longer, torch.cat([mask, torch.zeros(3, 4, dtype=torch.bool)], dim=1))
    torch.testing.assert_close(after.x[:, :5], before.x)
    assert not after.x[~after.mask].any()
    assert before.x.shape[2] == encoder.dim


@pytest.mark.parametrize("temporal", NETWORKS)
def test_every_parameter_receives_a_gradient(temporal: TemporalConfig | None) -> None:
    encoder = make(temporal).train()
    encoder(torch.arange(8).view(2, 4), torch.ones(2, 4, dtype=torch.bool)).x.square().sum().backward()
    assert [name for name, p in encoder.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_words_are_hidden_in_training_alone() -> None:
    encoder, x, mask = make(token_dropout=0.5), torch.arange(40).view(1, 40), torch.ones(1, 40, dtype=torch.bool)
    assert encoder(x, mask).mask.all()
    hidden = ~encoder.train()(x, mask).mask
    assert 5 < hidden.sum() < 35


@pytest.mark.parametrize("temporal", NETWORKS)
def test_it_can_be_exported(temporal: TemporalConfig | None, exported: Exported) -> None:
    encoder, x = make(temporal), torch.arange(8).view(2, 4)
    mask = torch.tensor([[True] * 4, [True, False, False, False]])
    torch.testing.assert_close(exported(encoder, x, mask).x, encoder(x, mask).x)
