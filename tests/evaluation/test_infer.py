from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from mmer.config import (
    ClipConfig,
    EarlyFusionConfig,
    LSTMConfig,
    MelCNNConfig,
    ModelConfig,
    PrepareConfig,
    ResNet3DConfig,
    TransformerFusionConfig,
    WaveCNNConfig,
)
from mmer.corpora.manifest import Row, write_manifest
from mmer.data.clip import PreparedClip
from mmer.data.dataset import ClipDataset, Windows, make_layout
from mmer.data.store import PreparedCorpus, clip_path, write_settings
from mmer.evaluation.degrade import DEGRADATIONS, Degradation, choose_degradations
from mmer.evaluation.infer import predict_degraded, predict_rows, subsets
from mmer.evaluation.predictions import Predictions
from mmer.evaluation.system import Degraded
from mmer.media.jpeg import encode_jpeg
from mmer.model import EmotionModel, build_model

CONFIG = ModelConfig(
    {"motion": ResNet3DConfig("resnet3d", variant="tiny"), "voice": WaveCNNConfig("wave_cnn", variant="tiny")},
    labels=("no", "perhaps", "yes"),
    clip=ClipConfig(seconds=0.4, frames=8),
    fusion=TransformerFusionConfig(dim=16, depth=1, heads=2),
)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> PreparedCorpus:
    """A prepared folder of five clips of noise: three with both, one without a face, one without a voice."""
    root = tmp_path_factory.mktemp("prepared")
    (root / "clips").mkdir()
    rng = np.random.default_rng(0)
    rows = []
    for i, (face, voice) in enumerate([(True, True), (True, False), (True, True), (False, True), (True, True)]):
        frames = [encode_jpeg(rng.integers(0, 256, (64, 64, 3), np.uint8), 90) for _ in range(8)]
        clip = PreparedClip(
            times=np.arange(8) / 20,
            sizes=np.array([len(frame) if face else 0 for frame in frames]),
            jpeg=np.concatenate([np.frombuffer(frame, np.uint8) for frame in frames])
            if face
            else np.zeros(0, np.uint8),
            audio=rng.normal(0, 0.1, 5000 + 300 * i).astype(np.float32) if voice else None,
            sample_rate=16_000,
        )
        path = clip_path(root, f"clip{i}")
        clip.save(path)
        rows.append(
            Row(f"clip{i}", "noise", str(i % 2), CONFIG.labels[i % 3], path if face else None, path if voice else None)
        )
    write_manifest(root / "manifest.csv", rows)
    write_settings(root, PrepareConfig(size=64))
    return PreparedCorpus.open(root)


@pytest.fixture(scope="module")
def model() -> EmotionModel:
    torch.manual_seed(0)
    return build_model(CONFIG)


def predict(model: EmotionModel, corpus: PreparedCorpus, batch_size: int = 2) -> dict[str, Predictions]:
    return predict_rows(model, corpus, corpus.rows, device=torch.device("cpu"), batch_size=batch_size, progress=False)


def test_each_clip_is_answered_with_all_and_with_each_modality_that_it_has(
    model: EmotionModel, corpus: PreparedCorpus
) -> None:
    answers = predict(model, corpus)
    assert {name: found.key for name, found in answers.items()} == {
        "video+audio": ("clip0", "clip1", "clip2", "clip3", "clip4"),
        "video": ("clip0", "clip1", "clip2", "clip4"),
        "audio": ("clip0", "clip2", "clip3", "clip4"),
    }
    everything = answers["video+audio"]
    assert everything.speaker == ("0", "1", "0", "1", "0")
    assert everything.label.tolist() == [0, 1, 2, 0, 1]
    assert everything.names == ("no", "perhaps", "yes")
    np.testing.assert_allclose(everything.probabilities.sum(axis=1), 1, rtol=1e-12)


def test_a_clip_with_one_modality_has_the_same_answer_from_it_alone(
    model: EmotionModel, corpus: PreparedCorpus
) -> None:
    answers = predict(model, corpus)
    for clip, name in (("clip1", "video"), ("clip3", "audio")):
        both, alone = (a.probabilities[a.key.index(clip)] for a in (answers["video+audio"], answers[name]))
        np.testing.assert_allclose(both, alone, rtol=1e-4, atol=1e-6)
    whole, face = (a.probabilities[0] for a in (answers["video+audio"], answers["video"]))
    assert np.abs(whole - face).max() > 1e-4


def test_the_batch_size_never_matters(model: EmotionModel, corpus: PreparedCorpus) -> None:
    one, all_at_once = predict(model, corpus, 1), predict(model, corpus, 5)
    for name, found in one.items():
        np.testing.assert_allclose(found.probabilities, all_at_once[name].probabilities, rtol=1e-4, atol=1e-6)


def test_a_model_of_one_modality_is_scored_once(corpus: PreparedCorpus) -> None:
    config = replace(CONFIG, streams={"voice": CONFIG.streams["voice"]})
    rows = [row for row in corpus.rows if row.audio is not None]
    answers = predict_rows(build_model(config), corpus, rows, device=torch.device("cpu"), progress=False)
    assert {name: len(found) for name, found in answers.items()} == {"audio": 4}


def test_every_choice_of_modalities_comes_once_all_of_them_first() -> None:
    assert subsets(("video", "audio", "text")) == [
        ("video", "audio", "text"),
        ("video", "audio"),
        ("video", "text"),
        ("audio", "text"),
        ("video",),
        ("audio",),
        ("text",),
    ]


