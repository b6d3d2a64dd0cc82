"""Precomputed descriptors to tokens."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from mmer.batch import Tokens
from mmer.config import FeaturesConfig
from mmer.temporal import build_optional_temporal


class Features(nn.Module):
    """Standardised descriptors, and the network over their steps that the config names.

    What they are standardised with, and how many steps are read, belongs to the weights: :meth:`fit` sets it once,
    before the training begins.

    Args:
        config: The stream, its width, the network.
    """

    mean: Tensor
    scale: Tensor
    steps: Tensor

    def __init__(self, config: FeaturesConfig) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(config.width))
        self.register_buffer("scale", torch.ones(config.width))
        self.register_buffer("steps", torch.tensor(torch.inf))
        self.longest: int | None = None
        self.register_load_state_dict_post_hook(_read_steps)  # type: ignore[no-untyped-call]
        self.percentile = config.percentile
        self.dropout = nn.Dropout(config.dropout)
        self.temporal = build_optional_temporal(config.width, config.temporal)
        self.dim = self.temporal.dim

    def fit(self, mean: Float[Tensor, " f"], deviation: Float[Tensor, " f"], steps: int) -> None:
        """Take up what the training clips say.

        Args:
            mean: Mean of each column.
            deviation: Its standard deviation. A column that never varies has taught nothing, and is read as zero.
            steps: How many steps are read; those behind are cut.
        """
        constant = deviation <= 1e-6 * mean.abs()  # what rounding leaves of none
        self.mean.copy_(mean)
        self.scale.copy_(torch.where(constant, 0.0, 1 / deviation))
        self.steps.fill_(steps)
        _read_steps(self)

    def forward(self, x: Float[Tensor, "b t f"], mask: Bool[Tensor, "b t"]) -> Tokens:
        """Encode streams; steps where the mask is False never matter."""
        extent = Tokens(x, mask).count()  # what is cut had a place in the clip, and the rest keeps its own
        x, mask = x[:, : self.longest], mask[:, : self.longest]
        x = torch.where(mask.unsqueeze(2), (x - self.mean) * self.scale, 0.0)
        tokens: Tokens = self.temporal(Tokens(self.dropout(x), mask, extent=extent))
        return tokens


def _read_steps(encoder: Features, *_: object) -> None:
    """Remember how many steps are read as a number, for shapes, which the weights of a checkpoint bring."""
    encoder.longest = int(encoder.steps) if encoder.steps.isfinite() else None
