"""A model that answers at every step: what its answers mean, and that a causal one never looks ahead."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from torch import Tensor
from torch.nn import functional as F

from mmer.batch import Batch, Tokens
from mmer.config import (
    ClipConfig,
    EarlyFusionConfig,
    Face48Config,
    FeaturesConfig,
    GatedFusionConfig,
    LSTMConfig,
    MeanFusionConfig,
    MelConfig,
    MelPatchesConfig,
    ModelConfig,
    MViTConfig,
    PrepareConfig,
    SelfAttentionConfig,
    WaveCNNConfig,
    from_plain,
)
from mmer.data.clip import PreparedClip
from mmer.data.dataset import make_layout
from mmer.errors import ConfigError
from mmer.inference.frames import predict_frames
from mmer.model import EmotionModel, build_model

CONFIGS = Path(__file__).resolve().parents[1] / "configs"
FACE = Face48Config("face48")
MEL = MelConfig(bins=16, normalise="none", spec_augment=None)
VOICE = MelPatchesConfig("mel_patches", MEL, bins=16, steps=10, dim=8)
EARLY = EarlyFusionConfig("early", LSTMConfig("lstm", width=6, dropout=0.0), dim=4, steps=4, dropout=0.0)
CONFIG = ModelConfig(
    {"face": FACE, "voice": VOICE},
    clip=ClipConfig(seconds=0.4, frames=4),
    fusion=EARLY,
    modality_dropout=0.0,
    head="frame",
)
CAUSAL = replace(CONFIG, fusion=replace(EARLY, temporal=replace(EARLY.temporal, causal=True)))


def make(config: ModelConfig) -> EmotionModel:
    torch.manual_seed(0)
    return build_model(config).eval()


def clips(config: ModelConfig) -> Batch:
    """Three clips: one that has all, one whose voice ends early, one without a face."""
    torch.manual_seed(1)
    frames, samples = config.clip.frames, round(config.clip.seconds * config.clip.sample_rate)
    batch = Batch(
        key=("all", "short", "hidden"),
        video=torch.randint(0, 256, (3, frames, 3, 48, 48), dtype=torch.uint8),
        video_mask=torch.ones(3, frames, dtype=torch.bool),
        audio=torch.randn(3, samples),
        audio_mask=torch.ones(3, samples, dtype=torch.bool),
        label=torch.tensor([0, 3, 7]),
    )
    batch.audio_mask[1, samples // 2 :] = False
    batch.video_mask[2] = False
    return batch


@torch.no_grad()
def answer(model: EmotionModel, batch: Batch) -> Tensor:
    return model(batch).logits


# --- the clip's answer is the mean of its steps'


def test_every_step_has_an_answer_and_the_clip_their_mean() -> None:
    model, batch = make(CONFIG), clips(CONFIG)
    output = model(batch)
    assert output.frames is not None
    assert output.frames.x.shape == (3, 4, 8)
    assert output.frames.mask.all()
    torch.testing.assert_close(output.logits, output.frames.x.mean(dim=1))


def test_probabilities_can_be_averaged_instead() -> None:
    output = make(replace(CONFIG, frame_mean="probabilities"))(clips(CONFIG))
    assert output.frames is not None
    torch.testing.assert_close(output.logits.softmax(dim=1), output.frames.x.softmax(dim=2).mean(dim=1))


@pytest.mark.parametrize("mean", ["logits", "probabilities"])
def test_steps_without_anything_take_no_part(mean: str) -> None:
    config = replace(CONFIG, streams={"voice": VOICE}, fusion=MeanFusionConfig("mean", dim=8), frame_mean=mean)
    model, batch = make(config), clips(config)
    output = model(batch)
    assert output.frames is not None
    assert output.frames.mask.tolist() == [[True] * 4, [True] * 2 + [False] * 2, [True] * 4]
    frames = output.frames.x[1, :2]
    expected = frames.mean(dim=0) if mean == "logits" else frames.softmax(dim=1).mean(dim=0).log()
    torch.testing.assert_close(output.logits[1], expected)
    assert batch.audio is not None and batch.audio_mask is not None
    longer = replace(batch, audio=F.pad(batch.audio, (0, 256)), audio_mask=F.pad(batch.audio_mask, (0, 256)))
    torch.testing.assert_close(answer(model, longer), answer(model, batch))
    nothing = answer(model, batch.without("audio"))
    torch.testing.assert_close(nothing.softmax(dim=1), torch.full((3, 8), 1 / 8))


def test_a_single_stream_s_frames_have_the_mean_that_a_head_for_clips_gives() -> None:
    config = replace(CONFIG, streams={"face": FACE}, fusion=MeanFusionConfig("mean", dim=8))
    framewise, whole = make(config), make(replace(config, head="clip"))
    whole.load_state_dict(framewise.state_dict())
    batch = clips(config)
    torch.testing.assert_close(answer(framewise, batch)[:2], answer(whole, batch)[:2])
    assert whole(clips(config)).frames is None


@pytest.mark.parametrize("fusion", [EARLY, MeanFusionConfig("mean", dim=8)], ids=["early", "mean"])
def test_steps_of_a_table_that_is_cut_keep_their_place(fusion: EarlyFusionConfig | MeanFusionConfig) -> None:
    table = FeaturesConfig("features", "units", 2, dropout=0.0)
    config = replace(CONFIG, streams={"table": table}, fusion=fusion)
    model = make(config)
    model.encoders["table"].fit(torch.zeros(2), torch.ones(2), 4)
    units = Tokens(torch.randn(2, 8, 2), torch.tensor([[True] * 8, [True] * 4 + [False] * 4]))
    frames = model(Batch(("cut", "whole"), features={"units": units})).frames
    assert frames is not None
    assert frames.mask[1, :4].all()
    last = 3 if fusion is EARLY else 4  # the third of four steps still hears the fourth of eight
    assert frames.mask[0].nonzero().flatten().tolist() == list(range(last))
    layout = make_layout(config, PrepareConfig())
    found = predict_frames(model, layout, long_table(8), "clip", device=torch.device("cpu"))
    assert max(found.times) == pytest.approx(0.25 if fusion is EARLY else 0.175), "of 0.4 s"


def long_table(steps: int) -> PreparedClip:
    """A clip of 0.4 s of silence with a table of so many steps."""
    silence = np.zeros(6400, np.float32)
    return replace(PreparedClip.empty(), audio=silence, features={"units": np.ones((steps, 2), np.float32)})


def test_copies_are_answered_in_training_alone() -> None:
    config = replace(CONFIG, missing="copies")
    model, batch = make(config), clips(config)
    assert model(batch).copies == ()
    model.train()
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout | torch.nn.BatchNorm2d):
            module.eval()
    output = model(batch)
    _, no_video, no_audio = output.copies
    model.eval()
    torch.testing.assert_close(output.logits, answer(model, batch))
    torch.testing.assert_close(no_audio[:2], answer(model, batch.without("audio"))[:2])
    torch.testing.assert_close(no_video[:2], answer(model, batch.without("video"))[:2])
    torch.testing.assert_close(no_audio[2], answer(model, batch)[2])  # that clip has nothing but its sound


# --- causal


@torch.no_grad()
def in_pieces(model: EmotionModel, batch: Batch, pieces: tuple[int, ...]) -> Tensor:
    """Return the answers at every step of clips that are read piece by piece."""
    frames, samples = (count // model.config.clock for count in (batch.video.shape[1], batch.audio.shape[1]))
    past, outs, first = None, [], 0
    for steps in pieces:
        seen, heard = (slice(first * each, (first + steps) * each) for each in (frames, samples))
        part = Batch(
            batch.key,
            video=batch.video[:, seen],
            video_mask=batch.video_mask[:, seen],
            audio=batch.audio[:, heard],
            audio_mask=batch.audio_mask[:, heard],
        )
        answers, past = model.advance(part, steps, past)
        outs.append(answers.x)
        first += steps
    return torch.cat(outs, dim=1)


ATTENTION = replace(EARLY, temporal=SelfAttentionConfig("transformer", width=8, depth=2, heads=2, causal=True))
TINY = from_plain(ModelConfig, yaml.safe_load((CONFIGS / "tiny/frame_lstm_causal.yaml").read_text())["model"]["config"])


@pytest.mark.parametrize(
    "config",
    [
        CAUSAL,
        replace(CAUSAL, fusion=ATTENTION),
        replace(CAUSAL, clip=ClipConfig(seconds=0.4, frames=8)),
        replace(CAUSAL, streams={"face": FACE, "voice": WaveCNNConfig("wave_cnn", variant="tiny", normalise=True)}),
        TINY,
    ],
    ids=["lstm", "transformer", "two frames a step", "wave_cnn", "configs/tiny/frame_lstm_causal.yaml"],
)
def test_step_by_step_equals_all_at_once(config: ModelConfig) -> None:
    model, batch = make(config), clips(config)
    assert batch.audio_mask is not None
    batch.audio_mask[1] = True  # a clip that ends early is as long as its frames; a piece says nothing of that
    with torch.no_grad():
        whole = model(batch).frames.x
    steps = config.clock
    for pieces in ((1,) * steps, (steps - 1, 1), (steps,)):
        torch.testing.assert_close(in_pieces(model, batch, pieces), whole, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("config", [CAUSAL, CONFIG], ids=["causal", "both ways"])
@pytest.mark.parametrize("modality", ["video", "audio"])
def test_only_a_causal_model_ignores_what_comes_later(config: ModelConfig, modality: str) -> None:
    model, batch = make(config), clips(config)
    x, _ = batch.read(modality)
    changed = x.clone()
    changed[:, x.shape[1] // 2 :] = 0
    with torch.no_grad():
        before, after = (model(each).frames.x[0] for each in (batch, replace(batch, **{modality: changed})))
    assert torch.allclose(before[:2], after[:2], atol=1e-6) == config.causal
    assert not torch.allclose(before[2:], after[2:], atol=1e-4)


# --- mistakes


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"fusion": GatedFusionConfig("gated")},
            "head=frame needs a fusion that keeps the steps: early, or mean over a single stream; this one is gated "
            "over face, voice",
        ),
        ({"fusion": MeanFusionConfig("mean")}, "this one is mean over face, voice"),
        (
            {"missing": "copies", "modality_dropout": 0.2},
            "missing=copies and modality_dropout=0.2 would hide modalities twice; set modality_dropout to 0",
        ),
        (
            {"missing": "copies", "streams": {"voice": VOICE}},
            "missing=copies hides one of several modalities and the model reads audio alone; leave it at dropout",
        ),
    ],
)
def test_what_does_not_fit_together_is_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError) as error:
        replace(CONFIG, **changes)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"streams": {"face": MViTConfig("mvit", variant="tiny")}},
            "fusion.temporal.causal=true must not look ahead and stream face (mvit) does; read frames, face48 or "
            "features with temporal: null, or sound",
        ),
        ({"streams": {"face": replace(FACE, temporal=LSTMConfig("lstm"))}}, "stream face (face48) does"),
        (
            {"clip": ClipConfig(seconds=0.4, frames=6)},
            "fusion.temporal.causal=true needs steps of whole frames and samples, and clip.frames=6 is not a multiple "
            "of fusion.steps=4; change clip.seconds, clip.frames or fusion.steps",
        ),
        (
            {"clip": ClipConfig(seconds=0.4001, frames=4)},
            "samples of a clip=6402 is not a multiple of fusion.steps=4",
        ),
    ],
)
def test_a_causal_model_that_could_look_ahead_is_refused(changes: dict[str, object], message: str) -> None:
    replace(CONFIG, **changes)
    with pytest.raises(ConfigError) as error:
        replace(CAUSAL, **changes)
    assert message in str(error.value)
