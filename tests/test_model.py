"""The whole model of three tiny streams: what never changes its answer, and that it learns."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmer.batch import Batch, Tokens
from mmer.config import ModelConfig, MViTConfig, ResNet3DConfig, TransformerFusionConfig, WaveCNNConfig
from mmer.errors import ConfigError
from mmer.missing import hide_modalities
from mmer.model import EmotionModel, build_model

CLIPS = 3
FACE = MViTConfig("mvit", variant="tiny", drop_path=0.0)
MOTION = ResNet3DConfig("resnet3d", variant="tiny")
VOICE = WaveCNNConfig("wave_cnn", variant="tiny", dropout=0.0)
CONFIG = ModelConfig(
    {"face": FACE, "motion": MOTION, "voice": VOICE},
    fusion=TransformerFusionConfig(dim=32, depth=1, heads=4, dropout=0.0, max_tokens=64),
    modality_dropout=0.0,
)


def make(config: ModelConfig = CONFIG) -> EmotionModel:
    torch.manual_seed(0)
    return build_model(config).eval()


@pytest.fixture(scope="module")
def built() -> EmotionModel:
    return make()


@pytest.fixture
def model(built: EmotionModel) -> EmotionModel:
    built.zero_grad()
    return built.eval()


@pytest.fixture
def batch() -> Batch:
    """Three clips: one that has all, one whose voice ends early, one without a face."""
    torch.manual_seed(1)
    found = Batch(
        key=("all", "short", "hidden"),
        video=torch.randint(0, 256, (CLIPS, 8, 3, 64, 64), dtype=torch.uint8),
        video_mask=torch.ones(CLIPS, 8, dtype=torch.bool),
        audio=torch.randn(CLIPS, 8000),
        audio_mask=torch.ones(CLIPS, 8000, dtype=torch.bool),
        label=torch.tensor([0, 3, 7]),
    )
    found.audio_mask[1, 3000:] = False
    found.video_mask[2] = False
    return found


def answer(model: EmotionModel, batch: Batch) -> Tensor:
    with torch.no_grad():
        return model(batch).logits


def answers(model: EmotionModel, batch: Batch) -> Tensor:
    """Return all that a model in training says: the fused answer and each stream's own, [b m c]."""
    output = model(batch)
    return torch.stack([output.logits, *output.stream_logits.values()], dim=1)


def same(a: Tensor, b: Tensor) -> None:
    torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


def some(batch: Batch, clips: list[int]) -> Batch:
    """Return some clips of a batch."""
    x = {name: getattr(batch, name)[clips] for name in ("video", "video_mask", "audio", "audio_mask", "label")}
    return Batch(tuple(batch.key[i] for i in clips), **x)


@pytest.mark.parametrize(("labels", "classes"), [("ravdess8", 8), ("ekman7", 7), (("no", "perhaps", "yes"), 3)])
def test_there_is_one_logit_a_class(batch: Batch, labels: str | tuple[str, ...], classes: int) -> None:
    logits = answer(make(replace(CONFIG, streams={"voice": VOICE}, labels=labels)), batch)
    assert (logits.shape, logits.dtype) == ((CLIPS, classes), torch.float32)


def test_streams_speak_alone_in_training_and_of_their_own_modality_only(model: EmotionModel, batch: Batch) -> None:
    assert dict(model(batch).stream_logits) == {}
    model.train()
    before, after = model(batch).stream_logits, model(batch.without("video")).stream_logits
    assert list(before) == ["face", "motion", "voice"]
    assert all(logits.shape == (CLIPS, 8) for logits in before.values())
    same(after["voice"], before["voice"])
    assert (after["face"] - before["face"])[:2].abs().max() > 1e-3


# --- what never matters


def test_masked_values_never_matter(model: EmotionModel, batch: Batch) -> None:
    assert batch.video is not None and batch.audio is not None and batch.video_mask is not None
    garbage = replace(
        batch,
        video=torch.where(batch.video_mask[:, :, None, None, None], batch.video, 255 - batch.video),
        audio=torch.where(batch.audio_mask, batch.audio, 1e6 * torch.randn_like(batch.audio)),
    )
    for training in (False, True):
        same(answers(model.train(training), garbage), answers(model, batch))


@pytest.mark.parametrize("padding", [256, 1000])
def test_padding_length_never_changes_the_answer(model: EmotionModel, batch: Batch, padding: int) -> None:
    longer = replace(batch, audio=F.pad(batch.audio, (0, padding)), audio_mask=F.pad(batch.audio_mask, (0, padding)))
    for training in (False, True):
        same(answers(model.train(training), longer), answers(model, batch))


def test_the_order_of_the_streams_never_matters(model: EmotionModel, batch: Batch) -> None:
    turned = make(replace(CONFIG, streams=dict(reversed(CONFIG.streams.items()))))
    turned.load_state_dict(model.state_dict())
    same(answer(turned, batch), answer(model, batch))


@pytest.mark.parametrize("clips", [[0], [2, 1], [1, 1, 0, 2]])
def test_the_clips_beside_a_clip_never_matter(model: EmotionModel, batch: Batch, clips: list[int]) -> None:
    with torch.no_grad():
        same(answers(model, some(batch, clips)), answers(model, batch)[clips])


