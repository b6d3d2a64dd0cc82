"""Random changes to training clips, each drawn once a clip from PyTorch's own generator."""

from __future__ import annotations

import cv2
import numpy as np
import torch
from jaxtyping import Float, UInt8
from numpy.typing import NDArray
from torch import Tensor
from torchaudio.functional import resample
from torchvision.transforms import v2

from mmer.config import AugmentConfig

_LUMA = np.array([0.299, 0.587, 0.114])  # of red, green and blue, as in torchvision's grey


class VideoAugment:
    """Flip, light, turn, scale, shift, RandAugment and erase a clip; all of its frames get the same draw.

    Light and place, which the default settings change, are each one pass of OpenCV's over the pixels: torchvision's
    affine and colour transforms take ten times as long, more than decoding the frames.

    Args:
        config: How far each change may go.
    """

    def __init__(self, config: AugmentConfig) -> None:
        self.config = config
        bilinear = v2.InterpolationMode.BILINEAR
        rest = [
            v2.RandAugment(config.rand_augment, config.rand_magnitude, interpolation=bilinear),
            v2.RandomErasing(config.erase),
        ]
        self.rest = v2.Compose(rest) if config.rand_augment or config.erase else None  # they cost time even when off

    def __call__(self, video: UInt8[Tensor, "t 3 h w"]) -> UInt8[Tensor, "t 3 h w"]:
        """Change a clip."""
        frames = np.ascontiguousarray(video.permute(0, 2, 3, 1).numpy())
        if torch.rand(()) < self.config.flip:
            frames = cv2.flip(_one_below_the_other(frames), 1).reshape(frames.shape)
        moved = torch.from_numpy(self._moved(self._lit(frames))).permute(0, 3, 1, 2)
        if self.rest is None:
            torch.rand(1)  # as an erasing would, so that turning it on or off leaves the other draws as they are
            return moved
        changed: Tensor = self.rest(moved)
        return changed

    def _lit(self, frames: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Change brightness, contrast around the clip's mean grey, and saturation of frames [t h w 3]."""
        light = self.config.light
        brightness, contrast, saturation = (_between(1 - light, 1 + light) for _ in range(3))
        if not light:
            return frames
        grey = float(frames[:, ::4, ::4].mean(axis=(0, 1, 2)) @ _LUMA)  # every 16th pixel tells it well enough
        matrix = brightness * contrast * (saturation * np.eye(3) + (1 - saturation) * _LUMA)
        offset = np.full((3, 1), brightness * (1 - contrast) * grey)
        lit = np.empty_like(frames)
        cv2.transform(_one_below_the_other(frames), np.hstack([matrix, offset]), dst=_one_below_the_other(lit))
        return lit

    def _moved(self, frames: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Turn, scale and shift frames [t h w 3]; what comes in from outside is black."""
        config, (height, width) = self.config, frames.shape[1:3]
        middle = ((width - 1) / 2, (height - 1) / 2)
        matrix = cv2.getRotationMatrix2D(middle, _between(-config.rotate, config.rotate), _between(*config.zoom))
        matrix[:, 2] += [_between(-config.shift, config.shift) * side for side in (width, height)]
        if np.array_equal(matrix, np.eye(2, 3)):
            return frames
        moved = np.empty_like(frames)
        for frame, target in zip(frames, moved, strict=True):
            cv2.warpAffine(frame, matrix, (width, height), dst=target)
        return moved


def _one_below_the_other(frames: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return frames [t h w 3] as one picture, [t*h w 3]."""
    return frames.reshape(-1, *frames.shape[2:])


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
