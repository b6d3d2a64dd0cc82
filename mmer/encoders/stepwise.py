"""Sound encoded one step at a time, for models that must not look ahead."""

from __future__ import annotations

from collections.abc import Callable

from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F

from mmer.batch import Tokens
from mmer.temporal import mean_of_steps


def encode_steps(
    encoder: Callable[[Tensor, Tensor], Tokens], x: Float[Tensor, "b s"], mask: Bool[Tensor, "b s"], samples: int
) -> Tokens:
    """Let an encoder of sound hear each step alone, and say one token of it: the mean of its tokens.

    So neither its filters nor its norms reach over the end of a step, and a clip that is heard piece by piece gives the
    tokens that it would give in one.

    Args:
        encoder: The encoder.
        x: Waveforms.
        mask: Which samples are real; a step is where any of its samples is.
        samples: Length of a step.
    """
    missing = -x.shape[1] % samples
    steps, keep = (F.pad(each, (0, missing)).view(x.shape[0], -1, samples) for each in (x, mask))
    tokens = encoder(steps.flatten(0, 1), keep.flatten(0, 1))
    real = tokens.mask.any(dim=1).view(keep.shape[:2])
    return Tokens(mean_of_steps(tokens).view(*real.shape, -1), real)
