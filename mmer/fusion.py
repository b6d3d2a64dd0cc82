"""Several token streams to one vector."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mmer.batch import Tokens
from mmer.config import FusionConfig
from mmer.errors import ConfigError


class TransformerFusion(nn.Module):
    """Transformer over the concatenated tokens of all streams, read out by one learned query.

    The query is never masked, so the answer is finite even for a clip whose every modality is missing.

    Args:
        dims: Token width of each stream by its name.
        config: Width, depth, heads.
    """

    def __init__(self, dims: Mapping[str, int], config: FusionConfig) -> None:
        super().__init__()
        self.streams = nn.ModuleDict(
            {name: StreamEmbedding(dim, config.dim, config.max_tokens) for name, dim in dims.items()}
        )
        self.query = nn.Parameter(0.02 * torch.randn(1, 1, config.dim))
        layer = nn.TransformerEncoderLayer(
            config.dim,
            config.heads,
            dim_feedforward=4 * config.dim,
            dropout=config.dropout,
            activation="gelu",
            batch_first=True,
            norm_first=True,
        )
        self.transformer = nn.TransformerEncoder(
            layer, config.depth, norm=nn.LayerNorm(config.dim), enable_nested_tensor=False
        )

    def forward(self, streams: Mapping[str, Tokens]) -> Float[Tensor, "b d"]:
        """Fuse the streams; tokens whose mask is False never matter, nor does the order of the streams."""
        tokens = [embed(streams[name]) for name, embed in self.streams.items()]
        batch = len(tokens[0].x)
        query = self.query.expand(batch, -1, -1)
        always = torch.ones(batch, 1, dtype=torch.bool, device=query.device)
        x = torch.cat([query, *(t.x for t in tokens)], dim=1)
        mask = torch.cat([always, *(t.mask for t in tokens)], dim=1)
        fused: Tensor = self.transformer(x, src_key_padding_mask=~mask)
        return fused[:, 0]


class StreamEmbedding(nn.Module):
    """Bring a stream to the common width and say which stream and which step each token is.

    Args:
        dim: Token width of the stream.
        width: The common width.
        max_tokens: Longest stream that has time embeddings.
    """

    def __init__(self, dim: int, width: int, max_tokens: int) -> None:
        super().__init__()
        self.project = nn.Sequential(nn.LayerNorm(dim), nn.Linear(dim, width))
        self.stream = nn.Parameter(0.02 * torch.randn(width))
        self.time = nn.Parameter(0.02 * torch.randn(max_tokens, width))

    def forward(self, tokens: Tokens) -> Tokens:
        """Embed the tokens of one stream.

        Raises:
            ConfigError: The stream is longer than its time embeddings.
        """
        steps = tokens.x.shape[1]
        if steps > len(self.time):
            raise ConfigError(f"a stream of {steps} tokens needs fusion.max_tokens={steps}; it is {len(self.time)}")
        return Tokens(self.project(tokens.x) + self.stream + self.time[:steps], tokens.mask)
