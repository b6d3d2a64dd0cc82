"""What holds for every fusion: what never changes its answer, and that any of its streams may be missing."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations

import pytest
import torch
from torch import Tensor

from mmer.batch import Tokens
from mmer.build import Fusion, build_fusion
from mmer.config import (
    CrossAttentionFusionConfig,
    EarlyFusionConfig,
    FusionConfig,
    GatedFusionConfig,
    LSTMConfig,
    MeanFusionConfig,
    SelfAttentionConfig,
    TransformerFusionConfig,
)

DIMS = {"face": 6, "voice": 10, "words": 4}
STEPS = {"face": 4, "voice": 7, "words": 2}
LSTM = LSTMConfig("lstm", width=5, dropout=0.0)
LOOK = SelfAttentionConfig("transformer", width=8, depth=1, heads=2, dropout=0.0)

CONFIGS: dict[str, FusionConfig] = {
    "transformer": TransformerFusionConfig(dim=16, depth=1, heads=2, dropout=0.0, max_tokens=12),
    "mean": MeanFusionConfig("mean", dim=8, dropout=0.0),
    "cross_attention": CrossAttentionFusionConfig(
        "cross_attention", dim=16, depth=2, heads=2, dropout=0.0, max_tokens=12
    ),
    "gated": GatedFusionConfig("gated", dim=8, dropout=0.0),
    "early": EarlyFusionConfig("early", LSTM, dim=5, steps=6, dropout=0.0),
    "early transformer": EarlyFusionConfig("early", LOOK, dim=5, steps=6, dropout=0.0),
    "early causal": EarlyFusionConfig("early", replace(LSTM, causal=True), dim=5, steps=4, dropout=0.0),
    "early transformer causal": EarlyFusionConfig("early", replace(LOOK, causal=True), dim=5, steps=4, dropout=0.0),
}


@pytest.fixture(scope="module", params=CONFIGS.values(), ids=CONFIGS)
def fusion(request: pytest.FixtureRequest) -> Fusion:
    torch.manual_seed(0)
    return build_fusion(DIMS, request.param).eval()


@pytest.fixture
def streams() -> dict[str, Tokens]:
    """Three clips: one that has all, one with a gap in its voice and a short end, one without words."""
    torch.manual_seed(1)
    found = {
        name: Tokens(torch.randn(3, STEPS[name], dim), torch.ones(3, STEPS[name], dtype=torch.bool))
        for name, dim in DIMS.items()
    }
    found["voice"].mask[1, [2, 5, 6]] = False
    found["words"].mask[2] = False
    return found


def without(streams: dict[str, Tokens], *names: str) -> dict[str, Tokens]:
    return {
        name: Tokens(tokens.x, torch.zeros_like(tokens.mask) if name in names else tokens.mask)
        for name, tokens in streams.items()
    }


def same(a: Tensor, b: Tensor) -> None:
    torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


def test_streams_of_any_width_and_length_become_one_vector(fusion: Fusion, streams: dict[str, Tokens]) -> None:
    assert fusion(streams).shape == (3, fusion.dim)


def test_the_order_of_the_streams_never_matters(fusion: Fusion, streams: dict[str, Tokens]) -> None:
    assert torch.equal(fusion(streams), fusion(dict(reversed(streams.items()))))


def test_masked_tokens_never_matter(fusion: Fusion, streams: dict[str, Tokens]) -> None:
    garbage = {
        name: Tokens(torch.where(tokens.mask.unsqueeze(2), tokens.x, 1e4 * torch.randn_like(tokens.x)), tokens.mask)
        for name, tokens in streams.items()
    }
    same(fusion(garbage), fusion(streams))


def test_padding_never_matters(fusion: Fusion, streams: dict[str, Tokens]) -> None:
    longer = {
        name: Tokens(
            torch.cat([tokens.x, torch.randn(3, 5, DIMS[name])], dim=1),
            torch.cat([tokens.mask, torch.zeros(3, 5, dtype=torch.bool)], dim=1),
        )
        for name, tokens in streams.items()
    }
    same(fusion(longer), fusion(streams))


def test_the_clips_of_a_batch_do_not_meet(fusion: Fusion, streams: dict[str, Tokens]) -> None:
    for clip in range(3):
        alone = {name: Tokens(tokens.x[[clip]], tokens.mask[[clip]]) for name, tokens in streams.items()}
        same(fusion(alone)[0], fusion(streams)[clip])


def test_every_present_stream_matters(fusion: Fusion, streams: dict[str, Tokens]) -> None:
    for name in DIMS:
        assert (fusion(streams) - fusion(without(streams, name)))[0].abs().max() > 1e-3
    same(fusion(without(streams, "words"))[2], fusion(streams)[2])  # that clip had none


@pytest.mark.parametrize("training", [False, True])
def test_any_streams_may_be_missing(fusion: Fusion, streams: dict[str, Tokens], training: bool) -> None:
    answers = [
        fusion.train(training)(without(streams, *hidden)) for count in range(4) for hidden in combinations(DIMS, count)
    ]
    sum(answer.square().sum() for answer in answers).backward()
    assert all(answer.isfinite().all() for answer in answers)
    assert all(p.grad is not None and p.grad.isfinite().all() for p in fusion.parameters())
    fusion.zero_grad()
    fusion.eval()


def test_every_parameter_receives_a_gradient(fusion: Fusion, streams: dict[str, Tokens]) -> None:
    answer = fusion(streams)
    (answer * torch.randn_like(answer)).sum().backward()
    still = [name for name, p in fusion.named_parameters() if p.grad is None or not p.grad.any()]
    fusion.zero_grad()
    # the keys' bias shifts all scores of a query alike
    assert [name for name in still if not name.endswith("in_proj_bias")] == []


def test_a_stream_counts_as_much_as_its_weight(fusion: Fusion, streams: dict[str, Tokens]) -> None:
    other = {**streams, "voice": replace(streams["voice"], x=torch.randn_like(streams["voice"].x))}

    def answers(weight: float) -> tuple[Tensor, Tensor]:
        """What is said of the clips with one voice and with another, which the first clip hears so much of."""
        each = {name: torch.ones(3) for name in DIMS} | {"voice": torch.tensor([weight, 1.0, 1.0])}
        first, second = (
            fusion({name: replace(tokens, weight=each[name]) for name, tokens in given.items()})
            for given in (streams, other)
        )
        return first, second

    for found, expected in zip(answers(1.0), (fusion(streams), fusion(other)), strict=True):
        same(found, expected)
    same(answers(0.1)[0][1:], fusion(streams)[1:])
    moved = {weight: (a - b)[0].norm() for weight in (0.0, 0.1, 0.4, 1.0) for a, b in [answers(weight)]}
    assert moved[0.0] < 1e-5 < moved[0.1] < moved[0.4] < moved[1.0]
    assert moved[0.1] < 0.35 * moved[1.0]


def test_attending_gives_the_same_vector_and_shares_of_real_tokens(fusion: Fusion, streams: dict[str, Tokens]) -> None:
    fused, shares = fusion.attend(streams)
    same(fused, fusion(streams))
    total = sum((share.sum(dim=1) for share in shares.values()), torch.zeros(3))
    assert (total <= 1 + 1e-5).all()
    for name, share in shares.items():
        assert share.shape == streams[name].mask.shape
        assert (share >= 0).all()
        assert not share[~streams[name].mask].any()
