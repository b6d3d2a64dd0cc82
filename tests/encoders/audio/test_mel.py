from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchaudio.transforms import MelSpectrogram

from mmer.batch import Tokens
from mmer.config import LSTMConfig, MelCNNConfig, MelConfig, MelPatchesConfig
from mmer.encoders.audio.mel import LogMel, MelCNN, MelPatches, _windows
from tests.encoders.conftest import Exported

RATE = 16_000
CNN = MelCNNConfig("mel_cnn", channels=(8, 16), dim=24, dropout=0.0, mel=MelConfig(spec_augment=None))
WINDOWS = replace(CNN, window=0.2, temporal=LSTMConfig("lstm", width=8, dropout=0.0))
PATCHES = MelPatchesConfig("mel_patches", dim=24, mel=MelConfig(spec_augment=None))
COLUMNS = replace(PATCHES, bins=64, steps=4)
SYSTEMS = {"cnn": CNN, "windows": WINDOWS, "patches": PATCHES, "columns": COLUMNS}
EVERY = pytest.mark.parametrize("system", SYSTEMS)


def make(system: str, training: bool = False) -> nn.Module:
    torch.manual_seed(0)
    config = SYSTEMS[system]
    encoder = MelCNN(config) if isinstance(config, MelCNNConfig) else MelPatches(config)
    return encoder.train(training)


def voices(*samples: int, length: int = RATE) -> tuple[Tensor, Tensor]:
    """Noise that swells, so that no part is like another."""
    torch.manual_seed(1)
    x = 0.1 * torch.randn(len(samples), length) * torch.linspace(0.1, 1, length)
    return x, torch.arange(length) < torch.tensor(samples).unsqueeze(1)


def same(a: Tokens, b: Tokens) -> None:
    """Check that the real tokens of clips agree."""
    assert a.mask.sum(dim=1).tolist() == b.mask.sum(dim=1).tolist()
    torch.testing.assert_close(a.x[a.mask], b.x[b.mask], rtol=1e-4, atol=1e-5)


# --- the spectrogram


def test_the_spectrogram_is_torchaudios_logarithm_where_nothing_is_normalised_or_hidden() -> None:
    x, mask = voices(RATE)
    mel, keep = LogMel(MelConfig(normalise="none", spec_augment=None))(x, mask)
    reference = MelSpectrogram(RATE, 512, 400, 160, 50, 8000, n_mels=64, pad_mode="constant")(x)
    torch.testing.assert_close(mel, reference[..., :100].clamp(min=1e-5).log())
    assert keep.shape == (1, 100) and keep.all()


def test_each_clip_has_mean_0_and_deviation_1_over_its_own_columns() -> None:
    mel, keep = LogMel(MelConfig(spec_augment=None))(*voices(RATE, 4000))
    for clip, steps in enumerate((100, 25)):
        real = mel[clip, :, :steps]
        assert real.mean().item() == pytest.approx(0, abs=1e-5)
        assert real.std(correction=0).item() == pytest.approx(1, abs=1e-3)
        assert not mel[clip, :, steps:].any() and keep[clip].sum() == steps


@pytest.mark.parametrize("normalise", ["clip", "none"])
def test_only_a_normalised_spectrogram_is_the_same_at_any_level(normalise: str) -> None:
    x, mask = voices(RATE)
    spectrogram = LogMel(replace(CNN.mel, normalise=normalise))
    whisper, shout = spectrogram(x, mask)[0], spectrogram(4 * x, mask)[0]
    assert torch.allclose(whisper, shout, atol=1e-2) == (normalise == "clip")


def test_training_alone_hides_parts() -> None:
    spectrogram, (x, mask) = LogMel(MelConfig()), voices(RATE)
    whole = spectrogram.eval()(x, mask)[0]
    assert (spectrogram.train()(x, mask)[0] != whole).any()
    assert torch.equal(spectrogram.eval()(x, mask)[0], whole)


# --- what never matters


