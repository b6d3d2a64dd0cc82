"""Speech networks answer as torchaudio's do, whatever they share a batch with; layouts are small and weights random."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from urllib.error import URLError

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchaudio import models, pipelines

from mmer.batch import Tokens
from mmer.config import SpeechConfig
from mmer.encoders.audio import speech
from mmer.encoders.audio.speech import LayerMix, Speech
from mmer.errors import CheckpointError, ConfigError
from tests.encoders.conftest import Exported

SMALL = {
    "extractor_conv_layer_config": [(16, 10, 5), *((16, 3, 2),) * 4, *((16, 2, 2),) * 2],
    "encoder_embed_dim": 32,
    "encoder_projection_dropout": 0.1,
    "encoder_pos_conv_kernel": 8,
    "encoder_pos_conv_groups": 4,
    "encoder_num_layers": 3,
    "encoder_num_heads": 4,
    "encoder_attention_dropout": 0.1,
    "encoder_ff_interm_features": 48,
    "encoder_ff_interm_dropout": 0.1,
    "encoder_dropout": 0.1,
    "encoder_layer_drop": 0.5,
    "aux_num_out": None,
}
BASE = {"extractor_mode": "group_norm", "extractor_conv_bias": False, "encoder_layer_norm_first": False}
LARGE = {"extractor_mode": "layer_norm", "extractor_conv_bias": True, "encoder_layer_norm_first": True}
WAVLM = {"encoder_num_buckets": 32, "encoder_max_distance": 80}
LAYOUTS: dict[str, Callable[[], models.Wav2Vec2Model]] = {
    "WAV2VEC2_BASE": lambda: models.wav2vec2_model(**SMALL, **BASE),
    "WAV2VEC2_XLSR_300M": lambda: models.wav2vec2_model(**SMALL, **LARGE),
    "WAVLM_BASE": lambda: models.wavlm_model(**SMALL, **BASE, **WAVLM),
    "WAVLM_LARGE": lambda: models.wavlm_model(**SMALL, **LARGE, **WAVLM),
}
EVERY = pytest.mark.parametrize("variant", LAYOUTS)


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the networks small."""
    torch.manual_seed(0)
    for variant, build in LAYOUTS.items():
        monkeypatch.setitem(speech._NETWORKS, variant, build)  # type: ignore[arg-type]


def make(variant: str, **settings: object) -> Speech:
    return Speech(SpeechConfig("speech", variant=variant, **settings), load=False).eval()  # type: ignore[arg-type]


def voices(*samples: int, length: int = 8000) -> tuple[Tensor, Tensor]:
    torch.manual_seed(1)
    x = 0.1 * torch.randn(len(samples), length) + 0.05
    return x, torch.arange(length) < torch.tensor(samples).unsqueeze(1)


def reference(encoder: Speech, x: Tensor) -> list[Tensor]:
    """What torchaudio says of one waveform alone; its pipelines of large networks normalise the waveform."""
    return encoder.network.extract_features(F.layer_norm(x, x.shape) if encoder.normalise else x)[0]


@EVERY
def test_every_layer_is_torchaudios_of_each_clip_alone(variant: str) -> None:
    encoder, (x, mask) = make(variant), voices(8000, 5000, 1234)
    states, keep = encoder.encode(x, mask)
    for clip, samples in enumerate((8000, 5000, 1234)):
        expected = reference(encoder, x[clip : clip + 1, :samples])
        assert keep[clip].sum() == expected[0].shape[1]
        for state, layer in zip(states[1:], expected, strict=True):
            torch.testing.assert_close(state[clip][keep[clip]], layer[0], rtol=1e-4, atol=1e-5)


@EVERY
def test_masked_samples_and_the_padding_never_matter(variant: str) -> None:
    encoder, (x, mask) = make(variant), voices(8000, 3000, 0)
    tokens = encoder(x, mask)
    assert torch.equal(tokens.x, encoder(x.masked_fill(~mask, torch.nan), mask).x)
    assert tokens.x.isfinite().all() and not tokens.x[~tokens.mask].any() and not tokens.mask[2].any()
    longer = encoder(F.pad(x, (0, 999)), F.pad(mask, (0, 999)))
    assert longer.mask.sum(dim=1).tolist() == tokens.mask.sum(dim=1).tolist()
    torch.testing.assert_close(longer.x[longer.mask], tokens.x[tokens.mask], rtol=1e-4, atol=1e-5)


@EVERY
@pytest.mark.parametrize("samples", [1, 7, 12, 399])
def test_a_waveform_too_short_for_a_step_is_one(variant: str, samples: int) -> None:
    encoder, (x, mask) = make(variant), voices(samples)
    alone = encoder(x[:, :samples], mask[:, :samples])
    beside = encoder(x, mask)
    assert alone.mask.tolist() == [[True]] and beside.mask.sum() == 1
    torch.testing.assert_close(beside.x[0, :1], alone.x[0], rtol=1e-4, atol=1e-5)


def test_a_clip_without_sound_has_finite_gradients() -> None:
    encoder = make("WAVLM_BASE", trainable="all")
    encoder(*voices(0, 0)).x.sum().backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in encoder.parameters())


# --- what is trained


@pytest.mark.parametrize(
    ("trainable", "trained"),
    [
        ("none", {"mix"}),
        (2, {"mix", "network.encoder.transformer.layers.1", "network.encoder.transformer.layers.2"}),
    ],
)
def test_the_rest_is_frozen_and_without_dropout(trainable: str | int, trained: set[str]) -> None:
    encoder = make("WAV2VEC2_XLSR_300M", trainable=trainable).train()
    learned = {name for name, p in encoder.named_parameters() if p.requires_grad}
    assert {next((t for t in trained if name.startswith(t)), name) for name in learned} == trained
    assert {name for name, module in encoder.named_modules() if module.training and name} == {
        name for name, _ in encoder.named_modules() if any(name == t or name.startswith(f"{t}.") for t in trained)
    }


