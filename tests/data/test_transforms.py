"""Augmentation changes a clip as a whole, within its limits, and never its shape."""

from __future__ import annotations

import pytest
import torch

from mmer.config import AugmentConfig
from mmer.data.transforms import AudioAugment, VideoAugment

STILL = AugmentConfig(flip=0, rotate=0, zoom=0, shift=0, light=0, gain=0, noise=200)


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


def test_all_frames_of_a_clip_change_alike() -> None:
    frame = torch.randint(0, 256, (1, 3, 32, 32), dtype=torch.uint8)
    changed = VideoAugment(AugmentConfig())(frame.repeat(6, 1, 1, 1))
    assert changed.shape == (6, 3, 32, 32) and changed.dtype == torch.uint8
    assert (changed == changed[0]).all()
    assert (changed[0] != frame[0]).any()


def test_clips_change_differently() -> None:
    clip = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8)
    augment = VideoAugment(AugmentConfig())
    assert (augment(clip) != augment(clip)).any()


def test_nothing_changes_when_every_change_is_zero() -> None:
    clip = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8)
    torch.testing.assert_close(VideoAugment(STILL)(clip), clip)
    sound = torch.randn(1000)
    torch.testing.assert_close(AudioAugment(STILL)(sound), sound)


def test_flip_mirrors_left_and_right() -> None:
    clip = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8)
    flipped = VideoAugment(AugmentConfig(flip=1, rotate=0, zoom=0, shift=0, light=0))(clip)
    torch.testing.assert_close(flipped, clip.flip(-1))


def test_gain_stays_within_its_limit() -> None:
    sound = torch.randn(4000)
    augment = AudioAugment(AugmentConfig(gain=3, noise=200))
    levels = torch.stack([20 * torch.log10(augment(sound).std() / sound.std()) for _ in range(100)])
    assert levels.abs().max() <= 3.01
    assert levels.max() > 1.5 and levels.min() < -1.5


def test_noise_is_within_twenty_dB_above_the_lowest_ratio() -> None:
    sound = torch.sin(torch.arange(16_000) / 10)
    augment = AudioAugment(AugmentConfig(gain=0, noise=10))
    ratios = torch.stack([20 * torch.log10(sound.std() / (augment(sound) - sound).std()) for _ in range(60)])
    assert 9.5 < ratios.min() < 15
    assert 25 < ratios.max() < 30.5


def test_silence_stays_silent() -> None:
    assert not AudioAugment(AugmentConfig())(torch.zeros(100)).any()
