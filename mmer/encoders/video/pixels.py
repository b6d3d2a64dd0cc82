"""Frames as a backbone wants them."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor, nn
from torch.nn import functional as F


class FrameInput(nn.Module):
    """Bring frames into the form that a backbone was trained on.

    Args:
        frames: Frames that the backbone takes; they are spread evenly over the clip's. None takes each as it comes.
        size: Side of its input, in pixels.
        mean: Mean of each colour, of pixels in [0, 1].
        std: Standard deviation of each colour.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, frames: int | None, size: int, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        super().__init__()
        self.frames = frames
        self.size = size
        self.register_buffer("mean", torch.tensor(mean).view(1, 1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, 1, 3, 1, 1), persistent=False)

    def forward(
        self, video: UInt8[Tensor, "b t 3 h w"], mask: Bool[Tensor, "b t"]
    ) -> tuple[Float[Tensor, "b 3 f s s"], Bool[Tensor, "b f"]]:
        """Pick, scale and normalise frames; masked frames become the mean picture."""
        if self.frames is not None and video.shape[1] != self.frames:
            steps = (torch.arange(self.frames, device=video.device) + 0.5) * (video.shape[1] / self.frames)
            video, mask = video[:, steps.long()], mask[:, steps.long()]
        x = video.to(self.mean.dtype) / 255
        if video.shape[-2:] != (self.size, self.size):
            scaled = F.interpolate(
                x.flatten(0, 1), (self.size, self.size), mode="bilinear", align_corners=False, antialias=True
            )
            x = scaled.view(*x.shape[:3], self.size, self.size)
        x = (x - self.mean) / self.std * mask[:, :, None, None, None]
        return x.transpose(1, 2), mask


def pool_mask(mask: Bool[Tensor, "b f"], steps: int) -> Bool[Tensor, "b t"]:
    """Return the mask of tokens that each cover several frames: real where any of theirs is."""
    return mask.view(mask.shape[0], steps, -1).any(dim=2)