@pytest.mark.parametrize(("kept", "hidden"), [("video", "audio"), ("audio", "video")])
def test_hiding_after_the_encoder_is_hiding_before_it(
    model: EmotionModel, corpus: PreparedCorpus, kept: str, hidden: str
) -> None:
    """The old way, a batch without the modality, and the quick one."""
    answers = predict(model, corpus)[kept]
    layout, dataset = make_layout(CONFIG, corpus.config), Windows(ClipDataset(corpus, corpus.rows, CONFIG))
    for key, found in zip(answers.key, answers.probabilities, strict=True):
        batch = layout.collate(dataset[int(key.removeprefix("clip"))]).without(hidden)
        with torch.inference_mode():
            expected = model.eval()(batch).logits.double().softmax(dim=1).mean(dim=0)
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)


def test_a_training_in_the_middle_of_which_it_happens_goes_on_as_if_nothing_had_been(corpus: PreparedCorpus) -> None:
    model = build_model(CONFIG).train()
    frozen = next(module for module in model.encoders["motion"].modules() if isinstance(module, torch.nn.BatchNorm3d))
    frozen.eval()
    before = torch.get_rng_state()
    predict(model, corpus)
    predict_degraded(model, corpus, corpus.rows, DEGRADATIONS[:1], device=torch.device("cpu"), progress=False)
    assert torch.equal(torch.get_rng_state(), before)
    assert {name for name, module in model.named_modules() if not module.training} == {
        name for name, module in model.named_modules() if module is frozen
    }
    assert all(parameter.requires_grad and not parameter.is_inference() for parameter in model.parameters())


def test_the_model_answers_as_in_use_whatever_mode_it_is_in(model: EmotionModel, corpus: PreparedCorpus) -> None:
    expected = predict(model.eval(), corpus)["video+audio"]
    found = predict(model.train(), corpus)["video+audio"]
    np.testing.assert_array_equal(found.probabilities, expected.probabilities)


def test_workers_never_matter(model: EmotionModel, corpus: PreparedCorpus) -> None:
    alone = predict(model, corpus)
    helped = predict_rows(
        model, corpus, corpus.rows, device=torch.device("cpu"), batch_size=2, workers=1, progress=False
    )
    for name, found in alone.items():
        np.testing.assert_array_equal(found.probabilities, helped[name].probabilities)


def test_progress_is_shown_on_standard_error(
    model: EmotionModel, corpus: PreparedCorpus, capsys: pytest.CaptureFixture[str]
) -> None:
    predict_rows(model, corpus, corpus.rows, device=torch.device("cpu"))
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "evaluate: 100%" in shown.err
    predict(model, corpus)
    assert capsys.readouterr().err == ""


# --- clips made worse


def harm(model: EmotionModel, corpus: PreparedCorpus, batch_size: int = 2) -> list[Degraded]:
    chosen = choose_degradations(["audio_noise", "face_occluded"], CONFIG.reads)
    return predict_degraded(
        model, corpus, corpus.rows, chosen, device=torch.device("cpu"), batch_size=batch_size, progress=False
    )


def test_each_harm_is_measured_at_each_level_on_the_clips_that_it_harms(
    model: EmotionModel, corpus: PreparedCorpus
) -> None:
    found = harm(model, corpus)
    assert [(each.kind, each.level, each.unit) for each in found] == [
        *(("audio_noise", level, "dB SNR") for level in (None, 20, 10, 5, 0, -5)),
        *(("face_occluded", level, "share of the picture") for level in (None, 0.1, 0.25, 0.5, 0.75)),
    ]
    heard, seen = ("clip0", "clip2", "clip3", "clip4"), ("clip0", "clip1", "clip2", "clip4")
    assert {(each.kind, each.predictions.key) for each in found} == {("audio_noise", heard), ("face_occluded", seen)}


def test_no_harm_is_the_answer_from_everything_and_harm_changes_it(model: EmotionModel, corpus: PreparedCorpus) -> None:
    everything = predict(model, corpus)["video+audio"]
    answer = dict(zip(everything.key, everything.probabilities, strict=True))
    for each in harm(model, corpus):
        expected = np.array([answer[key] for key in each.predictions.key])
        away = np.abs(each.predictions.probabilities - expected).max()
        assert away < 1e-6 if each.level is None else away > 1e-5


def test_the_batch_never_matters_to_a_harm(model: EmotionModel, corpus: PreparedCorpus) -> None:
    for one, other in zip(harm(model, corpus, 1), harm(model, corpus, 5), strict=True):
        np.testing.assert_allclose(one.predictions.probabilities, other.predictions.probabilities, rtol=1e-4, atol=1e-6)


def test_a_harm_to_what_no_clip_has_is_left_out(model: EmotionModel, corpus: PreparedCorpus) -> None:
    unheard = [row for row in corpus.rows if row.audio is None]
    found = predict_degraded(model, corpus, unheard, DEGRADATIONS[:2], device=torch.device("cpu"), progress=False)
    assert {each.kind for each in found} == {"face_black"}


def test_harmless_harm_leaves_what_a_causal_model_answers(corpus: PreparedCorpus) -> None:
    """It hears each step of its clock alone, and sound where the clip has it, harmed or not."""
    temporal = LSTMConfig("lstm", width=8, causal=True)
    config = replace(
        CONFIG,
        streams={"voice": MelCNNConfig("mel_cnn", channels=(4, 4), dim=8)},
        fusion=EarlyFusionConfig("early", temporal, dim=8, steps=4),
        head="frame",
    )
    nothing = Degradation("nothing", "audio", "times", (1.0,), lambda batch, _: batch)
    model = build_model(config)
    before, after = predict_degraded(
        model, corpus, corpus.rows, [nothing], device=torch.device("cpu"), batch_size=2, progress=False
    )
    np.testing.assert_array_equal(after.predictions.probabilities, before.predictions.probabilities)
