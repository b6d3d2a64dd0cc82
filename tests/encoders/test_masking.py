"""What is hidden in training lies among what is real, differs from clip to clip, and is never everything."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from mmer.config import SpecAugmentConfig
from mmer.encoders.masking import SpecAugment, TokenDropout
from mmer.errors import ConfigError

CONFIG = SpecAugmentConfig(bands=1, band_width=8, spans=1, span_share=0.2)


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


def hidden(config: SpecAugmentConfig, steps: list[int], length: int = 100) -> torch.Tensor:
    """Where a batch of clips of so many steps was changed, [b 80 t]."""
    x = torch.rand(len(steps), 80, length) + 1
    mask = torch.arange(length) < torch.tensor(steps).unsqueeze(1)
    return SpecAugment(config)(x, mask) != x


def test_bands_span_the_clip_and_no_more_bins_than_allowed() -> None:
    changed = hidden(replace(CONFIG, spans=0), [100] * 200)
    bins = changed.any(dim=2)
    assert torch.equal(changed, bins.unsqueeze(2).expand(-1, -1, 100))
    assert (bins.sum(dim=1).min(), bins.sum(dim=1).max()) == (0, 8)
    assert (bins.int().diff(dim=1).abs().sum(dim=1) <= 2).all(), "one band is in one piece"
    assert bins[:, 0].any() and bins[:, -1].any(), "both ends can be hidden"
    assert (bins[0] != bins[1]).any() or (bins[0] != bins[2]).any()


def test_spans_lie_among_a_clips_own_steps() -> None:
    steps = [100, 40, 10] * 100
    changed = hidden(replace(CONFIG, bands=0), steps)
    times = changed.any(dim=1)
    assert torch.equal(changed, times.unsqueeze(1).expand(-1, 80, -1))
    for i, count in enumerate(steps[:3]):
        assert int(times[i::3].sum(dim=1).max()) == count // 5
        assert not times[i::3, count:].any()
    assert times[2::3, 9].any(), "the last real step can be hidden"


def test_what_is_hidden_becomes_the_mean_of_the_real_steps() -> None:
    x = torch.randn(1, 80, 50)
    mask = torch.arange(50).unsqueeze(0) < 30
    x[..., 30:] = torch.nan
    changed = SpecAugment(replace(CONFIG, bands=2, spans=2))(x, mask)
    where = (changed != x)[..., :30]
    assert where.any()
    torch.testing.assert_close(changed[..., :30][where], x[..., :30].mean().expand(int(where.sum())))
    assert changed[..., 30:].isnan().all()


def test_nothing_is_hidden_outside_training_or_where_nothing_is_asked_for() -> None:
    x, mask = torch.randn(2, 80, 30), torch.ones(2, 30, dtype=torch.bool)
    assert SpecAugment(CONFIG).eval()(x, mask) is x
    assert torch.equal(SpecAugment(replace(CONFIG, bands=0, spans=0))(x, mask), x)
    assert torch.equal(SpecAugment(replace(CONFIG, band_width=0, span_share=0))(x, mask), x)


def test_a_clip_without_sound_stays_finite() -> None:
    x = torch.zeros(1, 80, 30)
    assert torch.equal(SpecAugment(CONFIG)(x, torch.zeros(1, 30, dtype=torch.bool)), x)


def test_a_spectrogram_of_few_bins_may_be_hidden_whole_and_no_further() -> None:
    x, mask = torch.rand(50, 4, 30) + 1, torch.ones(50, 30, dtype=torch.bool)
    assert SpecAugment(replace(CONFIG, spans=0))(x, mask).shape == x.shape


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ({"bands": -1}, "spec_augment.bands=-1 must not be negative"),
        ({"band_width": -1}, "spec_augment.band_width=-1 must not be negative"),
        ({"spans": -1}, "spec_augment.spans=-1 must not be negative"),
        ({"span_share": 1.0}, r"spec_augment.span_share=1.0 must lie in \[0, 1\)"),
    ],
)
def test_impossible_masks_are_refused(setting: dict[str, float], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        replace(CONFIG, **setting)


FIRST, LAST = 101, 102


def text(words: int, length: int = 12) -> tuple[torch.Tensor, torch.Tensor]:
    ids = torch.tensor([FIRST, *range(1, words + 1), LAST] + [0] * (length - words - 2))
    return ids, torch.arange(length) < words + 2


def test_words_are_hidden_at_the_rate_and_special_tokens_and_padding_stay() -> None:
    ids, mask = (x.expand(500, -1) for x in text(8))
    kept = TokenDropout(0.3, (FIRST, LAST))(ids, mask)
    assert kept[:, 0].all() and kept[:, 9].all() and not kept[:, 10:].any()
    assert 1 - kept[:, 1:9].float().mean() == pytest.approx(0.3, abs=0.03)
    assert (kept[0] != kept[1]).any() or (kept[0] != kept[2]).any()


def test_a_text_never_loses_all_its_words() -> None:
    ids, mask = (torch.stack(x).repeat(100, 1) for x in zip(text(1), text(3), strict=True))
    kept = TokenDropout(0.95, (FIRST, LAST))(ids, mask)
    words = mask & (ids != FIRST) & (ids != LAST)
    assert (kept & words).any(dim=1).all()
    assert torch.equal(kept[::2], mask[::2]), "the only word stays"
    assert (kept[1::2].sum(dim=1) < 5).any()


def test_an_empty_text_stays_empty() -> None:
    ids, mask = text(0)
    assert torch.equal(TokenDropout(0.5, (FIRST, LAST))(ids[None], mask[None]), mask[None])
    assert not TokenDropout(0.5)(ids[None], torch.zeros(1, 12, dtype=torch.bool)).any()


def test_no_word_is_hidden_outside_training_or_at_rate_zero() -> None:
    ids, mask = (x[None] for x in text(8))
    assert TokenDropout(0.9).eval()(ids, mask) is mask
    assert torch.equal(TokenDropout(0.0)(ids, mask), mask)
