"""Words and precomputed features from a prepared folder to a checkpoint that answers, and what they must not know."""

from __future__ import annotations

import shutil
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from mmer.build import build_tokenizer
from mmer.checkpoint import read_checkpoint
from mmer.cli import main as mmer
from mmer.config import FeaturesConfig, ModelConfig, PrepareConfig, SplitConfig, TextConfig, TextHFConfig, WaveCNNConfig
from mmer.corpora.manifest import Row, write_manifest
from mmer.data.clip import PreparedClip
from mmer.data.store import PreparedCorpus, clip_path, write_settings
from mmer.emotions import RAVDESS8
from mmer.errors import ConfigError
from mmer.evaluation.evaluate import evaluate_checkpoint
from mmer.evaluation.measure import measure
from mmer.inference.predictor import Predictor
from mmer.model import build_model
from mmer.training.cli import main as train
from mmer.training.data import EmotionDataModule
from tests.training.conftest import quick_data, quick_trainer

CPU = torch.device("cpu")
WORDS = {"encoder": "text", "width": 8, "vocabulary": 300, "temporal": {"kind": "lstm", "width": 8}}
TABLE = {"encoder": "features", "features": "mfcc", "width": 13, "percentile": 50, "temporal": None}
TONE = {"encoder": "features", "features": "tone", "width": 4}
SPLIT = SplitConfig("speakers", validation=(23,), test=(24,))

pytestmark = pytest.mark.filterwarnings("default")


