"""Mixup and cutmix give every modality of a pair the same share, and leave unlike clips alone."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from mmer.batch import Batch, Tokens
from mmer.config import AugmentConfig
from mmer.data.mixing import Mixer

MIXUP, CUTMIX = AugmentConfig(mixup=0.8), AugmentConfig(cutmix=1.0)


def make_batch(clips: int = 6) -> Batch:
    """Clips whose every value is ten times their number, so that a mixture tells what is in it."""
    value = torch.arange(clips) * 10
    return Batch(
        key=tuple("abcdefgh"[:clips]),
        video=value.to(torch.uint8).view(-1, 1, 1, 1, 1).expand(-1, 4, 3, 20, 20).clone(),
        video_mask=torch.ones(clips, 4, dtype=torch.bool),
        audio=value.float().view(-1, 1).expand(-1, 50).clone(),
        audio_mask=torch.ones(clips, 50, dtype=torch.bool),
        features={"units": Tokens(value.float().view(-1, 1, 1).expand(-1, 5, 2).clone(), torch.ones(clips, 5).bool())},
        label=torch.arange(clips),
    )


def mixed(config: AugmentConfig, batch: Batch, seed: int = 0) -> tuple[Batch, torch.Tensor]:
    """A mixture, and what each clip's value should be by its share."""
    after = Mixer(config, seed)(batch, epoch=0, number=0)
    assert after.mix is not None and batch.label is not None
    expected = 10 * (after.mix.share * batch.label + (1 - after.mix.share) * after.mix.label)
    return after, expected


def test_mixup_blends_all_modalities_with_the_share_of_the_labels() -> None:
    batch = make_batch()
    after, expected = mixed(MIXUP, batch)
    assert after.mix is not None and after.mix.share.unique().numel() == 1
    assert sorted(after.mix.label.tolist()) == list(range(6)), "everyone is somebody's partner once"
    assert (after.mix.label != batch.label).any()
    torch.testing.assert_close(after.audio, expected.view(-1, 1).expand(-1, 50))
    torch.testing.assert_close(after.features["units"].x, expected.view(-1, 1, 1).expand(-1, 5, 2))
    assert after.video is not None and after.video.dtype == torch.uint8
    assert (after.video - expected.view(-1, 1, 1, 1, 1)).abs().max() <= 0.5


def test_cutmix_puts_one_rectangle_into_all_frames_and_blends_the_voices_with_its_share() -> None:
    for seed in range(20):
        batch = make_batch()
        after, expected = mixed(CUTMIX, batch, seed)
        assert after.video is not None and batch.video is not None and after.mix is not None
        foreign = (after.video != batch.video).any(dim=2)
        other = after.mix.label != batch.label
        assert (foreign == foreign[:, :1]).all(), "the same in all frames"
        torch.testing.assert_close(foreign[other].float().mean(dim=(1, 2, 3)), 1 - after.mix.share[other])
        theirs = 10 * after.mix.label.view(-1, 1, 1, 1, 1)
        assert ((after.video == batch.video) | (after.video == theirs)).all()
        rectangle = foreign[other][0, 0]
        assert rectangle.sum() == rectangle.any(dim=0).sum() * rectangle.any(dim=1).sum()
        torch.testing.assert_close(after.audio, expected.view(-1, 1).expand(-1, 50))


def test_cutmix_of_voices_alone_is_a_blend() -> None:
    batch = replace(make_batch(), video=None, video_mask=None)
    after, expected = mixed(CUTMIX, batch)
    torch.testing.assert_close(after.audio, expected.view(-1, 1).expand(-1, 50))


@pytest.mark.parametrize("config", [MIXUP, CUTMIX], ids=["mixup", "cutmix"])
def test_clips_of_unlike_modalities_are_never_mixed(config: AugmentConfig) -> None:
    unlike, like = 0, 0
    for seed in range(20):
        batch = make_batch().without("audio")
        batch = replace(make_batch(), audio=batch.audio, audio_mask=batch.audio_mask)
        whole = make_batch()
        assert batch.audio is not None and batch.audio_mask is not None
        batch.audio[::2], batch.audio_mask[::2] = whole.audio[::2], True  # the odd clips are mute
        after, _ = mixed(config, batch, seed)
        assert after.mix is not None and batch.label is not None and after.audio_mask is not None
        pair = after.mix.label % 2 == batch.label % 2
        assert (after.mix.share[~pair] == 1).all()
        assert torch.equal(after.video[~pair], batch.video[~pair])
        assert torch.equal(after.audio[~pair], batch.audio[~pair])
        assert torch.equal(after.audio_mask, batch.audio_mask)
        unlike, like = unlike + int((~pair).sum()), like + int((after.mix.share < 1).sum())
    assert unlike > 20 and like > 20


