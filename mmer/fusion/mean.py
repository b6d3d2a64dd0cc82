"""The mean over the streams that a clip has."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from mmer.batch import Tokens
from mmer.config import MeanFusionConfig
from mmer.fusion.embedding import project_each
from mmer.temporal import mean_of_steps


class MeanFusion(nn.Module):
    """Mean over the steps of each stream, then over the streams that are there: what a single stream needs.

    Args:
        dims: Token width of each stream by its name.
        config: Width.
    """

    def __init__(self, dims: Mapping[str, int], config: MeanFusionConfig) -> None:
        super().__init__()
        self.dim = config.dim
        self.streams = project_each(dims, config.dim)

    def forward(self, streams: Mapping[str, Tokens]) -> Float[Tensor, "b d"]:
        """Fuse the streams; tokens whose mask is False never matter, and a clip without any becomes zeros."""
        return mean_of_streams(self.streams(streams))

    def attend(self, streams: Mapping[str, Tokens]) -> tuple[Float[Tensor, "b d"], dict[str, Float[Tensor, "b t"]]]:
        """Fuse the streams; every token counts the same, so that there are no shares to tell."""
        return self(streams), {}

    def steps(self, streams: Mapping[str, Tokens]) -> Tokens:
        """Return the steps of the only stream, before their mean."""
        projected: dict[str, Tokens] = self.streams(streams)
        (tokens,) = projected.values()
        return tokens.weighed()


def mean_of_streams(streams: Mapping[str, Tokens]) -> Float[Tensor, "b d"]:
    """Return the mean of the streams' own means, over those that a clip has; zero where it has none."""
    vectors = torch.stack([mean_of_steps(tokens.weighed()) for tokens in streams.values()], dim=1)  # [b n d]
    count = present(streams).sum(dim=1, keepdim=True).clamp(min=1)
    return vectors.sum(dim=1) / count


def present(streams: Mapping[str, Tokens]) -> Bool[Tensor, "b n"]:
    """Tell which streams each clip has."""
    return torch.stack([tokens.mask.any(dim=1) for tokens in streams.values()], dim=1)
