from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor

from mmer.batch import Batch
from mmer.errors import ConfigError
from mmer.evaluation.degrade import DEGRADATIONS, Degradation, choose_degradations

KIND = {each.kind: each for each in DEGRADATIONS}


@pytest.fixture
def batch() -> Batch:
    """Two windows of one clip and one of another, which ends early; frames of 32 pixels that count from 1."""
    torch.manual_seed(0)
    frames = torch.arange(1, 21, dtype=torch.uint8).view(1, 20, 1, 1, 1).repeat(3, 1, 3, 32, 32)
    heard = torch.arange(4000).expand(3, -1) < torch.tensor([[4000], [4000], [3000]])
    return Batch(
        key=("a", "a", "b"),
        video=frames.permute(0, 1, 3, 4, 2).contiguous().permute(0, 1, 4, 2, 3),
        video_mask=torch.ones(3, 20, dtype=torch.bool),
        audio=torch.randn(3, 4000) * torch.tensor([[0.1], [0.1], [0.5]]) * heard,
        audio_mask=heard,
        text=torch.arange(30).view(3, 10),
        text_mask=torch.arange(10).expand(3, -1) < torch.tensor([[10], [10], [6]]),
    )


def read(batch: Batch, harm: Degradation) -> Tensor:
    """Return what a harm changes: words are hidden, all else is overwritten."""
    x, mask = batch.read(harm.modality)
    return mask if harm.modality == "text" else x


@pytest.mark.parametrize("harm", DEGRADATIONS, ids=lambda each: each.kind)
def test_a_harm_depends_on_the_clip_and_the_window_alone(harm: Degradation, batch: Batch) -> None:
    """Neither on the clips beside it nor on its place; two windows of a clip are harmed differently."""
    level = harm.levels[1]
    whole = read(harm.harm(batch, level), harm)
    changes = {
        name: value[2:]
        for name in ("video", "video_mask", "audio", "audio_mask", "text", "text_mask")
        if (value := getattr(batch, name)) is not None
    }
    alone = read(harm.harm(replace(batch, key=("b",), **changes), level), harm)
    assert torch.equal(whole[2], alone[0])
    assert torch.equal(whole, read(harm.harm(batch, level), harm))
    first, second = (whole[i].int() - read(batch, harm)[i].int() for i in (0, 1))
    if harm.modality == "audio":
        first, second = whole[0] - batch.audio[0], whole[1] - batch.audio[1]
    assert torch.equal(first, second) == (harm.kind == "face_blur"), "only blur draws nothing"


@pytest.mark.parametrize("harm", DEGRADATIONS, ids=lambda each: each.kind)
def test_a_harm_changes_its_modality_alone_and_never_the_batch_it_is_given(harm: Degradation, batch: Batch) -> None:
    before = batch._map(torch.clone)
    worse = harm.harm(batch, harm.levels[-1])
    for name in ("video", "video_mask", "audio", "audio_mask", "text", "text_mask"):
        assert torch.equal(getattr(batch, name), getattr(before, name))
        if not name.startswith(harm.modality):
            assert getattr(worse, name) is getattr(batch, name)
    assert worse.key == batch.key
    assert not torch.equal(read(worse, harm), read(batch, harm)) or harm.kind == "face_blur"  # plain frames stay plain


@pytest.mark.parametrize("level", KIND["audio_noise"].levels)
def test_noise_has_the_ratio_that_was_asked_for_to_the_clip_s_own_power(batch: Batch, level: float) -> None:
    noisy = KIND["audio_noise"].harm(batch, level).audio
    for clean, worse, mask in zip(batch.audio, noisy, batch.audio_mask, strict=True):
        power = clean[mask].square().mean() / (worse - clean)[mask].square().mean()
        assert 10 * power.log10() == pytest.approx(level, abs=0.3)
        assert not worse[~mask].any()


def test_digital_silence_stays_silent(batch: Batch) -> None:
    silent = replace(batch, audio=torch.zeros_like(batch.audio))
    assert not KIND["audio_noise"].harm(silent, 0.0).audio.any()


