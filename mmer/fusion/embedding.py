"""Streams of any width to tokens of one width."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import nn

from mmer.batch import Tokens
from mmer.errors import ConfigError


class StreamProjection(nn.Sequential):
    """Bring a stream to the common width: norm, then projection.

    The norm takes away how large the tokens are; their weight stays with them.

    Args:
        dim: Token width of the stream.
        width: The common width.
    """

    def __init__(self, dim: int, width: int) -> None:
        super().__init__(nn.LayerNorm(dim), nn.Linear(dim, width))

    def forward(self, tokens: Tokens) -> Tokens:
        """Project the tokens of one stream; where the mask is False they become zeros."""
        real = tokens.mask.unsqueeze(2)
        x = torch.where(real, tokens.x, 0.0)
        for layer in self:
            x = layer(x)
        return replace(tokens, x=torch.where(real, x, 0.0))


class StreamEmbedding(nn.Module):
    """Bring a stream to the common width and say which stream and which step each token is.

    Args:
        dim: Token width of the stream.
        width: The common width.
        max_tokens: Longest stream that has time embeddings.
    """

    def __init__(self, dim: int, width: int, max_tokens: int) -> None:
        super().__init__()
        self.project = StreamProjection(dim, width)
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
        return replace(tokens, x=self.project(tokens).x + self.stream + self.time[:steps])


class EachStream(nn.ModuleDict):
    """A network for each stream, by the stream's name."""

    def forward(self, streams: Mapping[str, Tokens]) -> dict[str, Tokens]:
        """Pass each stream through its own network."""
        return {name: network(streams[name]) for name, network in self.items()}


def project_each(dims: Mapping[str, int], width: int) -> EachStream:
    """Build what brings streams of some widths to a common one."""
    return EachStream({name: StreamProjection(dim, width) for name, dim in dims.items()})


def embed_each(dims: Mapping[str, int], width: int, max_tokens: int) -> EachStream:
    """Build what brings streams to a common width and says which stream and which step each token is."""
    return EachStream({name: StreamEmbedding(dim, width, max_tokens) for name, dim in dims.items()})
