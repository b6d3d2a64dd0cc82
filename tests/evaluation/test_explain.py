"""Explanations of models of which the truth is known: what they read has all importance, and nothing else has any."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from mmer.batch import Batch, Clip, Layout
from mmer.build import build_encoder
from mmer.calibration import Calibration
from mmer.config import (
    ClipConfig,
    FeaturesConfig,
    ModelConfig,
    ResNet3DConfig,
    TextConfig,
    TransformerFusionConfig,
    WaveCNNConfig,
)
from mmer.data.clip import PreparedClip
from mmer.evaluation.explain import explain_clip, explain_prepared
from mmer.evaluation.explanation import Explanation
from mmer.media.jpeg import encode_jpeg
from mmer.model import EmotionModel, Output, build_model
from mmer.tokenizer import Tokenizer

CONFIG = ModelConfig(
    {"motion": ResNet3DConfig("resnet3d", variant="tiny"), "voice": WaveCNNConfig("wave_cnn", variant="tiny")},
    labels=("no", "yes"),
    clip=ClipConfig(seconds=0.8, frames=8),
    fusion=TransformerFusionConfig(dim=16, depth=1, heads=2),
)
SAMPLES = 12_800
LAYOUT = Layout(("video", "audio"), 8, 40, SAMPLES)
CPU = torch.device("cpu")


class Known(EmotionModel):
    """Says yes by as much as a part of its input differs from grey and silence."""

    def __init__(self, evidence: Callable[[Batch], Tensor]) -> None:
        super().__init__(CONFIG, {name: build_encoder(stream) for name, stream in CONFIG.streams.items()})
        self.evidence = evidence

    def forward(self, batch: Batch) -> Output:
        found = self.evidence(batch)
        return Output(torch.stack([torch.zeros_like(found), found], dim=1), {})


@pytest.fixture(scope="module")
def clip() -> Clip:
    """A window whose mean colour is 100 and whose every pixel is 98 or 102."""
    rng = np.random.default_rng(0)
    pixels = np.full((8, 3, 40, 40), 98, np.uint8)
    pixels[:, :, rng.permuted(np.arange(40)) % 2 == 0] = 102
    return Clip("film", torch.from_numpy(pixels), torch.full((SAMPLES,), 0.5), label=1)


def pixels(
    batch: Batch, frames: slice = slice(None), rows: slice = slice(None), columns: slice = slice(None)
) -> Tensor:
    """Return by how much some pixels differ from grey, in [0, 2]."""
    assert batch.video is not None and batch.video_mask is not None
    some = batch.video[:, frames, :, rows, columns].float()
    return (some - 100).abs().mean(dim=(1, 2, 3, 4)) * batch.video_mask[:, 0]


def samples(batch: Batch, first: int = 0, last: int = SAMPLES) -> Tensor:
    assert batch.audio is not None and batch.audio_mask is not None
    return (batch.audio * batch.audio_mask)[:, first:last].abs().mean(dim=1)


def explain(evidence: Callable[[Batch], Tensor], clip: Clip, **settings: object) -> Explanation:
    return explain_clip(Known(evidence), LAYOUT, clip, device=CPU, **settings)


def sigmoid(x: float) -> float:
    return 1 / (1 + float(np.exp(-x)))


def test_only_the_modality_that_is_read_matters(clip: Clip) -> None:
    found = explain(lambda batch: 4 * samples(batch), clip)
    assert (found.predicted, found.label) == ("yes", "yes")
    assert found.probabilities["yes"] == pytest.approx(sigmoid(2))
    assert found.modalities == {"video": pytest.approx(0), "audio": pytest.approx(sigmoid(2) - sigmoid(0))}
    np.testing.assert_allclose(found.moments["video"], 0)
    np.testing.assert_allclose(found.moments["audio"], sigmoid(2) - sigmoid(2 * 7 / 8), rtol=1e-5)
    np.testing.assert_allclose(found.face, 0)
    assert (found.seconds, found.sample_rate) == (0.8, 16_000)


def test_only_the_moment_that_is_heard_matters(clip: Clip) -> None:
    found = explain(lambda batch: 4 * samples(batch, 3200, 4800), clip)
    np.testing.assert_allclose(found.moments["audio"], [0, 0, sigmoid(2) - sigmoid(0), 0, 0, 0, 0, 0], atol=1e-7)


def test_only_the_frames_that_are_seen_matter(clip: Clip) -> None:
    found = explain(lambda batch: pixels(batch, frames=slice(5, 6)), clip)
    np.testing.assert_allclose(found.moments["video"], [0, 0, 0, 0, 0, sigmoid(2) - sigmoid(0), 0, 0], atol=1e-7)
    np.testing.assert_allclose(found.moments["audio"], 0)
    np.testing.assert_allclose(found.face, sigmoid(2) - sigmoid(2 * 24 / 25), rtol=1e-4)


def test_only_the_part_of_the_face_that_is_seen_matters(clip: Clip) -> None:
    found = explain(lambda batch: pixels(batch, rows=slice(8, 16), columns=slice(24, 32)), clip)
    wanted = np.zeros((5, 5))
    wanted[1, 3] = sigmoid(2) - sigmoid(0)
    np.testing.assert_allclose(found.face, wanted, atol=1e-7)


def test_what_speaks_against_the_answer_is_negative(clip: Clip) -> None:
    found = explain(lambda batch: 4 * samples(batch) - pixels(batch, frames=slice(0, 1)) / 2, clip)
    assert found.predicted == "yes"
    assert found.modalities["video"] == pytest.approx(sigmoid(1) - sigmoid(2))
    assert found.moments["video"][0] == pytest.approx(sigmoid(1) - sigmoid(2))


def test_an_answer_is_explained_for_the_class_that_was_predicted(clip: Clip) -> None:
    found = explain(lambda batch: -4 * samples(batch), clip)
    assert (found.predicted, found.label) == ("no", "yes")
    assert found.modalities["audio"] == pytest.approx(sigmoid(2) - sigmoid(0))


def test_importance_is_in_calibrated_probability(clip: Clip) -> None:
    found = explain(lambda batch: 4 * samples(batch), clip, calibration=Calibration("temperature", (0.5,)))
    assert found.probabilities["yes"] == pytest.approx(sigmoid(1))
    assert found.modalities["audio"] == pytest.approx(sigmoid(1) - sigmoid(0))


def test_a_missing_modality_is_not_explained(clip: Clip) -> None:
    voice = explain(lambda batch: 4 * samples(batch), replace(clip, video=None, label=None))
    assert (set(voice.modalities), set(voice.moments), voice.face, voice.frames) == ({"audio"}, {"audio"}, None, None)
    assert voice.label is None
    face = explain(pixels, replace(clip, audio=None), label="no", seconds=0.4, start=1.5)
    assert (set(face.modalities), set(face.moments), face.audio) == ({"video"}, {"video"}, None)
    assert (face.label, face.seconds, face.start) == ("no", 0.4, 1.5)


def test_words_are_hidden_as_a_whole_and_features_moment_by_moment(clip: Clip) -> None:
    """A model that reads words and a stream whose third step of four alone speaks."""
    table = FeaturesConfig("features", "units", 1)
    words = TextConfig("text", width=8)
    tokenizer = Tokenizer.train(["yes"], 300)
    config = replace(CONFIG, streams={"table": table, "words": words})
    streams = {name: build_encoder(stream, tokenizer=tokenizer) for name, stream in config.streams.items()}

    class Reader(EmotionModel):
        def forward(self, batch: Batch) -> Output:
            units, mask = batch.read("units")
            found = units[:, 2, 0] * mask[:, 2] + batch.read("text")[1].float().mean(dim=1)
            return Output(torch.stack([torch.zeros_like(found), found], dim=1), {})

    values = torch.tensor([[0.0], [0.0], [4.0], [0.0]])
    said = Clip("said", text=torch.tensor([1, 2]), features={"units": values})
    layout = Layout(config.reads, 8, 40, SAMPLES, tokens=2, widths=config.widths)
    found = explain_clip(Reader(config, streams, tokenizer), layout, said, device=CPU, moments=4)
    assert found.modalities["units"] > found.modalities["text"] > 0
    assert set(found.moments) == {"units"}
    assert found.moments["units"].argmax() == 2 and np.allclose(found.moments["units"][[0, 1, 3]], 0)


def test_a_moment_is_a_share_of_the_window_and_not_of_the_sound(clip: Clip) -> None:
    """Sound that ends in the middle of the window has no importance after that."""
    half = replace(clip, audio=torch.full((SAMPLES // 2,), 0.5))
    found = explain(lambda batch: 4 * samples(batch), half, seconds=0.8)
    assert (found.moments["audio"][:4] > 0.01).all()
    np.testing.assert_allclose(found.moments["audio"][4:], 0)


def test_few_frames_are_hidden_one_by_one(clip: Clip) -> None:
    few = replace(clip, video=clip.video[:2])
    found = explain_clip(Known(pixels), replace(LAYOUT, frames=2), few, device=CPU)
    assert (len(found.moments["video"]), len(found.moments["audio"])) == (2, 8)


def test_size_and_number_of_parts_can_be_chosen(clip: Clip) -> None:
    found = explain(pixels, clip, moments=3, grid=4)
    assert (len(found.moments["video"]), len(found.moments["audio"]), found.face.shape) == (3, 3, (4, 4))


def test_frames_and_waveform_come_with_it(clip: Clip) -> None:
    found = explain(pixels, clip)
    assert found.frames.shape == (6, 40, 40, 3)
    np.testing.assert_array_equal(found.frames[0], clip.video[0].permute(1, 2, 0).numpy())
    np.testing.assert_array_equal(found.audio, clip.audio.numpy())


# --- a real model


@pytest.fixture(scope="module")
def model() -> EmotionModel:
    torch.manual_seed(0)
    return build_model(CONFIG)


def test_attention_goes_to_the_tokens_that_a_clip_has(model: EmotionModel, clip: Clip) -> None:
    short = replace(clip, audio=clip.audio[: SAMPLES // 2])
    found = explain_clip(model, LAYOUT, short, device=CPU)
    assert {name: len(share) for name, share in found.attention.items()} == {"motion": 8, "voice": 10}
    assert 0 < sum(share.sum() for share in found.attention.values()) <= 1
    silent = explain_clip(model, LAYOUT, replace(clip, audio=None), device=CPU)
    assert set(silent.attention) == {"motion"}


def test_an_explanation_is_the_same_each_time_and_leaves_the_clip_alone(model: EmotionModel, clip: Clip) -> None:
    before = clip.video.clone(), clip.audio.clone()
    first, second = (explain_clip(model.train(), LAYOUT, clip, device=CPU).to_plain() for _ in range(2))
    assert first == second
    assert torch.equal(clip.video, before[0]) and torch.equal(clip.audio, before[1])


def test_an_explanation_is_plain_data(model: EmotionModel, clip: Clip) -> None:
    plain = explain_clip(model, LAYOUT, clip, device=CPU).to_plain()
    assert set(plain) == {
        "key", "label", "predicted", "probabilities", "start", "seconds", "modalities", "moments", "face", "attention"
    }  # fmt: skip
    assert np.array(plain["face"]).shape == (5, 5)
    assert {name: len(values) for name, values in plain["moments"].items()} == {"video": 8, "audio": 8}


# --- a long clip


def test_of_a_long_clip_the_window_that_speaks_most_for_its_answer_is_explained() -> None:
    """The voice is loud in the third of four windows."""
    audio = np.full(4 * SAMPLES, 0.1, np.float32)
    audio[2 * SAMPLES : 3 * SAMPLES] = 0.9
    prepared = replace(PreparedClip.empty(), audio=audio)
    found = explain_prepared(Known(lambda b: 4 * samples(b)), LAYOUT, prepared, "long", label="yes", device=CPU)
    assert (found.key, found.label) == ("long", "yes")
    assert (found.start, found.seconds) == (pytest.approx(1.6), 0.8)
    assert found.audio.min() == pytest.approx(0.9)


def test_a_short_clip_is_explained_whole() -> None:
    image = encode_jpeg(np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8), 90)
    prepared = PreparedClip(
        times=np.arange(10) / 25,
        sizes=np.full(10, len(image)),
        jpeg=np.tile(image, 10),
        audio=np.full(6400, 0.5, np.float32),
        sample_rate=16_000,
    )
    found = explain_prepared(Known(lambda b: 4 * samples(b)), LAYOUT, prepared, "short", device=CPU)
    assert (found.start, found.seconds, found.label) == (0.0, pytest.approx(0.4), None)
    assert (found.moments["audio"] > 0.01).all()


def test_a_window_that_alone_says_something_else_is_explained_for_the_answer_of_the_whole() -> None:
    """Neither window is surest of the class that their mean names."""
    labels = ("left", "middle", "right")
    config = replace(CONFIG, labels=labels)

    class Torn(EmotionModel):
        def forward(self, batch: Batch) -> Output:
            loud = samples(batch)[:, None] > 0.8
            return Output(torch.where(loud, torch.tensor([0.5, 0.4, 0.1]), torch.tensor([0.0, 0.39, 0.61])).log(), {})

    model = Torn(config, {name: build_encoder(stream) for name, stream in config.streams.items()})
    prepared = replace(PreparedClip.empty(), audio=np.repeat(np.float32([0.9, 0.1]), SAMPLES))
    found = explain_prepared(model, LAYOUT, prepared, "torn", device=CPU)
    assert found.start == 0 and found.probabilities["left"] == pytest.approx(0.5)
    assert found.predicted == found.to_plain()["predicted"] == "middle"
    assert found.moments["audio"].max() == pytest.approx(0.01, rel=1e-4)  # 40% with it, 39% without