@EVERY
@pytest.mark.parametrize("training", [False, True])
def test_masked_samples_never_matter(system: str, training: bool) -> None:
    encoder, (x, mask) = make(system, training), voices(RATE, 5000, 0)
    tokens = encoder(x, mask)
    garbage = encoder(x.masked_fill(~mask, torch.nan), mask)
    assert torch.equal(tokens.x, garbage.x) and torch.equal(tokens.mask, garbage.mask)
    assert tokens.x.isfinite().all() and not tokens.x[2].any() and not tokens.mask[2].any()


@EVERY
@pytest.mark.parametrize("samples", [1, 100, 1601, 8000, RATE])
def test_neither_padding_nor_the_other_clips_matter(system: str, samples: int) -> None:
    encoder, (x, mask) = make(system), voices(samples, 0, RATE)
    alone = encoder(x[:1, :samples], mask[:1, :samples])
    assert alone.mask.all() or system == "patches"
    beside = encoder(x, mask)
    same(Tokens(beside.x[:1], beside.mask[:1]), alone)
    same(encoder(F.pad(x, (0, 1234)), F.pad(mask, (0, 1234))), beside)


@EVERY
def test_every_parameter_has_a_gradient(system: str) -> None:
    encoder = make(system)
    encoder(*voices(RATE, 8000)).x.square().sum().backward()
    assert [name for name, p in encoder.named_parameters() if p.grad is None or not p.grad.any()] == []


@EVERY
def test_a_clip_without_sound_has_finite_gradients(system: str) -> None:
    encoder = make(system)
    encoder(*voices(0, 0)).x.sum().backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in encoder.parameters())


@pytest.mark.slow
@EVERY
def test_export_gives_the_same_tokens(system: str, exported: Exported) -> None:
    encoder, (x, mask) = make(system), voices(RATE, 5000)
    tokens, found = encoder(x, mask), exported(encoder, x, mask)
    torch.testing.assert_close(found.x, tokens.x)
    assert torch.equal(found.mask, tokens.mask)


# --- the parts


def test_windows_overlap_by_half_and_none_only_repeats_another() -> None:
    mel = torch.arange(1.0, 11.0).expand(3, 2, -1)
    mask = torch.arange(10) < torch.tensor([[10], [5], [2]])
    windows, keep = _windows(mel, mask, 4)
    assert windows[0, :, 0].tolist() == [[1, 2, 3, 4], [3, 4, 5, 6], [5, 6, 7, 8], [7, 8, 9, 10]]
    assert keep.sum(dim=2).tolist() == [[4, 4, 4, 4], [4, 3, 0, 0], [2, 0, 0, 0]]
    windows, keep = _windows(mel, mask, 5)
    assert windows[0, :, 0].tolist() == [[1, 2, 3, 4, 5], [3, 4, 5, 6, 7], [5, 6, 7, 8, 9], [7, 8, 9, 10, 0]]
    assert keep.sum(dim=2).tolist() == [[5, 5, 5, 4], [5, 0, 0, 0], [2, 0, 0, 0]]


def test_all_windows_go_through_one_network() -> None:
    encoder = MelCNN(replace(WINDOWS, temporal=None)).eval()
    x, mask = voices(RATE)
    mel, columns = encoder.mel(x, mask)
    tokens = encoder(x, mask)
    third = encoder.encode(mel[..., 20:40], columns[:, 20:40])
    assert tokens.x.shape == (1, 9, 24)
    torch.testing.assert_close(tokens.x[:, 2], third.x.mean(dim=1), rtol=1e-4, atol=1e-5)


def test_patches_are_in_order_of_time_and_columns_span_all_bins() -> None:
    patches, columns = make("patches"), make("columns")
    x, mask = voices(8000, length=8000)  # 50 columns
    assert patches(x, mask).x.shape == (1, 4 * 4, 24) and columns(x, mask).x.shape == (1, 13, 24)
    late = x.clone()
    late[:, 6000:] = 0
    spectrogram = LogMel(replace(PATCHES.mel, normalise="none"))
    for encoder in (patches, columns):
        encoder.mel = spectrogram
    moved = (patches(late, mask).x != patches(x, mask).x).any(dim=2)[0]
    assert moved.tolist() == [False] * 8 + [True] * 8, "columns 37 to 49 lie in the third and fourth patch of 16"
