"""Descriptors are standardised as the training clips say, and nothing under the mask matters."""

from __future__ import annotations

import pickle
from dataclasses import replace

import pytest
import torch

from mmer.config import FeaturesConfig, TemporalConfig
from mmer.encoders.features import Features
from tests.encoders.conftest import NETWORKS, Exported


def make(temporal: TemporalConfig | None = None, dropout: float = 0.0) -> Features:
    torch.manual_seed(0)
    encoder = Features(FeaturesConfig("features", "units", 3, dropout=dropout, temporal=temporal))
    encoder.fit(torch.tensor([10.0, -2.0, 5.0]), torch.tensor([2.0, 0.5, 0.0]), 4)
    return encoder.eval()


def test_columns_are_standardised_and_a_constant_one_is_zero() -> None:
    x = torch.tensor([[[12.0, -2.0, 5.0], [6.0, -1.0, 99.0]]])
    tokens = make()(x, torch.ones(1, 2, dtype=torch.bool))
    assert tokens.x.tolist() == [[[1.0, 0.0, 0.0], [-2.0, 2.0, 0.0]]]


def test_steps_behind_the_longest_are_cut() -> None:
    tokens = make()(torch.ones(1, 6, 3), torch.ones(1, 6, dtype=torch.bool))
    assert tokens.mask.tolist() == [[True] * 4]
    assert tokens.x.shape == (1, 4, 3), "what is not read costs nothing, and asks no fusion for room"


@pytest.mark.parametrize("temporal", NETWORKS)
def test_what_is_cut_still_counts_as_a_part_of_the_clip(temporal: TemporalConfig | None) -> None:
    mask = torch.tensor([[True] * 6, [True, True, True, False, False, False], [False] * 6])
    tokens = make(temporal)(torch.ones(3, 6, 3), mask)
    assert tokens.count().tolist() == [6, 3, 0]
    assert replace(tokens, extent=None).count().tolist() == [4, 3, 0]


def test_an_encoder_that_nothing_was_fitted_to_reads_all_as_it_is() -> None:
    tokens = Features(FeaturesConfig("features", "units", 3)).eval()(torch.ones(1, 600, 3), torch.ones(1, 600) > 0)
    assert tokens.mask.all() and (tokens.x == 1).all()


def test_it_can_be_pickled_for_another_process() -> None:
    x, mask = torch.randn(1, 6, 3), torch.ones(1, 6, dtype=torch.bool)
    assert torch.equal(pickle.loads(pickle.dumps(make()))(x, mask).x, make()(x, mask).x)


def test_what_was_fitted_is_a_part_of_the_weights() -> None:
    again = Features(FeaturesConfig("features", "units", 3))
    again.load_state_dict(make().state_dict())
    assert again.steps == 4 and again.mean.tolist() == [10.0, -2.0, 5.0]
    assert again(torch.ones(1, 6, 3), torch.ones(1, 6, dtype=torch.bool)).x.shape == (1, 4, 3)


@pytest.mark.parametrize("temporal", NETWORKS)
def test_masked_steps_and_padding_never_matter(temporal: TemporalConfig | None) -> None:
    encoder, x = make(temporal), torch.randn(3, 4, 3)
    mask = torch.tensor([[True] * 4, [True, True, False, False], [False] * 4])
    before = encoder(x, mask)
    wild = torch.where(mask.unsqueeze(2), x, torch.tensor([torch.nan, torch.inf, 1e30]))
    longer = torch.cat([wild, torch.full((3, 5, 3), 7.0)], dim=1)
    after = encoder(longer, torch.cat([mask, torch.zeros(3, 5, dtype=torch.bool)], dim=1))
    torch.testing.assert_close(after.x, before.x)
    assert torch.equal(after.mask, mask)
    assert not after.x[~after.mask].any()
    assert before.x.shape[2] == encoder.dim


@pytest.mark.parametrize("temporal", NETWORKS[1:])
def test_every_parameter_receives_a_gradient(temporal: TemporalConfig) -> None:
    encoder = make(temporal).train()
    encoder(torch.randn(2, 4, 3), torch.ones(2, 4, dtype=torch.bool)).x.square().sum().backward()
    assert [name for name, p in encoder.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_dropout_is_of_training_alone() -> None:
    encoder, x, mask = make(dropout=0.5), torch.randn(1, 4, 3), torch.ones(1, 4, dtype=torch.bool)
    assert torch.equal(encoder(x, mask).x, encoder(x, mask).x)
    assert (encoder.train()(x, mask).x[..., :2] == 0).any()


@pytest.mark.parametrize("temporal", NETWORKS)
def test_it_can_be_exported(temporal: TemporalConfig | None, exported: Exported) -> None:
    encoder, x = make(temporal), torch.randn(2, 4, 3)
    mask = torch.tensor([[True] * 4, [True, False, False, False]])
    torch.testing.assert_close(exported(encoder, x, mask).x, encoder(x, mask).x)