@pytest.fixture(scope="module")
def settings(described_corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The settings of a small model of words and two streams of features."""
    return {
        "seed_everything": 1,
        "model": {
            "config": {
                "streams": {"words": WORDS, "table": TABLE, "tone": TONE},
                "clip": {"seconds": 0.5, "frames": 2, "tokens": 8},
                "fusion": {"kind": "mean", "dim": 16},
            },
            "optim": {"lr": 0.001},
        },
        "data": quick_data(described_corpus),
        "trainer": quick_trainer(tmp_path_factory.mktemp("words") / "run"),
    }


@pytest.fixture(scope="module")
def trained(settings: dict[str, Any]) -> Path:
    """The last checkpoint of a training."""
    folder = Path(settings["trainer"]["default_root_dir"])
    folder.parent.joinpath("config.yaml").write_text(yaml.safe_dump(settings, sort_keys=False))
    assert train(["fit", f"--config={folder.parent / 'config.yaml'}"]) == 0
    return folder / "checkpoints" / "last.ckpt"


@pytest.fixture(scope="module")
def corpus(described_corpus: Path) -> PreparedCorpus:
    return PreparedCorpus.open(described_corpus)


def stream(corpus: PreparedCorpus, name: str, speakers: range) -> np.ndarray:
    """All steps of a stream of some speakers' clips."""
    rows = [row for row in corpus.rows if int(row.speaker or 0) in speakers]
    clips = [PreparedClip.load(clip_path(corpus.root, row.key), row.key) for row in rows]
    return np.concatenate([clip.features[name] for clip in clips])


def test_features_are_standardised_by_the_training_clips_alone(trained: Path, corpus: PreparedCorpus) -> None:
    model, _ = read_checkpoint(trained)
    known = stream(corpus, "mfcc", range(1, 23))
    encoder: Any = model.encoders["table"]
    np.testing.assert_allclose(encoder.mean, known.mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(encoder.scale, 1 / known.std(axis=0), rtol=1e-4)
    assert np.abs(known.mean(axis=0) - stream(corpus, "mfcc", range(1, 25)).mean(axis=0)).max() > 1e-3
    assert encoder.steps == 20
    assert model.encoders["tone"].steps == 1


def test_the_tokenizer_knows_the_words_of_the_training_clips_alone(described_corpus: Path) -> None:
    config = ModelConfig({"words": TextConfig("text", vocabulary=400)})
    data = EmotionDataModule(config, str(described_corpus), SPLIT)
    data.setup("fit")
    assert data.tokenizer == build_tokenizer(config, [row.text or "" for row in data.split.rows(data.rows, "train")])
    assert data.tokenizer != build_tokenizer(config, [row.text or "" for row in data.rows])


def test_a_checkpoint_answers_the_same_without_its_folder(trained: Path, corpus: PreparedCorpus) -> None:
    predictor, row = Predictor.from_checkpoint(trained, "cpu"), corpus.rows[-1]
    clip = PreparedClip.load(clip_path(corpus.root, row.key), row.key, predictor.card.model.reads)
    answer = predictor.predict_clip(row.key, clip)
    assert answer.modalities == ("text", "mfcc", "tone")
    scored = evaluate_checkpoint(trained, device=CPU, progress=False, degrade=["words_missing"], explain=1)
    place = scored.predictions.key.index(row.key)
    np.testing.assert_allclose(scored.predictions.probabilities[place], list(answer.probabilities.values()), atol=1e-5)
    assert {"text+mfcc", "text", "mfcc", "tone"} <= set(scored.subsets)
    assert {each.kind for each in scored.degraded} == {"words_missing"}
    assert set(scored.explanations[0].modalities) == {"text", "mfcc", "tone"}
    assert set(scored.explanations[0].moments) == {"mfcc"}


def test_a_run_goes_on_with_the_statistics_and_the_words_it_began_with(trained: Path, settings: dict[str, Any]) -> None:
    before, card = read_checkpoint(trained)
    config = trained.parents[2] / "config.yaml"
    assert train(["fit", f"--config={config}", f"--ckpt_path={trained}", "--trainer.max_epochs=3"]) == 0
    after, again = read_checkpoint(trained)
    assert again.epoch > card.epoch
    assert again.tokenizer == card.tokenizer
    assert torch.equal(before.encoders["table"].mean, after.encoders["table"].mean)


@pytest.mark.slow
def test_words_that_say_nothing_of_the_emotion_score_at_chance(settings: dict[str, Any], tmp_path: Path) -> None:
    """RAVDESS's actors say two sentences whatever they feel; whoever scored better would have seen the answers."""
    said = ("Kids are talking by the door", "Dogs are sitting by the door")
    clips = product(range(1, 25), RAVDESS8, said, (1, 2))
    rows = [
        Row(f"{actor}-{label}-{text[0]}-{take}", "ravdess", str(actor), label, text=text)
        for actor, label, text, take in clips
    ]
    root = tmp_path / "data"
    root.mkdir()
    write_settings(root, PrepareConfig())
    write_manifest(root / "manifest.csv", rows)
    model = {**settings["model"]["config"], "streams": {"words": WORDS}}
    data = {**settings["data"], "root": str(root), "split": {"protocol": "contig6"}, "batch_size": 32}
    trainer = {**settings["trainer"], "default_root_dir": str(tmp_path / "run"), "max_epochs": 3}
    changed = {**settings, "model": {"config": model, "optim": {"lr": 0.01}}, "data": data, "trainer": trainer}
    config = tmp_path / "config.yaml"
    config.write_text(yaml.safe_dump(changed, sort_keys=False))
    assert train(["fit", f"--config={config}"]) == 0
    system = evaluate_checkpoint(tmp_path / "run/checkpoints/best.ckpt", device=CPU, progress=False)
    found = measure([system], resamples=500, command="")["systems"][0]["scores"]["uar"]
    assert found["low"] <= 1 / 8 <= found["high"]


# --- prediction


def test_a_sentence_has_an_answer(trained: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert mmer(["predict", "--text", "I am so happy", "--checkpoint", str(trained), "--device", "cpu"]) == 0
    assert capfd.readouterr().out.startswith("I am so happy: ")
    answer = Predictor.from_checkpoint(trained, "cpu").predict_text("I am so happy")
    assert (answer.modalities, answer.seconds, answer.views) == (("text",), 0.0, 1)


def test_words_of_a_file_are_given_or_lie_beside_it(
    trained: Path, tmp_path: Path, odd_media: dict[str, Path], capfd: pytest.CaptureFixture[str]
) -> None:
    predictor, film = Predictor.from_checkpoint(trained, "cpu"), tmp_path / "film.mp4"
    film.write_bytes(odd_media["a face.mp4"].read_bytes())
    wanted = predictor.predict_text("speaker 3").probabilities
    assert predictor.predict(film, text="speaker 3").probabilities == wanted
    arguments = ["predict", str(film), "--checkpoint", str(trained), "--device", "cpu"]
    assert mmer(arguments) == 2
    said = "there is no text to read; --text gives its words, or a .txt, .srt or .vtt file of its name beside it\n"
    assert capfd.readouterr().err.endswith(said)
    film.with_suffix(".txt").write_text("speaker 3")
    assert predictor.predict(film).probabilities == wanted


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "there is nothing to answer for; name files, or give words with --text"),
        (["a.mp4", "b.mp4", "--text", "so"], "--text gives the words of one file and 2 are named; name one, or none"),
        (["--text", " "], "clip  : there are no words to read"),
    ],
)
def test_nothing_to_answer_for_is_one_line(
    trained: Path, arguments: list[str], message: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert mmer(["predict", *arguments, "--checkpoint", str(trained), "--device", "cpu"]) == 2
    assert capfd.readouterr().err == f"mmer: error: {message}\n"


def test_a_model_of_features_alone_has_no_answer_for_a_file(trained: Path, odd_media: dict[str, Path]) -> None:
    predictor = Predictor.from_checkpoint(trained, "cpu")
    said = "nothing but the features mfcc, tone of a clip, and a file holds none; prepare a folder with them and score"
    with pytest.raises(ConfigError, match=said):
        predictor.predict(odd_media["a face.mp4"], ["mfcc", "tone"])
    config = replace(predictor.card.model, streams={"tone": FeaturesConfig("features", "tone", 4)})
    alone = Predictor(build_model(config), replace(predictor.card, model=config), CPU)
    with pytest.raises(ConfigError, match="the model reads nothing but the features tone of a clip"):
        alone.predict(odd_media["a face.mp4"])


# --- mistakes


def test_features_that_the_folder_lacks_are_refused(described_corpus: Path, noise_corpus: Path) -> None:
    model = ModelConfig({"table": FeaturesConfig("features", "gaze", 4)})
    with pytest.raises(
        ConfigError, match=r"reads the features gaze and .* has action_units, .*; prepare it with --fea"
    ):
        EmotionDataModule(model, str(described_corpus), SPLIT).setup("fit")
    with pytest.raises(ConfigError, match=r"the model reads the features gaze and .* has none; prepare it with"):
        EmotionDataModule(model, str(noise_corpus), SPLIT).setup("fit")


def test_features_that_no_training_clip_has_are_refused_before_the_training(
    described_corpus: Path, tmp_path: Path
) -> None:
    root = tmp_path / "data"
    shutil.copytree(described_corpus, root)
    corpus = PreparedCorpus.open(root)
    others = " ".join(name for name in corpus.config.features if name != "tone")
    rows = [row if row.speaker == "24" else replace(row, extra={"features": others}) for row in corpus.rows]
    write_manifest(root / "manifest.csv", rows)
    model = ModelConfig({"voice": WaveCNNConfig("wave_cnn"), "tone": FeaturesConfig("features", "tone", 4)})
    with pytest.raises(ConfigError) as error:
        EmotionDataModule(model, str(root), SPLIT).setup("fit")
    assert str(error.value) == (
        "no clip of the training part has the features tone, and they are standardised by those that have; prepare "
        "training clips with them, choose another split, or leave their streams out"
    )
    EmotionDataModule(model, str(root), SPLIT).setup("test")


def test_a_wrong_width_is_refused_before_a_model_is_built(described_corpus: Path) -> None:
    model = ModelConfig({"table": FeaturesConfig("features", "tone", 5)})
    with pytest.raises(ConfigError, match=r"the features tone of .* are 4 wide and the config says 5"):
        EmotionDataModule(model, str(described_corpus), SPLIT).setup("fit")


def test_streams_of_different_vocabularies_are_refused() -> None:
    model = ModelConfig({"a": TextConfig("text"), "b": TextHFConfig("text_hf", "bert")})
    said = r"the text streams want different vocabularies \(8000 and bert\) and a model has one tokenizer"
    with pytest.raises(ConfigError, match=said):
        build_tokenizer(model, ["words"])


def test_words_that_nobody_says_cannot_be_learned() -> None:
    with pytest.raises(ConfigError, match="the model reads text and no training clip has words"):
        build_tokenizer(ModelConfig({"a": TextConfig("text"), "b": WaveCNNConfig("wave_cnn")}), [" "])


def test_a_model_of_words_without_a_tokenizer_is_refused() -> None:
    with pytest.raises(ConfigError, match="the model reads text and has no tokenizer; train it anew"):
        build_model(ModelConfig({"a": TextConfig("text")}))