def test_a_higher_level_is_more_of_the_same_noise(batch: Batch) -> None:
    little, much = (KIND["audio_noise"].harm(batch, level).audio - batch.audio for level in (20.0, 0.0))
    torch.testing.assert_close(10 * little, much, rtol=1e-3, atol=1e-6)


def test_a_share_of_the_frames_is_black_in_one_stretch(batch: Batch) -> None:
    for level, count in ((0.25, 5), (0.5, 10), (1.0, 20)):
        dark = (KIND["face_black"].harm(batch, level).video == 0).all(dim=(2, 3, 4))
        assert dark.sum(dim=1).tolist() == [count] * 3
        assert (dark.int().diff(dim=1) == 1).sum(dim=1).max() <= 1, "one stretch"
    assert KIND["face_black"].harm(batch, 1.0).video_mask.all(), "the face is there, and cannot be seen"


def test_blur_is_a_gaussian_whose_sigma_is_a_share_of_the_side(batch: Batch) -> None:
    points = torch.zeros_like(batch.video)
    points[:, :, :, 16, 16] = 255
    blurred = KIND["face_blur"].harm(replace(batch, video=points), 0.0625).video
    column = blurred[0, 0, 0, :, 16].double() / blurred[0, 0, 0, :, 16].sum()
    spread = ((torch.arange(32) - 16) ** 2 * column).sum().sqrt()
    assert spread == pytest.approx(2, abs=0.25)  # 32 pixels times 0.0625, less what is rounded to 0
    expected = cv2.GaussianBlur(points[0, 0].permute(1, 2, 0).numpy(), (0, 0), 2)
    np.testing.assert_array_equal(blurred[2, 7].permute(1, 2, 0).numpy(), expected)


def test_a_square_covers_a_share_of_the_picture_at_one_place(batch: Batch) -> None:
    for level in KIND["face_occluded"].levels:
        black = (KIND["face_occluded"].harm(batch, level).video == 0).all(dim=2)  # [b t h w]
        assert (black == black[:, :1]).all(), "the same place in all frames"
        for clip in black[:, 0]:
            rows, columns = clip.any(dim=1).sum(), clip.any(dim=0).sum()
            assert rows == columns == round(level**0.5 * 32)
            assert clip.sum() == rows * columns


def test_a_lost_frame_is_the_last_one_that_came(batch: Batch) -> None:
    for level in KIND["frames_dropped"].levels:
        for clip in KIND["frames_dropped"].harm(batch, level).video[:, :, 0, 0, 0].int().tolist():
            kept = sorted(set(clip))
            assert len(kept) == 20 - int(level * 20)
            assert clip == [max([k for k in kept if k <= i], default=kept[0]) for i in range(1, 21)]


def test_a_share_of_the_words_is_lost_and_never_the_last_one(batch: Batch) -> None:
    few = replace(batch, text_mask=batch.text_mask & (torch.arange(10) < torch.tensor([[10], [4], [1]])))
    for level, left in ((0.1, [9, 4, 1]), (0.25, [8, 3, 1]), (0.75, [3, 1, 1])):
        worse = KIND["words_missing"].harm(few, level)
        assert worse.text_mask.sum(dim=1).tolist() == left
        assert not (worse.text_mask & ~few.text_mask).any()
        assert worse.text is few.text


def test_all_stands_for_what_the_model_reads() -> None:
    assert [each.kind for each in choose_degradations(["all"], ("audio",))] == ["audio_noise"]
    assert [each.kind for each in choose_degradations(["face_blur", "audio_noise"], ("video", "audio"))] == [
        "audio_noise",
        "face_blur",
    ]
    assert choose_degradations([], ("video",)) == []


def test_an_unknown_harm_is_refused_with_those_that_are_known() -> None:
    with pytest.raises(ConfigError, match="degradation 'rain' is unknown; choose all or some of audio_noise, face_bl"):
        choose_degradations(["rain"], ("audio",))


def test_a_harm_to_what_the_model_does_not_read_is_refused() -> None:
    with pytest.raises(
        ConfigError, match="face_blur is one of video and the model reads audio; choose all or some of audio_noise"
    ):
        choose_degradations(["face_blur"], ("audio",))