def test_a_mixture_is_real_where_one_of_its_clips_is() -> None:
    batch = make_batch(2)
    assert batch.audio_mask is not None and batch.audio is not None
    batch.audio_mask[0, 30:], batch.audio[0, 30:] = False, 0
    for seed in range(8):
        after, _ = mixed(MIXUP, batch, seed)
        assert after.mix is not None and after.audio_mask is not None and after.audio is not None
        if after.mix.label.tolist() == [1, 0]:
            assert after.audio_mask.all()
            torch.testing.assert_close(after.audio[0, 30:], (1 - after.mix.share[0]) * torch.full((20,), 10.0))
            return
    pytest.fail("no batch of 8 was mixed")


def test_a_mixture_lasts_as_long_as_the_longer_of_its_clips() -> None:
    spans = torch.tensor([0.5, 1.0, 0.25, 0.75])
    batch = replace(make_batch(4), span=spans)
    found = [mixed(MIXUP, batch, seed)[0] for seed in range(8)]
    assert any(after.mix is not None and (after.mix.label != batch.label).any() for after in found)
    for after in found:
        assert after.mix is not None and after.span is not None
        torch.testing.assert_close(after.span, spans.maximum(spans[after.mix.label]))


def test_steps_that_one_clip_lacks_are_those_of_the_other() -> None:
    """A zero is silence in a waveform, and anything at all in a table."""
    batch = make_batch(2)
    units = batch.features["units"]
    units.mask[0, 3:], units.x[0, 3:] = False, 0
    for seed in range(8):
        after, expected = mixed(MIXUP, batch, seed)
        assert after.mix is not None
        if after.mix.label.tolist() == [1, 0]:
            assert after.features["units"].mask.all()
            torch.testing.assert_close(after.features["units"].x[:, :3, 0], expected.view(2, 1).expand(2, 3))
            torch.testing.assert_close(after.features["units"].x[:, 3:], torch.full((2, 2, 2), 10.0))
            return
    pytest.fail("no batch of 8 was mixed")


def test_the_batch_that_is_mixed_stays_as_it_was() -> None:
    batch, same = make_batch(), make_batch()
    mixed(CUTMIX, batch)
    mixed(MIXUP, batch)
    assert torch.equal(batch.video, same.video) and torch.equal(batch.audio, same.audio)


def test_both_of_two_kinds_are_drawn() -> None:
    mixer, cut, blended = Mixer(AugmentConfig(mixup=0.8, cutmix=1.0)), 0, 0
    for number in range(20):
        batch = make_batch()
        after = mixer(batch, epoch=0, number=number)
        pieces = any(len(clip.unique()) == 2 for clip in after.video)
        cut, blended = cut + pieces, blended + (not pieces)
    assert cut >= 4 and blended >= 4


def shares(rank: int = 0, epochs: tuple[int, ...] = (0,), seed: int = 0) -> list[float]:
    mixer = Mixer(MIXUP, seed, rank)
    mixes = [mixer(make_batch(), epoch, number).mix for epoch in epochs for number in range(3)]
    return [float(mix.share[0]) for mix in mixes if mix is not None]


def test_shares_repeat_with_the_seed_and_differ_by_batch_epoch_and_process() -> None:
    first = shares(epochs=(0, 1))
    assert len(set(first)) == 6
    assert shares(epochs=(0, 1)) == first
    assert shares(epochs=(1,)) == first[3:], "a run that goes on with epoch 1 mixes as one that began with epoch 0"
    assert set(shares(rank=1)).isdisjoint(first) and set(shares(seed=1)).isdisjoint(first)


def test_share_has_the_distribution_that_alpha_says() -> None:
    mixer, batch = Mixer(AugmentConfig(mixup=0.8)), replace(make_batch(2), video=None, video_mask=None)
    drawn = torch.stack([mixer(batch, 0, number).mix.share[0] for number in range(400)])
    expected = torch.distributions.Beta(0.8, 0.8)
    assert drawn.mean() == pytest.approx(0.5, abs=0.05)
    assert drawn.var() == pytest.approx(float(expected.variance), abs=0.02)
