"""Face frames to tokens: tubelets."""

from __future__ import annotations

import torch
from jaxtyping import Bool, UInt8
from torch import Tensor, nn

from mmer.batch import Tokens
from mmer.config import VideoPatchesConfig
from mmer.encoders.video.pixels import FrameInput, pool_mask


class VideoPatches(nn.Module):
    """One token for each tubelet of a clip, told apart by learned embeddings of its time and of its place.

    Args:
        config: Width, size of a clip and of a tubelet.
    """

    def __init__(self, config: VideoPatchesConfig) -> None:
        super().__init__()
        self.dim = config.width
        self.input = FrameInput(config.frames, config.size, mean=(0.45,) * 3, std=(0.225,) * 3)
        tubelet = (config.tubelet, config.patch, config.patch)
        self.project = nn.Conv3d(3, config.width, tubelet, stride=tubelet)
        steps, places = config.frames // config.tubelet, (config.size // config.patch) ** 2
        self.time = nn.Parameter(torch.empty(steps, 1, config.width))
        self.place = nn.Parameter(torch.empty(places, config.width))
        for embedding in (self.time, self.place):
            nn.init.trunc_normal_(embedding, std=0.02)

    def forward(self, x: UInt8[Tensor, "b t 3 h w"], mask: Bool[Tensor, "b t"]) -> Tokens:
        """Encode clips; the tokens of a step follow one another."""
        pixels, mask = self.input(x, mask)
        patches = self.project(pixels).flatten(3).permute(0, 2, 3, 1) + self.time + self.place  # [b t hw d]
        real = pool_mask(mask, patches.shape[1]).repeat_interleave(patches.shape[2], dim=1)
        return Tokens(patches.flatten(1, 2), real)