def test_a_hidden_modality_is_as_if_it_had_never_been_there(model: EmotionModel, batch: Batch) -> None:
    same(answer(model, batch.without("video"))[2], answer(model, batch)[2])
    assert (answer(model, batch.without("video")) - answer(model, batch))[:2].abs().max() > 1e-3


@pytest.mark.parametrize("training", [False, True])
def test_a_clip_without_any_modality_has_a_finite_answer_and_finite_gradients(
    model: EmotionModel, batch: Batch, training: bool
) -> None:
    logits = answers(model.train(training), batch.without("video").without("audio"))
    logits.square().sum().backward()
    assert logits.isfinite().all()
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())


# --- it learns


def test_every_parameter_receives_a_gradient(model: EmotionModel, batch: Batch) -> None:
    for module in model.modules():
        if isinstance(module, nn.BatchNorm3d) and not module.weight.any():
            nn.init.ones_(module.weight)  # residual branches that begin as zeros learn from the second step on
    answers(model.train(), batch).softmax(dim=2).square().sum().backward()
    assert {name for name, p in model.named_parameters() if p.grad is None} == set()
    still = {name for name, p in model.named_parameters() if p.grad is not None and not p.grad.any()}
    assert still == set()


@pytest.mark.slow
def test_one_batch_can_be_learnt_by_heart() -> None:
    torch.manual_seed(0)
    model = build_model(replace(CONFIG, streams={"face": FACE, "voice": VOICE})).train()
    clips = 8
    label = torch.arange(clips)
    batch = Batch(
        key=tuple("abcdefgh"),
        video=torch.randint(0, 256, (clips, 8, 3, 64, 64), dtype=torch.uint8),
        video_mask=torch.ones(clips, 8, dtype=torch.bool),
        audio=torch.randn(clips, 4000),
        audio_mask=torch.ones(clips, 4000, dtype=torch.bool),
    )
    optimizer = torch.optim.AdamW(model.parameters(), lr=4e-3)
    for _ in range(14):
        logits = model(batch).logits
        optimizer.zero_grad()
        F.cross_entropy(logits, label).backward()
        optimizer.step()
    logits = answer(model.eval(), batch)
    assert F.cross_entropy(logits, label) < 0.5  # from 2.1
    assert torch.equal(logits.argmax(dim=1), label)


# --- modality dropout

RATE = 0.3


@pytest.fixture(scope="module")
def dropping() -> EmotionModel:
    return make(replace(CONFIG, modality_dropout=RATE))


def hidden(model: EmotionModel, video: bool, audio: bool, clips: int = 4000) -> dict[str, Tensor]:
    """Return which clips' streams modality dropout hides, of clips that have these modalities."""
    has = {"face": video, "motion": video, "voice": audio}
    tokens = {name: Tokens(torch.ones(clips, 2, 1), torch.full((clips, 2), here)) for name, here in has.items()}
    torch.manual_seed(0)
    kept = hide_modalities(tokens, model.reads, RATE)
    assert all(torch.equal(kept[name].mask[:, 0], kept[name].mask[:, 1]) for name in kept)
    return {name: tokens[name].mask[:, 0] & ~kept[name].mask[:, 0] for name in kept}


def test_both_streams_of_a_modality_are_hidden_together(dropping: EmotionModel) -> None:
    found = hidden(dropping, video=True, audio=True)
    assert torch.equal(found["face"], found["motion"])
    assert not torch.equal(found["face"], found["voice"])


def test_the_last_modality_is_never_hidden(dropping: EmotionModel) -> None:
    both = hidden(dropping, video=True, audio=True)
    assert not (both["face"] & both["voice"]).any()
    assert not hidden(dropping, video=True, audio=False)["face"].any()
    assert not hidden(dropping, video=False, audio=True)["voice"].any()


def test_modalities_are_hidden_at_the_rate(dropping: EmotionModel) -> None:
    for found in hidden(dropping, video=True, audio=True).values():
        assert found.float().mean() == pytest.approx(RATE * (1 - RATE), abs=0.03)  # but not when both would go


def test_modality_dropout_is_of_training_alone(dropping: EmotionModel, batch: Batch) -> None:
    batch = some(batch, [0] * 8)
    torch.manual_seed(0)
    assert answer(dropping.train(), batch).std(dim=0).max() > 1e-3
    same(answer(dropping.eval(), batch), answer(dropping, some(batch, [0])).expand(8, -1))


# --- mistakes


@pytest.mark.parametrize("name", ["keys", "type", "training"])
def test_a_stream_may_not_have_a_name_that_pytorch_uses(name: str) -> None:
    with pytest.raises(ConfigError, match=f"stream name '{name}' is reserved by PyTorch; call the stream otherwise"):
        build_model(ModelConfig({name: VOICE}))


def test_a_batch_made_for_another_model_is_refused(model: EmotionModel, batch: Batch) -> None:
    with pytest.raises(ValueError, match="the batch holds no audio; it was made for a model that does not read it"):
        model(replace(batch, audio=None, audio_mask=None))
