from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from mmer.config import WaveCNNConfig
from mmer.encoders.audio.wave import Part, WaveCNN

STRIDE = {"tiny": 640, "base": 320}
VARIANTS = pytest.mark.parametrize("variant", STRIDE)


def make(variant: str) -> WaveCNN:
    torch.manual_seed(0)
    return WaveCNN(WaveCNNConfig("wave_cnn", variant=variant)).eval()


def real(samples: int, clips: int = 1) -> tuple[Tensor, Tensor]:
    return torch.randn(clips, samples), torch.ones(clips, samples, dtype=torch.bool)


@VARIANTS
@pytest.mark.parametrize("samples", [1, 7, 639, 640, 641, 16_000])
def test_a_token_stands_for_every_stride_begun(variant: str, samples: int) -> None:
    encoder = make(variant)
    tokens = encoder(*real(samples))
    steps = -(-samples // STRIDE[variant])
    assert tokens.x.shape == (1, steps, encoder.dim)
    assert tokens.mask.all()
    assert tokens.x.isfinite().all()


@VARIANTS
def test_masked_samples_never_matter(variant: str) -> None:
    encoder, (x, mask) = make(variant), real(4000, clips=2)
    mask[1, 1500:] = False
    garbage = torch.where(mask, x, 1e6 * torch.randn_like(x))
    assert torch.equal(encoder(x, mask).x, encoder(garbage, mask).x)


@VARIANTS
@pytest.mark.parametrize("padding", [256, 1000])
def test_padding_never_matters(variant: str, padding: int) -> None:
    encoder, (x, mask) = make(variant), real(4000)
    tokens = encoder(x, mask)
    longer = encoder(F.pad(x, (0, padding)), F.pad(mask, (0, padding)))
    steps = tokens.x.shape[1]
    torch.testing.assert_close(longer.x[:, :steps], tokens.x, rtol=1e-4, atol=1e-5)
    assert longer.mask.sum() == steps
    assert not longer.x[:, steps:].any()


@VARIANTS
def test_the_clips_of_a_batch_do_not_meet(variant: str) -> None:
    encoder, (x, mask) = make(variant), real(4000, clips=3)
    torch.testing.assert_close(encoder(x, mask).x[1:2], encoder(x[1:2], mask[1:2]).x, rtol=1e-4, atol=1e-5)


def test_dropout_hides_whole_channels_in_training_alone() -> None:
    torch.manual_seed(0)
    encoder = WaveCNN(WaveCNNConfig("wave_cnn", variant="tiny", dropout=0.5))
    x, mask = real(16_000)
    share = (encoder(x, mask).x == 0).all(dim=1).float().mean()
    assert 0.25 < share < 0.75
    assert not (encoder.eval()(x, mask).x == 0).all(dim=1).any()


def test_the_first_filters_of_tiny_start_as_tones_in_rising_order_from_60_to_7000_hz() -> None:
    filters = make("tiny").blocks[0].conv.weight[:, 0].detach()
    torch.testing.assert_close(filters.norm(dim=1), torch.ones(len(filters)))
    peaks = torch.fft.rfft(filters, n=16_000).abs().argmax(dim=1)  # bins of 1 Hz
    assert (peaks.diff() >= 0).all()
    assert peaks[0] < 100
    assert peaks[-1].item() == pytest.approx(7000, abs=20)


@pytest.mark.parametrize("normalise", [True, False])
def test_only_a_normalised_voice_is_the_same_at_any_level(normalise: bool) -> None:
    torch.manual_seed(0)
    encoder = WaveCNN(WaveCNNConfig("wave_cnn", "tiny", normalise=normalise)).eval()
    audio, mask = 0.1 * torch.randn(2, 8000), torch.ones(2, 8000, dtype=torch.bool)
    mask[1, 5000:] = False
    whisper, shout = encoder(audio, mask).x, encoder(5 * audio, mask).x
    assert torch.allclose(whisper, shout, atol=1e-4) == normalise


@pytest.mark.parametrize(("frames", "samples"), [(16, 8542), (64, 34168)])
def test_evaluation_hears_the_middle_so_many_frames_long(frames: int, samples: int) -> None:
    whole, part = make("tiny"), WaveCNN(WaveCNNConfig("wave_cnn", "tiny", frames=frames)).eval()
    part.load_state_dict(whole.state_dict())
    (x, mask), length = real(48_000, clips=2), 40_000
    mask[1, length:] = False
    for clip, end in enumerate((48_000, length)):
        start = (end - samples) // 2
        middle = whole(x[clip : clip + 1, start : start + samples], mask[clip : clip + 1, start : start + samples])
        heard = part(x, mask)
        assert heard.mask.all()
        torch.testing.assert_close(heard.x[clip], middle.x[0], rtol=1e-4, atol=1e-5)


def test_training_hears_another_part_each_time_within_the_real_samples() -> None:
    part = Part(1000)
    x, mask = torch.arange(8000.0).expand(50, -1), torch.ones(50, 8000, dtype=torch.bool)
    mask[25:, 3000:] = False
    heard, keep = part.train()(x, mask)
    assert heard.shape == (50, 1000) and keep.all() and (heard.diff() == 1).all()
    assert len(set(heard[:, 0].tolist())) > 30
    assert heard[:25].max() > 3000 > heard[25:].max()
    assert part.eval()(x, mask)[0][[0, 25], 0].tolist() == [3500, 1000]


def test_a_voice_shorter_than_its_part_is_heard_whole() -> None:
    part, (x, mask) = Part(1000), real(2000, clips=3)
    mask[1, 400:], mask[2] = False, False
    heard, keep = part(x, mask)
    assert keep.sum(dim=1).tolist() == [1000, 400, 0]
    assert torch.equal(heard[1, :400], x[1, :400])
    assert part(x[:, :300], mask[:, :300])[0].shape == (3, 300)


def test_not_even_nan_under_the_mask_matters() -> None:
    encoder = make("tiny")
    audio, mask = torch.randn(1, 4000), torch.ones(1, 4000, dtype=torch.bool)
    mask[:, 2000:] = False
    assert torch.equal(encoder(audio, mask).x, encoder(audio.masked_fill(~mask, torch.nan), mask).x)
