"""Random changes to training clips, each drawn once a clip from PyTorch's own generator."""

from __future__ import annotations

import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torchaudio.functional import resample
from torchvision.transforms import v2

from mmer.config import AugmentConfig
from mmer.data.edit import Edit
from mmer.data.rand_augment import rand_augment


class VideoAugment:
    """Flip, light, turn, scale, shift, RandAugment and erase a clip, all of its frames alike.

    Args:
        config: How far each change may go.
    """

    def __init__(self, config: AugmentConfig) -> None:
        self.config = config
        self.erase = v2.RandomErasing(config.erase)

    def __call__(self, video: UInt8[Tensor, "t 3 h w"]) -> UInt8[Tensor, "t 3 h w"]:
        """Change a clip."""
        config, (height, width) = self.config, video.shape[-2:]
        edit = Edit(video.permute(0, 2, 3, 1).numpy())
        if torch.rand(()) < config.flip:
            edit.mirror()
        light = 1 - config.light, 1 + config.light
        edit.light(_between(*light), _between(*light), _between(*light))
        edit.turn(_between(-config.rotate, config.rotate), _between(*config.zoom))
        x, y = (_between(-config.shift, config.shift) * side for side in (width, height))
        edit.move([[1.0, 0.0, x], [0.0, 1.0, y]])
        rand_augment(edit, config.rand_augment, config.rand_magnitude, width, height)
        changed: Tensor = self.erase(torch.from_numpy(edit.done()).permute(0, 3, 1, 2))
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
        audio = audio * 10 ** (_between(-self.config.gain, self.config.gain) / 20)
        if self.config.noise is None:
            return audio
        level = audio.square().mean().sqrt() * 10 ** (-_between(*self.config.noise) / 20)
        return audio + level * torch.randn_like(audio)


def draw_speed(config: AugmentConfig) -> float:
    """Draw how much faster a clip is played, a whole number of hundredths, so that sound is resampled in few steps."""
    return round(100 * _between(1 - config.speed, 1 + config.speed)) / 100 if config.speed else 1.0


def draw_shift(config: AugmentConfig) -> float:
    """Draw how far the window moves, as a share of its length."""
    return _between(-config.jitter, config.jitter)


def play_faster(audio: Float[Tensor, " s"], speed: float) -> Float[Tensor, " n"]:
    """Return a waveform of ``s / speed`` samples, higher and shorter (Ko et al. 2015, Audio augmentation).

    Args:
        audio: The waveform.
        speed: How much faster, a whole number of hundredths.
    """
    faster: Tensor = resample(audio, round(100 * speed), 100)
    return faster


def _between(low: float, high: float) -> float:
    return low + (high - low) * float(torch.rand(()))
