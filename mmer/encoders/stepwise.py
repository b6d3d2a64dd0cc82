"""Sound encoded one step at a time, for models that must not look ahead."""

from __future__ import annotations

from typing import Any, cast

from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F

from mmer.batch import Tokens
from mmer.temporal import mean_of_steps


class Stepwise(nn.Module):
    """An encoder of sound that hears each step alone, and says one token of it: the mean of its tokens.

    So neither its filters nor its norms reach over the end of a step, and a clip that is heard piece by piece gives the
    tokens that it would give in one.

    Args:
        encoder: The encoder.
        samples: Length of a step.
    """

    def __init__(self, encoder: nn.Module, samples: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.samples = samples
        self.dim = cast(int, encoder.dim)

    @property
    def layers(self) -> list[nn.Module]:
        """The encoder's blocks from input to output, where it names them."""
        return list(cast(Any, getattr(self.encoder, "layers", ())))

    def forward(self, x: Float[Tensor, "b s"], mask: Bool[Tensor, "b s"]) -> Tokens:
        """Encode waveforms; a step is real where any of its samples is."""
        missing = -x.shape[1] % self.samples
        steps, keep = (F.pad(each, (0, missing)).view(len(x), -1, self.samples) for each in (x, mask))
        tokens: Tokens = self.encoder(steps.flatten(0, 1), keep.flatten(0, 1))
        real = tokens.mask.any(dim=1).view(keep.shape[:2])
        return Tokens(mean_of_steps(tokens).view(*real.shape, -1), real)
