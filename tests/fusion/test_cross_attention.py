from __future__ import annotations

import pytest
import torch

from mmer.batch import Tokens
from mmer.config import CrossAttentionFusionConfig
from mmer.fusion.cross_attention import CrossAttentionFusion

DIMS = {"face": 6, "voice": 10}


@pytest.fixture
def fusion() -> CrossAttentionFusion:
    torch.manual_seed(0)
    config = CrossAttentionFusionConfig("cross_attention", dim=8, depth=2, heads=2, dropout=0.0, max_tokens=8)
    return CrossAttentionFusion(DIMS, config).eval()


def clips(face: bool, voice: bool) -> dict[str, Tokens]:
    torch.manual_seed(1)
    has = {"face": face, "voice": voice}
    return {name: Tokens(torch.randn(2, 3, dim), torch.full((2, 3), has[name])) for name, dim in DIMS.items()}


def test_a_stream_without_a_partner_stays_as_it_is(fusion: CrossAttentionFusion) -> None:
    streams = clips(face=True, voice=False)
    alone = fusion.norm(fusion.streams["face"](streams["face"]).x).mean(dim=1)
    torch.testing.assert_close(fusion(streams), alone)


def test_both_streams_look_at_each_other(fusion: CrossAttentionFusion) -> None:
    streams = clips(face=True, voice=True)
    first = fusion.layers[0]
    tokens = {name: embed(streams[name]) for name, embed in fusion.streams.items()}
    before = first(tokens)
    for name, other in (("face", "voice"), ("voice", "face")):
        after = first({**tokens, other: Tokens(tokens[other].x.flip(2), tokens[other].mask)})
        assert (after[name].x - before[name].x).abs().max() > 1e-3


def test_shares_follow_the_attention_and_add_up_to_one(fusion: CrossAttentionFusion) -> None:
    """By hand, of two streams: half of the mean stays in each layer, half goes where the heads look."""
    streams = clips(face=True, voice=True)
    tokens, shares = {name: embed(streams[name]) for name, embed in fusion.streams.items()}, fusion.attend(streams)[1]
    rollout = torch.eye(6)
    for layer in fusion.layers:
        tokens, weight = layer.look(tokens)
        zero = torch.zeros(2, 3, 3)
        across = torch.cat(
            [torch.cat([zero, weight["face"]["voice"]], 2), torch.cat([weight["voice"]["face"], zero], 2)], 1
        )
        rollout = (torch.eye(6) + across) / 2 @ rollout
    expected = torch.full((2, 1, 6), 1 / 6) @ rollout
    torch.testing.assert_close(torch.cat([shares["face"], shares["voice"]], dim=1), expected.squeeze(1))
    torch.testing.assert_close(sum(share.sum(dim=1) for share in shares.values()), torch.ones(2))


def test_a_stream_alone_keeps_all_shares(fusion: CrossAttentionFusion) -> None:
    shares = fusion.attend(clips(face=False, voice=True))[1]
    torch.testing.assert_close(shares["voice"], torch.full((2, 3), 1 / 3))
    assert not shares["face"].any()
