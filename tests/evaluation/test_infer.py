from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from mmer.config import ClipConfig, FusionConfig, ModelConfig, PrepareConfig, ResNet3DConfig, WaveCNNConfig
from mmer.corpora.manifest import Row, write_manifest
from mmer.data.store import PreparedClip, PreparedCorpus, clip_path, write_settings
from mmer.evaluation.infer import predict_rows
from mmer.media.jpeg import encode_jpeg
from mmer.model import EmotionModel, build_model

CONFIG = ModelConfig(
    {"motion": ResNet3DConfig("resnet3d", variant="tiny"), "voice": WaveCNNConfig("wave_cnn", variant="tiny")},
    labels=("no", "perhaps", "yes"),
    clip=ClipConfig(seconds=0.4, frames=8),
    fusion=FusionConfig(dim=16, depth=1, heads=2),
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
