"""Attention from each stream to each other one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mmer.batch import Tokens
from mmer.config import CrossAttentionFusionConfig
from mmer.fusion.embedding import embed_each
from mmer.fusion.mean import mean_of_streams, present

_Weights = dict[str, dict[str, Tensor]]  # of each stream and each partner: who looked at what, [b t n]


class CrossAttentionFusion(nn.Module):
    """Attention between every two streams, in both directions and layer by layer; then the mean.

    The crossmodal attention of Tsai et al. 2019 (arXiv:1906.00295) with the layers of all directions in step, as in the
    fusion of Sun et al. 2024 (arXiv:2401.05698). A stream whose partners are all missing stays as it is. A stream's
    weight multiplies what its partners hear of it, and its part of the mean.

    Args:
        dims: Token width of each stream by its name.
        config: Width, depth, heads.
    """

    def __init__(self, dims: Mapping[str, int], config: CrossAttentionFusionConfig) -> None:
        super().__init__()
        self.dim = config.dim
        self.streams = embed_each(dims, config.dim, config.max_tokens)
        self.layers = nn.ModuleList(CrossLayer(tuple(dims), config) for _ in range(config.depth))
        self.norm = nn.LayerNorm(config.dim)

    def forward(self, streams: Mapping[str, Tokens]) -> Float[Tensor, "b d"]:
        """Fuse the streams; tokens whose mask is False never matter, and a clip without any becomes zeros."""
        tokens: dict[str, Tokens] = self.streams(streams)
        for layer in self.layers:
            tokens = layer(tokens)
        return self._mean(tokens)

    def attend(self, streams: Mapping[str, Tokens]) -> tuple[Float[Tensor, "b d"], dict[str, Float[Tensor, "b t"]]]:
        """Fuse the streams as ``forward`` does in evaluation mode, and say where the answer comes from.

        Attention is followed through all layers (rollout, Abnar and Zuidema 2020, arXiv:2005.00928): each layer takes
        half from its input and half by its heads' mean attention, and all from its input where there is no partner.

        Returns:
            The fused vector, and the share that went to each token of each stream. They add up to 1, unless the clip
            has no token at all.
        """
        tokens, weights = self.streams(streams), []
        for layer in self.layers:
            tokens, weight = cast(CrossLayer, layer).look(tokens)
            weights.append(weight)
        there = present(tokens)
        shares = {
            name: each.mask / (each.mask.sum(dim=1) * there.sum(dim=1)).clamp(min=1).unsqueeze(1)
            for name, each in tokens.items()
        }
        for weight in reversed(weights):
            shares = _ask(shares, weight, tokens)
        return self._mean(tokens), shares

    def _mean(self, tokens: Mapping[str, Tokens]) -> Float[Tensor, "b d"]:
        return mean_of_streams({name: replace(each, x=self.norm(each.x)) for name, each in tokens.items()})


class CrossLayer(nn.Module):
    """One layer of every direction: each stream looks at each other one, and keeps the mean of what it became.

    Args:
        names: The streams.
        config: Width and heads.
    """

    def __init__(self, names: tuple[str, ...], config: CrossAttentionFusionConfig) -> None:
        super().__init__()
        self.pairs = nn.ModuleDict(
            {name: nn.ModuleDict({other: CrossAttention(config) for other in names if other != name}) for name in names}
        )

    def forward(self, streams: Mapping[str, Tokens]) -> dict[str, Tokens]:
        """Let every stream look at those partners that its clip has."""
        return self.look(streams)[0]

    def look(self, streams: Mapping[str, Tokens]) -> tuple[dict[str, Tokens], _Weights]:
        """Return the streams, and the attention of each to each partner, zeros where the partner is missing."""
        outs: dict[str, Tokens] = {}
        weights: _Weights = {}
        for name, partners in self.pairs.items():
            own = streams[name]
            total, count, weights[name] = torch.zeros_like(own.x), torch.zeros_like(own.x[:, :1, :1]), {}
            for other, attention in cast(nn.ModuleDict, partners).items():
                became, weights[name][other] = attention(own.x, streams[other])
                there = streams[other].mask.any(dim=1).view(-1, 1, 1)
                total = total + torch.where(there, became, 0.0)
                count = count + there
            outs[name] = replace(own, x=torch.where(count > 0, total / count.clamp(min=1), own.x))
        return outs, weights


class CrossAttention(nn.Module):
    """One stream looks at another: attention, then a network for each token.

    Args:
        config: Width and heads.
    """

    def __init__(self, config: CrossAttentionFusionConfig) -> None:
        super().__init__()
        dim = config.dim
        self.norms = nn.ModuleList(nn.LayerNorm(dim) for _ in range(3))
        self.attention = nn.MultiheadAttention(dim, config.heads, dropout=config.dropout, batch_first=True)
        self.network = nn.Sequential(
            nn.Linear(dim, 4 * dim), nn.GELU(), nn.Dropout(config.dropout), nn.Linear(4 * dim, dim)
        )
        self.dropout = nn.Dropout(config.dropout)

    def forward(
        self, x: Float[Tensor, "b t d"], other: Tokens
    ) -> tuple[Float[Tensor, "b t d"], Float[Tensor, "b t n"]]:
        """Return what the tokens become, and their heads' mean attention to the other's; zeros where it is missing."""
        keys, missing = self.norms[1](other.x), ~other.mask.any(dim=1, keepdim=True)
        heard, weight = self.attention(self.norms[0](x), keys, keys, key_padding_mask=~(other.mask | missing))
        if other.weight is not None:
            heard = heard * other.weight.view(-1, 1, 1)
        x = x + self.dropout(heard)
        return x + self.dropout(self.network(self.norms[2](x))), weight.masked_fill(missing.unsqueeze(2), 0.0)


def _ask(shares: Mapping[str, Tensor], weights: _Weights, tokens: Mapping[str, Tokens]) -> dict[str, Tensor]:
    """Hand shares one layer down: half of each stays, half goes to the partners that are there, in equal parts."""
    there = {name: each.mask.any(dim=1, keepdim=True) for name, each in tokens.items()}
    asked = dict.fromkeys(shares, torch.zeros(()))
    for name, share in shares.items():
        partners = sum((there[other].to(share.dtype) for other in weights[name]), torch.zeros_like(share[:, :1]))
        half = torch.where(partners > 0, share / 2, 0.0)
        asked[name] = asked[name] + share - half
        for other, weight in weights[name].items():
            asked[other] = asked[other] + ((half / partners.clamp(min=1)).unsqueeze(1) @ weight).squeeze(1)
    return asked