@EVERY
def test_every_trainable_parameter_has_a_gradient(variant: str) -> None:
    encoder = make(variant, trainable="all")
    tokens = encoder(*voices(8000, 5000))
    (tokens.x * torch.randn_like(tokens.x)).sum().backward()
    assert all(p.requires_grad for p in encoder.parameters())
    assert [name for name, p in encoder.named_parameters() if p.grad is None] == []


def test_more_layers_than_there_are_cannot_be_trained() -> None:
    with pytest.raises(ConfigError, match="trainable=4 is more than the 3 layers of WAVLM_BASE; give fewer, or all"):
        make("WAVLM_BASE", trainable=4)


def test_blocks_are_in_order_and_what_is_learned_anew_comes_last() -> None:
    encoder = make("WAVLM_BASE")
    assert encoder.layers == [*encoder.network.encoder.transformer.layers, encoder.mix]


def test_layers_are_mixed_by_learned_shares_whatever_their_loudness() -> None:
    mix, states = LayerMix(3), [torch.randn(1, 4, 8) for _ in range(3)]
    normalised = [F.layer_norm(state, (8,)) for state in states]
    torch.testing.assert_close(mix([states[0], 100 * states[1], states[2]]), sum(normalised) / 3, rtol=1e-3, atol=1e-3)
    mix.weight.data = torch.tensor([0.0, 50.0, 0.0])
    torch.testing.assert_close(mix(states), normalised[1])


# --- where the weights come from


class OldNames(nn.Module):
    """A network that names its norm of weights as published files do."""

    def __init__(self, variant: str) -> None:
        super().__init__()
        self.model = LAYOUTS[variant]()

    def state_dict(self) -> dict[str, Tensor]:  # type: ignore[override]
        state = self.model.state_dict()
        new = "parametrizations.weight.original"
        return {k.replace(f"{new}0", "weight_g").replace(f"{new}1", "weight_v"): v for k, v in state.items()}


@pytest.mark.parametrize("variant", ["WAV2VEC2_BASE", "WAVLM_LARGE"])
def test_weights_of_a_file_are_loaded_under_torchs_old_names_and_new(variant: str, tmp_path: Path) -> None:
    published = OldNames(variant)
    x, mask = voices(8000)
    torch.save(published.state_dict(), tmp_path / "old.pt")
    torch.save(published.model.state_dict(), tmp_path / "new.pt")
    answers = []
    for name in ("old.pt", "new.pt"):
        config = SpeechConfig("speech", variant=variant, weights=str(tmp_path / name))  # type: ignore[arg-type]
        encoder = Speech(config).eval()
        torch.testing.assert_close(
            reference(encoder, x),
            published.model.eval().extract_features(F.layer_norm(x, x.shape) if encoder.normalise else x)[0],
        )
        answers.append(encoder(x, mask).x)
    assert torch.equal(*answers)


def test_weights_are_fetched_by_the_networks_name(monkeypatch: pytest.MonkeyPatch) -> None:
    published = LAYOUTS["WAVLM_LARGE"]()
    wrapped = nn.Module()
    wrapped.model = published
    monkeypatch.setattr(pipelines.WAVLM_LARGE, "get_model", lambda: wrapped, raising=False)
    encoder = Speech(SpeechConfig("speech", variant="WAVLM_LARGE"))
    for name, value in published.state_dict().items():
        if not name.startswith("encoder.transformer.layer_norm."):  # which extract_features leaves out
            assert torch.equal(encoder.network.state_dict()[name], value)


def test_weights_that_cannot_be_had_are_one_clear_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def offline() -> nn.Module:
        raise URLError("no route")

    monkeypatch.setattr(pipelines.HUBERT_BASE, "get_model", offline, raising=False)
    monkeypatch.setitem(speech._NETWORKS, "HUBERT_BASE", LAYOUTS["WAV2VEC2_BASE"])  # type: ignore[arg-type]
    with pytest.raises(CheckpointError) as error:
        Speech(SpeechConfig("speech", variant="HUBERT_BASE"))
    assert str(error.value) == (
        "weights HUBERT_BASE cannot be downloaded (no route); go online, or give the path of a local file"
    )


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    torch.save(LAYOUTS["WAVLM_BASE"]().state_dict(), tmp_path / "wavlm.pt")
    with pytest.raises(CheckpointError, match=r"are not this network's: .* give weights of the same variant"):
        Speech(SpeechConfig("speech", variant="WAV2VEC2_BASE", weights=str(tmp_path / "wavlm.pt")))


def test_every_variant_is_a_pipeline_of_torchaudio() -> None:
    named = set(speech._NETWORKS) - {"tiny"}
    assert named == {name for name in named if isinstance(getattr(pipelines, name), pipelines.Wav2Vec2Bundle)}


def test_tiny_learns_from_nothing() -> None:
    encoder, (x, mask) = make("tiny", trainable="all"), voices(8000, 5000)
    tokens: Tokens = encoder(x, mask)
    assert tokens.x.shape == (2, 24, 64) and all(p.requires_grad for p in encoder.parameters())


@pytest.mark.slow
@pytest.mark.parametrize("variant", ["WAV2VEC2_BASE", "WAVLM_LARGE"])
def test_export_gives_the_same_tokens(variant: str, exported: Exported) -> None:
    encoder, (x, mask) = make(variant), voices(8000, 5000)
    torch.testing.assert_close(exported(encoder, x, mask).x, encoder(x, mask).x)
