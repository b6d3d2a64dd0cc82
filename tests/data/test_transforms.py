"""Augmentation changes a clip as a whole, within its limits, and never its shape."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torchvision.transforms import v2

from mmer.config import AugmentConfig
from mmer.data.transforms import AudioAugment, VideoAugment, draw_shift, draw_speed, play_faster

STILL = AugmentConfig(
    flip=0.0, rotate=0.0, zoom=(1.0, 1.0), shift=0.0, light=0.0, erase=0.0, gain=0.0, noise=None, speed=0.0, jitter=0.0
)
SMOOTH = v2.functional.gaussian_blur(torch.randint(0, 256, (1, 3, 64, 64), dtype=torch.uint8), [9, 9])


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


def noise(frames: int = 2) -> torch.Tensor:
    return torch.randint(0, 256, (frames, 3, 32, 32), dtype=torch.uint8)


@pytest.mark.parametrize(
    "change",
    [
        {"flip": 1.0},
        {"rotate": 10.0},
        {"zoom": (0.8, 1.4)},
        {"shift": 0.2},
        {"light": 0.3},
        {"rand_augment": 2},
        {"erase": 1.0},
        {"flip": 0.5, "rotate": 10.0, "zoom": (0.8, 1.4), "light": 0.3, "rand_augment": 2, "erase": 0.25},
    ],
    ids=lambda change: "+".join(change),
)
def test_all_frames_of_a_clip_change_alike(change: dict[str, float]) -> None:
    augment, frame, seen = VideoAugment(replace(STILL, **change)), noise(1), 0
    for _ in range(20):
        changed = augment(frame.repeat(6, 1, 1, 1))
        assert changed.shape == (6, 3, 32, 32) and changed.dtype == torch.uint8
        assert (changed == changed[0]).all()
        seen += bool((changed[0] != frame[0]).any())
    assert seen >= 15, "now and then RandAugment draws nothing but identities"


@pytest.mark.parametrize("change", [{"rotate": 10.0}, {"zoom": (0.8, 1.4)}, {"shift": 0.2}, {"light": 0.3}])
def test_clips_change_differently(change: dict[str, float]) -> None:
    augment, clip = VideoAugment(replace(STILL, **change)), noise()
    assert (augment(clip) != augment(clip)).any()


def test_nothing_changes_when_every_change_is_zero() -> None:
    clip, sound = noise(), torch.randn(1000)
    assert torch.equal(VideoAugment(STILL)(clip), clip)
    assert torch.equal(AudioAugment(STILL)(sound), sound)
    assert (draw_shift(STILL), draw_speed(STILL)) == (0, 1)


def test_a_clip_is_changed_and_not_the_one_it_was_made_of() -> None:
    clip, sound = noise(), torch.randn(100)
    before = clip.clone(), sound.clone()
    VideoAugment(AugmentConfig(flip=1.0, erase=1.0, rand_augment=2))(clip)
    AudioAugment(AugmentConfig())(sound)
    assert torch.equal(clip, before[0]) and torch.equal(sound, before[1])


def test_frames_may_lie_in_memory_as_pictures_do() -> None:
    clip = noise()
    interleaved = clip.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)
    augment = VideoAugment(AugmentConfig(rand_augment=2, erase=1.0))
    torch.manual_seed(1)
    changed = augment(clip)
    torch.manual_seed(1)
    assert torch.equal(augment(interleaved), changed)


def test_flip_mirrors_left_and_right() -> None:
    clip = noise()
    assert torch.equal(VideoAugment(replace(STILL, flip=1.0))(clip), clip.flip(-1))


def blob(row: int, column: int) -> torch.Tensor:
    """A bright square of 7 pixels around a place of a dark frame of 65."""
    clip = torch.zeros(1, 3, 65, 65, dtype=torch.uint8)
    clip[..., row - 3 : row + 4, column - 3 : column + 4] = 200
    return clip


def centre(clip: torch.Tensor) -> tuple[float, float]:
    """The row and column of the light, from the middle of the frame."""
    light, place = clip[0, 0].double(), torch.arange(65) - 32.0
    return (
        float((light.sum(dim=1) * place).sum() / light.sum()),
        float((light.sum(dim=0) * place).sum() / light.sum()),
    )


def test_rotation_is_about_the_middle_and_within_its_limit() -> None:
    augment = VideoAugment(replace(STILL, rotate=10.0))
    angles = []
    for _ in range(50):
        row, column = centre(augment(blob(32, 52)))
        assert np.hypot(row, column) == pytest.approx(20, abs=0.3)
        angles.append(np.degrees(np.arctan2(row, column)))
    assert -10.5 < min(angles) < -6 and 6 < max(angles) < 10.5


def test_zoom_reaches_both_of_its_ends() -> None:
    augment = VideoAugment(replace(STILL, zoom=(0.8, 1.4)))
    scales = [centre(augment(blob(32, 52)))[1] / 20 for _ in range(50)]
    assert 0.78 < min(scales) < 0.9 and 1.3 < max(scales) < 1.42


def test_shift_is_within_its_limit_in_both_directions() -> None:
    augment = VideoAugment(replace(STILL, shift=0.2))
    places = np.array([centre(augment(blob(32, 32))) for _ in range(50)]) / 65
    assert (abs(places) < 0.21).all() and (places.min(axis=0) < -0.12).all() and (places.max(axis=0) > 0.12).all()


def test_what_comes_in_from_outside_is_black() -> None:
    shrunk = VideoAugment(replace(STILL, zoom=(0.5, 0.5), light=0.3))(
        torch.full((1, 3, 64, 64), 200, dtype=torch.uint8)
    )
    assert not shrunk[..., :14, :].any() and shrunk[..., 20:44, 20:44].all()


def test_light_changes_brightness_contrast_and_saturation_as_torchvision_does(monkeypatch: pytest.MonkeyPatch) -> None:
    dim = (SMOOTH.float() * 0.5 + 60).to(torch.uint8)  # far from black and white, where only the order would matter
    drawn = iter([1.2, 0.8, 1.3])
    monkeypatch.setattr("mmer.data.transforms._between", lambda low, high: next(drawn, low))
    expected = v2.functional.adjust_contrast(v2.functional.adjust_brightness(dim, 1.2), 0.8)
    expected = v2.functional.adjust_saturation(expected, 1.3)
    changed = VideoAugment(replace(STILL, light=0.3))(dim)
    assert (changed.int() - expected.int()).abs().max() <= 3


def test_light_is_within_its_limit() -> None:
    augment, grey = VideoAugment(replace(STILL, light=0.3)), torch.full((1, 3, 16, 16), 100, dtype=torch.uint8)
    levels = [float(augment(grey).float().mean()) for _ in range(100)]
    assert 69 <= min(levels) < 80 and 120 < max(levels) <= 131


def test_erasing_blackens_one_rectangle() -> None:
    white = torch.full((3, 3, 32, 32), 255, dtype=torch.uint8)
    black = (VideoAugment(replace(STILL, erase=1.0))(white) == 0).all(dim=1)
    rows, columns = black[0].any(dim=1), black[0].any(dim=0)
    assert 0 < black[0].sum() == rows.sum() * columns.sum() < 32 * 32
    assert (black == black[0]).all()


def test_erasing_happens_as_often_as_it_is_asked_for() -> None:
    augment, white = VideoAugment(replace(STILL, erase=0.25)), torch.full((1, 3, 16, 16), 255, dtype=torch.uint8)
    assert 60 < sum(not augment(white).all() for _ in range(400)) < 140


def test_rand_augment_is_stronger_with_more_magnitude() -> None:
    def change(magnitude: int) -> float:
        augment = VideoAugment(replace(STILL, rand_augment=2, rand_magnitude=magnitude))
        return float(np.mean([(augment(SMOOTH).float() - SMOOTH).abs().mean() for _ in range(60)]))

    assert 0 < change(3) < 0.6 * change(25)


def test_gain_stays_within_its_limit() -> None:
    sound = torch.randn(4000)
    augment = AudioAugment(replace(STILL, gain=3.0))
    levels = torch.stack([20 * torch.log10(augment(sound).std() / sound.std()) for _ in range(100)])
    assert levels.abs().max() <= 3.01
    assert levels.max() > 1.5 and levels.min() < -1.5


def test_noise_is_between_its_two_ratios() -> None:
    sound = torch.sin(torch.arange(16_000) / 10)
    augment = AudioAugment(replace(STILL, noise=(15.0, 30.0)))
    ratios = torch.stack([20 * torch.log10(sound.std() / (augment(sound) - sound).std()) for _ in range(60)])
    assert 14.7 < ratios.min() < 18
    assert 27 < ratios.max() < 30.3


def test_silence_stays_silent() -> None:
    assert not AudioAugment(AugmentConfig())(torch.zeros(100)).any()


def test_speed_is_a_whole_number_of_hundredths_within_its_limit() -> None:
    speeds = [draw_speed(AugmentConfig(speed=0.1)) for _ in range(200)]
    assert (min(speeds), max(speeds)) == (0.9, 1.1)
    assert all(abs(100 * speed - round(100 * speed)) < 1e-9 for speed in speeds)


@pytest.mark.parametrize("speed", [0.9, 1.07])
def test_what_is_played_faster_is_shorter_and_higher(speed: float) -> None:
    rate, seconds = 16_000, 1.0
    sound = torch.sin(2 * np.pi * 440 * torch.arange(int(rate * seconds)) / rate)
    faster = play_faster(sound, speed)
    assert len(faster) == pytest.approx(len(sound) / speed, abs=1)
    peak = int(torch.fft.rfft(faster).abs().argmax()) * rate / len(faster)
    assert peak == pytest.approx(440 * speed, abs=2)


def test_window_moves_both_ways_within_its_limit() -> None:
    shifts = [draw_shift(AugmentConfig(jitter=0.1)) for _ in range(200)]
    assert -0.1 <= min(shifts) < -0.09 and 0.09 < max(shifts) <= 0.1
