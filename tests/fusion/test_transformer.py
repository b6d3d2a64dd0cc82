from __future__ import annotations

import pytest
import torch

from mmer.batch import Tokens
from mmer.config import TransformerFusionConfig
from mmer.errors import ConfigError
from mmer.fusion.transformer import TransformerFusion

DIMS = {"face": 6, "voice": 10}
CONFIG = TransformerFusionConfig(dim=16, depth=2, heads=2, dropout=0.0, max_tokens=8)


@pytest.fixture
def fusion() -> TransformerFusion:
    torch.manual_seed(0)
    return TransformerFusion(DIMS, CONFIG).eval()


@pytest.fixture
def streams() -> dict[str, Tokens]:
    torch.manual_seed(1)
    steps = {"face": 4, "voice": 7}
    return {
        name: Tokens(torch.randn(3, steps[name], dim), torch.ones(3, steps[name], dtype=torch.bool))
        for name, dim in DIMS.items()
    }


def masked(tokens: Tokens, clip: int, first: int = 0) -> Tokens:
    mask = tokens.mask.clone()
    mask[clip, first:] = False
    return Tokens(tokens.x, mask)


def test_the_time_of_a_token_matters(fusion: TransformerFusion, streams: dict[str, Tokens]) -> None:
    voice = streams["voice"]
    backwards = {**streams, "voice": Tokens(voice.x.flip(1), voice.mask)}
    assert (fusion(streams) - fusion(backwards)).abs().max() > 1e-3


def test_a_stream_longer_than_its_time_embeddings_is_refused_with_the_setting(fusion: TransformerFusion) -> None:
    long = {name: Tokens(torch.randn(1, 9, dim), torch.ones(1, 9, dtype=torch.bool)) for name, dim in DIMS.items()}
    with pytest.raises(ConfigError, match=r"a stream of 9 tokens needs fusion\.max_tokens=9; it is 8"):
        fusion(long)


# --- where the query looks


def test_following_the_attention_gives_the_same_vector(fusion: TransformerFusion, streams: dict[str, Tokens]) -> None:
    patchy = {**streams, "voice": masked(streams["voice"], clip=1, first=3), "face": masked(streams["face"], clip=2)}
    for given in (streams, patchy):
        torch.testing.assert_close(fusion.attend(given)[0], fusion(given), rtol=1e-5, atol=1e-6)


def test_attention_is_shared_by_the_real_tokens_and_the_query(
    fusion: TransformerFusion, streams: dict[str, Tokens]
) -> None:
    given = {**streams, "voice": masked(streams["voice"], clip=1, first=3), "face": masked(streams["face"], clip=2)}
    shares = fusion.attend(given)[1]
    assert {name: share.shape for name, share in shares.items()} == {"face": (3, 4), "voice": (3, 7)}
    for name, share in shares.items():
        assert (share[~given[name].mask] == 0).all()
        assert (share[given[name].mask] > 0).all()
    total = sum(share.sum(dim=1) for share in shares.values())
    assert ((total > 0.5) & (total <= 0.75)).all()  # of two layers each leaves at least half where it was


def test_a_clip_without_any_token_keeps_all_attention_at_the_query(
    fusion: TransformerFusion, streams: dict[str, Tokens]
) -> None:
    shares = fusion.attend({name: masked(tokens, clip=0) for name, tokens in streams.items()})[1]
    assert all((share[0] == 0).all() for share in shares.values())


def test_attention_is_followed_through_the_layers(fusion: TransformerFusion, streams: dict[str, Tokens]) -> None:
    """By hand: the product of (I + A) / 2 over the layers, the last one first; A is the heads' mean attention."""
    x, _, _ = fusion._join(streams)
    rollout = torch.eye(x.shape[1])
    for layer in fusion.transformer.layers:
        h = layer.norm1(x)
        query, key, _ = layer.self_attn.in_proj_weight.chunk(3)
        heads = [(h @ part.T).unflatten(2, (CONFIG.heads, -1)).transpose(1, 2) for part in (query, key)]
        weight = (heads[0] @ heads[1].mT / (CONFIG.dim / CONFIG.heads) ** 0.5).softmax(dim=3).mean(dim=1)
        rollout = (torch.eye(x.shape[1]) + weight) / 2 @ rollout
        x = layer(x)
    found = torch.cat(list(fusion.attend(streams)[1].values()), dim=1)
    torch.testing.assert_close(found, rollout[:, 0, 1:], rtol=1e-4, atol=1e-6)
