"""A transformer over the tokens of all streams."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mmer.batch import Tokens
from mmer.config import TransformerFusionConfig
from mmer.fusion.embedding import embed_each
from mmer.temporal import add_heard, transformer_layer


class TransformerFusion(nn.Module):
    """Transformer over the concatenated tokens of all streams, read out by one learned query.

    The query is never masked, so the answer is finite even for a clip whose every modality is missing. A stream's
    weight multiplies the attention to its tokens, before it is made to add up to 1.

    Args:
        dims: Token width of each stream by its name.
        config: Width, depth, heads.
    """

    def __init__(self, dims: Mapping[str, int], config: TransformerFusionConfig) -> None:
        super().__init__()
        self.dim = config.dim
        self.streams = embed_each(dims, config.dim, config.max_tokens)
        self.query = nn.Parameter(0.02 * torch.randn(1, 1, config.dim))
        self.transformer = nn.TransformerEncoder(
            transformer_layer(config.dim, config.heads, config.dropout),
            config.depth,
            norm=nn.LayerNorm(config.dim),
            enable_nested_tensor=False,
        )

    def forward(self, streams: Mapping[str, Tokens]) -> Float[Tensor, "b d"]:
        """Fuse the streams; tokens whose mask is False never matter, nor does the order of the streams."""
        x, bias, _ = self._join(streams)
        fused: Tensor = self.transformer(x, src_key_padding_mask=bias)
        return fused[:, 0]

    def attend(self, streams: Mapping[str, Tokens]) -> tuple[Float[Tensor, "b d"], dict[str, Float[Tensor, "b t"]]]:
        """Fuse the streams as ``forward`` does in evaluation mode, and say where the query's answer comes from.

        Attention is followed through all layers (rollout, Abnar and Zuidema 2020, arXiv:2005.00928): each layer takes
        half from its input and half by its heads' mean attention.

        Returns:
            The fused vector, and the share that went to each token of each stream; what is left of 1 stayed with the
            query, and a token whose mask is False has none.
        """
        x, bias, steps = self._join(streams)
        weights = []
        for layer in self.transformer.layers:
            assert isinstance(layer, nn.TransformerEncoderLayer)
            x, weight = _attend(layer, x, bias)
            weights.append(weight)
        assert self.transformer.norm is not None
        share = torch.zeros_like(x[:, :, 0])
        share[:, 0] = 1  # all of it is asked by the query
        for weight in reversed(weights):
            share = (share + (share.unsqueeze(1) @ weight).squeeze(1)) / 2
        parts = torch.split(share[:, 1:], list(steps.values()), dim=1)
        return self.transformer.norm(x)[:, 0], dict(zip(steps, parts, strict=True))

    def _join(
        self, streams: Mapping[str, Tokens]
    ) -> tuple[Float[Tensor, "b n d"], Float[Tensor, "b n"], dict[str, int]]:
        """Return the query and the embedded tokens of all streams in a row, their bias, and each stream's steps."""
        tokens = self.streams(streams)
        batch = next(iter(tokens.values())).x.shape[0]
        query = self.query.expand(batch, -1, -1)
        always = torch.zeros_like(query[:, :, 0])
        x = torch.cat([query, *(t.x for t in tokens.values())], dim=1)
        bias = torch.cat([always, *map(_bias, tokens.values())], dim=1)
        return x, bias, {name: t.x.shape[1] for name, t in tokens.items()}


def _bias(tokens: Tokens) -> Float[Tensor, "b t"]:
    """Return what is added to the scores of the attention to each token, so that a weight multiplies it."""
    heard = torch.zeros_like(tokens.x[:, :, 0])
    if tokens.weight is not None:
        heard = heard + tokens.weight.log().unsqueeze(1)
    return heard.masked_fill(~tokens.mask, -torch.inf)


def _attend(
    layer: nn.TransformerEncoderLayer, x: Float[Tensor, "b n d"], bias: Float[Tensor, "b n"]
) -> tuple[Float[Tensor, "b n d"], Float[Tensor, "b n n"]]:
    """Pass tokens through a layer in evaluation mode; return its heads' mean attention too, a row for each query."""
    h = layer.norm1(x)
    attended, weight = layer.self_attn(h, h, h, key_padding_mask=bias, need_weights=True)
    return add_heard(layer, x, attended), weight
