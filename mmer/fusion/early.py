"""Streams on one clock, read by one network over the steps."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mmer.batch import Tokens
from mmer.config import EarlyFusionConfig
from mmer.fusion.embedding import project_each
from mmer.temporal import Carried, build_temporal, mean_of_steps


class EarlyFusion(nn.Module):
    """Streams aligned in time, laid side by side and read by one network over the steps.

    Each stream comes with a flag that says at which steps it is there. A step at which none is there is no step.

    Args:
        dims: Token width of each stream by its name.
        config: Width, clock, network over the steps.
    """

    def __init__(self, dims: Mapping[str, int], config: EarlyFusionConfig) -> None:
        super().__init__()
        self.clock = config.steps
        self.streams = project_each(dims, config.dim)
        self.temporal = build_temporal(len(dims) * (config.dim + 1), config.temporal)
        self.dim = self.temporal.dim

    def forward(self, streams: Mapping[str, Tokens]) -> Float[Tensor, "b d"]:
        """Fuse the streams; tokens whose mask is False never matter, and a clip without any becomes zeros."""
        return mean_of_steps(self.steps(streams))

    def attend(self, streams: Mapping[str, Tokens]) -> tuple[Float[Tensor, "b d"], dict[str, Float[Tensor, "b t"]]]:
        """Fuse the streams; the network reads all steps and looks at none in particular, so there are no shares."""
        return self(streams), {}

    def steps(self, streams: Mapping[str, Tokens]) -> Tokens:
        """Return the steps of the clock."""
        extents = {name: tokens.count() for name, tokens in streams.items()}
        steps: Tokens = self.temporal(self._side_by_side(streams, extents, self.clock))
        return steps

    def advance(self, streams: Mapping[str, Tokens], steps: int, past: Carried | None = None) -> tuple[Tokens, Carried]:
        """Return the next steps of clips that are read piece by piece; only a causal network can.

        Args:
            streams: The tokens of a piece; those of a stream are spread evenly over it.
            steps: How many steps the piece lasts.
            past: What is kept of the pieces before.
        """
        extents = {name: torch.full_like(tokens.count(), tokens.x.shape[1]) for name, tokens in streams.items()}
        return self.temporal.advance(self._side_by_side(streams, extents, steps), past)

    def _side_by_side(self, streams: Mapping[str, Tokens], extents: Mapping[str, Tensor], steps: int) -> Tokens:
        aligned = [
            align(tokens.weighed(), extents[name], steps, causal=self.temporal.causal)
            for name, tokens in self.streams(streams).items()
        ]
        there = torch.stack([tokens.mask for tokens in aligned], dim=2)  # [b t n]
        x = torch.cat([*(tokens.x for tokens in aligned), there.to(aligned[0].x.dtype)], dim=2)
        return Tokens(x, there.any(dim=2))


def align(tokens: Tokens, extent: Float[Tensor, " b"], steps: int, *, causal: bool) -> Tokens:
    """Bring a stream to a clock whose steps divide the clip into equal parts.

    Tokens carry no times. A stream's first ``extent`` tokens are taken to divide the same clip into equal parts as
    well: frames are spread over a clip however short it is, and sound lies where the clip has it, so that steps behind
    a sound that ends before its clip are masked. Between the middles of parts it is interpolated linearly; where
    several tokens fall on a step, by a triangle as wide as the step, so that none is lost. A causal step takes the mean
    of the tokens that have ended in its part, or the last one before where none has. Weights are shared by the tokens
    that are real, and a step that has none of them near is masked. Where there is a token to each step, both are that
    token.

    Args:
        tokens: The stream; where its mask is False it is finite.
        extent: How many tokens last as long as the clip, not always a whole number.
        steps: Steps of the clock.
        causal: Whether a step may not depend on what comes after it.
    """
    step = torch.arange(steps, device=extent.device)
    place = torch.arange(tokens.x.shape[1], device=extent.device)
    if causal:
        end = (step + 1) * extent.unsqueeze(1) // steps  # [b t]
        end[:, -1] = extent.ceil()  # what the clip's end cuts short has ended with it
        begin = torch.minimum(step * extent.unsqueeze(1) // steps, end - 1)
        weight = ((place >= begin.unsqueeze(2)) & (place < end.unsqueeze(2))).float()
    else:
        middle = (step + 0.5) * extent.unsqueeze(1) / steps - 0.5
        reach = (extent / steps).clamp(min=1).view(-1, 1, 1)
        weight = (1 - (place - middle.unsqueeze(2)).abs() / reach).clamp(min=0)
    weight = weight * tokens.mask.unsqueeze(1)  # [b t n]
    total = weight.sum(dim=2)
    mask = total > 1e-4
    weight = torch.where(mask.unsqueeze(2), weight, 0.0) / total.clamp(min=1e-4).unsqueeze(2)
    return Tokens(weight.to(tokens.x.dtype) @ tokens.x, mask)
