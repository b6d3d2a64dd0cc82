"""Random changes to training clips, each drawn once a clip."""

from __future__ import annotations

import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torchvision.transforms import v2

from mmer.config import AugmentConfig


class VideoAugment:
    """Flip, turn, scale, shift and light a clip, all of its frames alike.

    Args:
        config: How far each change may go.
    """

    def __init__(self, config: AugmentConfig) -> None:
        light, shift, zoom = config.light, config.shift, config.zoom
        self.transform = v2.Compose(
            [
                v2.RandomHorizontalFlip(config.flip),
                v2.RandomAffine(
                    degrees=config.rotate,
                    translate=(shift, shift),
                    scale=(1 - zoom, 1 + zoom),
                    interpolation=v2.InterpolationMode.BILINEAR,
                ),
                v2.ColorJitter(brightness=light, contrast=light, saturation=light),
            ]
        )

    def __call__(self, video: UInt8[Tensor, "t 3 h w"]) -> UInt8[Tensor, "t 3 h w"]:
        """Change a clip."""
        changed: Tensor = self.transform(video)
        return changed


class AudioAugment:
    """Change a voice's level and add white noise.

    Args:
        config: How far each change may go.
    """

    def __init__(self, config: AugmentConfig) -> None:
        self.config = config

    def __call__(self, audio: Float[Tensor, " s"]) -> Float[Tensor, " s"]:
        """Change a waveform."""
        gain, ratio = (2 * torch.rand(()) - 1) * self.config.gain, self.config.noise + 20 * torch.rand(())
        louder = audio * 10 ** (gain / 20)
        level = louder.square().mean().sqrt() * 10 ** (-ratio / 20)
        return louder + level * torch.randn_like(louder)
