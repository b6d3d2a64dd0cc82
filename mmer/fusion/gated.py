"""Streams weighed against each other by gates that all of them open."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from mmer.batch import Tokens
from mmer.config import GatedFusionConfig
from mmer.fusion.embedding import project_each
from mmer.fusion.mean import present
from mmer.temporal import mean_of_steps


class GatedFusion(nn.Module):
    """Gated multimodal unit (Arevalo et al. 2017, arXiv:1702.01992, equation 1) over any number of streams.

    The unit of two streams has the gates z and 1 - z; these are their softmax over the streams that a clip has.

    Args:
        dims: Token width of each stream by its name.
        config: Width.
    """

    def __init__(self, dims: Mapping[str, int], config: GatedFusionConfig) -> None:
        super().__init__()
        self.dim = config.dim
        self.streams = project_each(dims, config.dim)
        self.gate = nn.Linear(len(dims) * config.dim, len(dims) * config.dim)

    def forward(self, streams: Mapping[str, Tokens]) -> Float[Tensor, "b d"]:
        """Fuse the streams; tokens whose mask is False never matter, and a clip without any becomes zeros."""
        return self._fuse(streams)[0]

    def attend(self, streams: Mapping[str, Tokens]) -> tuple[Float[Tensor, "b d"], dict[str, Float[Tensor, "b t"]]]:
        """Fuse the streams; the share of each is how far its gates stand open, the same for all of its real tokens."""
        fused, gates = self._fuse(streams)
        shares = gates.mean(dim=2)
        masks = [streams[name].mask for name in self.streams]
        return fused, {
            name: mask * (shares[:, i] / mask.sum(dim=1).clamp(min=1)).unsqueeze(1)
            for i, (name, mask) in enumerate(zip(self.streams, masks, strict=True))
        }

    def _fuse(self, streams: Mapping[str, Tokens]) -> tuple[Float[Tensor, "b d"], Float[Tensor, "b n d"]]:
        """Return the fused vector and the gates."""
        projected = self.streams(streams)
        vectors = torch.stack([mean_of_steps(tokens.weighed()) for tokens in projected.values()], dim=1)  # [b n d]
        gates = _masked_softmax(self.gate(vectors.flatten(1)).view_as(vectors), present(projected))
        return (gates * vectors.tanh()).sum(dim=1), gates


def _masked_softmax(x: Float[Tensor, "b n d"], mask: Bool[Tensor, "b n"]) -> Float[Tensor, "b n d"]:
    """Return the softmax over the streams that are there; zeros where none is."""
    real = mask.unsqueeze(2)
    return x.masked_fill(~real, torch.finfo(x.dtype).min).softmax(dim=1) * real
