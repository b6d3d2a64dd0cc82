"""Baselines from a prepared folder to their results, as a user types them."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mmer import checkpoint, cli
from mmer.baselines import extra
from mmer.baselines.clips import Clips
from mmer.baselines.inputs import Table
from mmer.baselines.late_forest import deal_roles, read_face
from mmer.baselines.ranking import draw_components, rank_descriptors
from mmer.baselines.run import Work, run_classifier, run_forest_of_both
from mmer.batch import Batch
from mmer.checkpoint import Card
from mmer.config import (
    ClipConfig,
    Face48Config,
    FeaturesConfig,
    MeanFusionConfig,
    ModelConfig,
    PrepareConfig,
    SplitConfig,
    TransformerFusionConfig,
)
from mmer.corpora.leaks import mark_clips
from mmer.corpora.manifest import Row, read_rows, write_manifest
from mmer.corpora.splits import make_split
from mmer.data.clip import PreparedClip
from mmer.data.store import PreparedCorpus, clip_path, write_settings
from mmer.emotions import label_set
from mmer.errors import CheckpointError, ConfigError
from mmer.evaluation.metrics import score
from mmer.evaluation.predictions import Predictions
from mmer.evaluation.system import System
from mmer.media.jpeg import encode_jpeg
from mmer.model import build_model
from tests.baselines.conftest import NAMES, RATE, write_tones

LABELS = ["--labels", "high,low,noise"]
FOLDS = ["--protocol", "contig:3", *LABELS, "--workers", "1", "--resamples", "20"]


def run(*args: object) -> int:
    return cli.main(["baseline", *map(str, args)])


def error_of(capsys: pytest.CaptureFixture[str], *args: object) -> str:
    assert run(*args) == 2
    said = capsys.readouterr().err.splitlines()
    return said[-1]


def work(protocol: str = "contig:3", fold: int | None = None, **options: Any) -> Work:
    return Work(label_set(NAMES), SplitConfig(protocol), fold=fold, progress=False, **options)


def late_forest(corpus: Path, face: str, how: Work) -> System:
    return run_forest_of_both(PreparedCorpus.open(corpus), face, how, torch.device("cpu")).system(how)


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


@pytest.mark.slow
def test_a_baseline_answers_for_the_clips_of_its_protocol(
    tones: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("svm", tones, *FOLDS, "--output", out) == 0
    rows = [row for _, row in read_rows(tones / "manifest.csv", "") if row.audio is not None]
    answers, validation = (Predictions.read(out / name) for name in ("predictions.csv", "validation.csv"))
    assert set(answers.key) == set(validation.key) == {row.key for row in rows}
    for number in (1, 2, 3):
        split = make_split(rows, SplitConfig("contig:3", number))
        in_fold = [np.array(each.fold) == str(number) for each in (answers, validation)]
        assert set(answers.where(in_fold[0]).speaker) == set(split.test)
        assert set(validation.where(in_fold[1]).speaker) == set(split.validation)
    system = json.loads((out / "metrics.json").read_text())["systems"][0]
    assert system["scores"]["uar"]["value"] > 0.9
    assert (system["name"], system["protocol"], system["part"]) == ("svm", "contig:3, 3 folds", "test")
    assert system["source"]["kind"] == "baseline"
    assert "scikit-learn" in system["trained_with"]
    assert system["corpus"]["left_out"] == [{"reason": "without voice", "clips": 1}]
    assert any(note.startswith("fold 1, seed 0: C=") for note in system["notes"])
    said = capsys.readouterr().out
    assert "macro F1" in said
    assert (out / "components.png").read_bytes().startswith(b"\x89PNG")
    with (out / "descriptors.csv").open(newline="") as file:
        ranked = list(csv.DictReader(file))
    assert len(ranked) == 156
    assert ranked[0]["descriptor"] in said
    values = [float(each["f"]) for each in ranked]
    assert values == sorted(values, reverse=True)


def test_a_single_descriptor_has_its_picture(tones: Path) -> None:
    corpus = PreparedCorpus.open(tones)
    clips = Clips.of(corpus, label_set(NAMES), corpus.rows, Table(("valence",), np.arange(36.0)[:, None]))
    (axes,) = draw_components(clips).axes
    assert axes.get_xlabel() == "component 1 (100% of the variance)"
    assert axes.get_ylabel() == "component 2 (0% of the variance)"


def test_descriptors_are_ranked_by_how_well_they_tell_the_classes_apart(tones: Path) -> None:
    corpus = PreparedCorpus.open(tones)
    rng, label = np.random.default_rng(0), np.array([NAMES.index(row.label or "") for row in corpus.rows])
    values = np.stack([rng.normal(0, 1, 36), label + rng.normal(0, 0.3, 36), np.full(36, 2.0)], axis=1)
    clips = Clips.of(corpus, label_set(NAMES), corpus.rows, Table(("noise", "clue", "constant"), values))
    ranked = rank_descriptors(clips, [np.arange(18), np.arange(18, 36)], progress=False)
    assert [each.name for each in ranked] == ["clue", "noise", "constant"]
    assert ranked[0].information > 0.5
    assert ranked[2].f == 0


def test_inputs_that_some_clips_lack_are_said(tones: Path) -> None:
    how = work(fold=1)
    inputs = ("voice", "face_posteriors")
    system = run_classifier(PreparedCorpus.open(tones), "logistic", inputs, how).system(how)
    assert system.name == "logistic voice+face_posteriors"
    assert "1 of 36 clips have no voice: the mean of the training clips stands for it" in system.about["notes"]
    assert (
        "18 of 36 clips have no face_posteriors: the mean of the training clips stands for it"
        in (system.about["notes"])
    )


def test_several_seeds_answer_for_every_clip_each(tones: Path) -> None:
    how = work(fold=2, seeds=(0, 7))
    answers = run_classifier(PreparedCorpus.open(tones), "forest", ("face_posteriors",), how).system(how).predictions
    assert set(answers.seed) == {"0", "7"}
    assert set(answers.fold) == {"2"}
    assert len(answers) == 2 * len(set(answers.key))


def test_a_leak_marks_every_answer(tones: Path) -> None:
    how = work("random_leaky", fold=1)
    system = run_classifier(PreparedCorpus.open(tones), "logistic", ("face_posteriors",), how).system(how)
    assert system.predictions.leaky
    assert system.about["leaks"]


def test_a_forest_of_both_learns_from_other_speakers_than_the_voice(tmp_path: Path) -> None:
    tones = write_tones(tmp_path / "actors", [1, 5, 6, 9, 13, 14, 17, 21, 22])
    system = late_forest(tones, "face_posteriors", work("mitseas", fold=1))
    said = "fold 1: 1 tested; 17, 21, 22 trained the voice, 5, 6, 9, 13, 14 the forest"
    assert said in system.about["notes"]
    assert score(system.predictions)["uar"] > 0.6


def test_folds_that_a_partial_copy_cannot_fill_are_said(tmp_path: Path) -> None:
    rows = PreparedCorpus.open(write_tones(tmp_path / "actors", [1, 5, 13, 17])).rows
    roles, empty = deal_roles(rows, SplitConfig("mitseas"))
    assert [each.fold.number for each in roles] == [1, 2, 4, 5]
    assert [reason.partition(",")[0] for reason in empty] == [
        f"mitseas fold {i}: the test part is empty" for i in (3, 6)
    ]


def test_validation_speakers_train_the_forest_of_any_other_protocol(tones: Path) -> None:
    system = late_forest(tones, "face_posteriors", work(fold=3))
    assert "fold 3: 5, 6 tested; 3, 4 trained the voice, 1, 2 the forest" in system.about["notes"]


def test_a_table_of_answers_is_a_face(tones: Path, tmp_path: Path) -> None:
    rows = [row for _, row in read_rows(tones / "manifest.csv", "")]
    table, names = tmp_path / "face.csv", ("smile", "frown")
    keys = tuple(row.key for row in rows if row.speaker != "6")
    half = np.full((len(keys), 2), 0.5)
    Predictions(names, keys, ("",) * len(keys), np.zeros(len(keys), np.int64), half).write(table)
    found = read_face(PreparedCorpus.open(tones), rows, str(table), torch.device("cpu"))
    assert found.names == ("face smile", "face frown")
    assert np.isfinite(found.values).all(axis=1).sum() == 30


@pytest.fixture
def face_of(tones: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Table]:
    """What a checkpoint of a face says of the tones' clips: ``face_of(stream, changes of its card)``."""

    def read(stream: str, **changes: Any) -> Table:
        face = FeaturesConfig("features", stream, 3)
        config = ModelConfig({"face": face}, ("a", "b"), fusion=TransformerFusionConfig(dim=16, depth=1, heads=2))
        card = Card(config, PrepareConfig(features=(stream,)), SplitConfig(), "", "", {}, ["fer2013"])
        monkeypatch.setattr(checkpoint, "read_checkpoint", lambda path: (build_model(config), replace(card, **changes)))
        (tmp_path / "face.ckpt").touch()
        prepared = PreparedCorpus.open(tones)
        return read_face(prepared, prepared.rows, str(tmp_path / "face.ckpt"), torch.device("cpu"))

    return read


def test_a_checkpoint_of_another_corpus_is_a_face_of_the_clips_that_have_what_it_reads(
    face_of: Callable[..., Table], tones: Path
) -> None:
    found = face_of("face_posteriors").values
    there = [row.has("face_posteriors") for row in PreparedCorpus.open(tones).rows]
    assert 0 < sum(there) < len(there)
    np.testing.assert_allclose(found[there].sum(axis=1), 1)
    assert np.isnan(found[np.logical_not(there)]).all()


def test_a_checkpoint_that_knows_the_clips_is_no_face(face_of: Callable[..., Table], tones: Path) -> None:
    with pytest.raises(CheckpointError, match="has learned from ravdess, whose clips are combined here"):
        face_of("face_posteriors", corpora=["ravdess"])
    marks = mark_clips(PreparedCorpus.open(tones).rows[:2])
    with pytest.raises(CheckpointError, match=r"face.ckpt has learned from clips 01-0-.*, which are combined here"):
        face_of("face_posteriors", marks=marks)


def test_a_checkpoint_that_can_read_nothing_of_the_clips_is_no_face(face_of: Callable[..., Table]) -> None:
    with pytest.raises(ConfigError, match=r"face\.ckpt reads mfcc, and no clip of .* has that; prepare clips that do"):
        face_of("mfcc")


def test_a_network_of_single_pictures_sees_all_frames_of_a_clip(tmp_path: Path) -> None:
    rng, root = np.random.default_rng(0), tmp_path / "faces"
    (root / "clips").mkdir(parents=True)
    write_settings(root, PrepareConfig(size=48))
    frames = rng.integers(0, 256, (50, 1, 1, 3), dtype=np.uint8).repeat(48, 1).repeat(48, 2)
    images = [encode_jpeg(frame, 95) for frame in frames]
    sizes = np.array([len(image) for image in images], np.int64)
    path = clip_path(root, "moving")
    PreparedClip(np.arange(50) / 25, sizes, np.concatenate(images), None, RATE).save(path)
    write_manifest(root / "manifest.csv", [Row("moving", "ravdess", "1", "low", video=path)])
    config = ModelConfig(
        {"face": Face48Config("face48")}, ("a", "b", "c"), ClipConfig(1.0, frames=1), MeanFusionConfig("mean", dim=8)
    )
    torch.manual_seed(0)
    model = build_model(config).eval()
    weights = {f"model.{name}": value for name, value in model.state_dict().items()}
    card = Card(config, PrepareConfig(size=48), SplitConfig(), "", "", {}, ["fer2013"])
    torch.save({checkpoint.CARD: card.to_plain(), "state_dict": weights}, tmp_path / "face.ckpt")
    corpus = PreparedCorpus.open(root)
    found = read_face(corpus, corpus.rows, str(tmp_path / "face.ckpt"), torch.device("cpu")).values[0]
    pictures = torch.from_numpy(frames).permute(0, 3, 1, 2)[:, None]
    with torch.no_grad():
        each = model(Batch(("",) * 50, video=pictures, video_mask=torch.ones(50, 1) > 0)).logits.softmax(dim=1)
    assert each.std(dim=0).min() > 1e-3, "frames differ"
    np.testing.assert_allclose(found, each.mean(dim=0), atol=2e-3)  # a JPEG is not quite the picture
    one = each[[12, 37]].mean(dim=0)
    assert np.abs(found - one.numpy()).max() > 5e-3, "two frames of a clip of 2 s would have said this"


@pytest.mark.parametrize(
    ("args", "error"),
    [
        (["svm", "--protocol", "contig:3"], r"labels 'high' \(12\).* are not in the label set ravdess8"),
        (["svm", *FOLDS, "--features", "words"], "no stream 'words'; read some of: voice, face_posteriors"),
        (["svm", *FOLDS, "--fold", "4"], "contig:3 has the folds 1 to 3, not 4"),
        (["late_forest", *FOLDS, "--face", "face_posteriors", "--fold", "4"], "contig:3 has the folds 1 to 3, not 4"),
        (
            ["late_forest", *LABELS, "--protocol", "mitseas", "--face", "face_posteriors", "--fold", "6"],
            "mitseas fold 6: the train part is empty, for it is speakers",
        ),
        (
            ["late_forest", *FOLDS, "--face", "out/predictions.csv", "--output", "out"],
            "--face out/predictions.csv lies where the report writes its answers; name another --output",
        ),
        (["svm", *FOLDS, "--cache", "."], "--cache . cannot be written; name a file in a folder that exists"),
        (["late_forest", *FOLDS, "--face", "nobody"], r"--face nobody is no stream of .*\(it has: face_posteriors\)"),
        (["svm", *LABELS, "--protocol", "mitseas"], "protocol 'mitseas' is that of 'mmer baseline late_forest' alone"),
        (
            ["late_forest", *LABELS, "--protocol", "speakers", "--test", "1", "--face", "face_posteriors"],
            "speakers leaves nobody to train the forest in fold 1",
        ),
        (
            ["svm", *LABELS, "--protocol", "speakers", "--test", "1", "--train", "2"],
            "a support vector machine wants at least two speakers",
        ),
    ],
)
def test_a_mistake_is_one_line_and_nothing_is_written(
    args: list[str], error: str, tones: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kind, *rest = args
    said = error_of(capsys, kind, tones, "--output", out, *rest)
    assert said.startswith("mmer: error: ")
    assert re.search(error, said)
    assert not out.exists()


@pytest.mark.parametrize("kind", ["svm", "late_forest"])
def test_help_lists_the_protocols_that_a_baseline_takes(kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        run(kind, "--help")
    said = " ".join(capsys.readouterr().out.split())
    assert ("--protocol PROTOCOL mitseas, contig6, " in said) == (kind == "late_forest")
    assert ("mitseas:audio" in said) == (kind == "svm")
    assert "loso, contig:K" in said


def test_clips_of_one_class_teach_nothing(tones: Path, out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [row for _, row in read_rows(tones / "manifest.csv", "")]
    write_manifest(tones / "manifest.csv", [row for row in rows if row.label == "low" or row.speaker in ("1", "2")])
    said = error_of(capsys, "logistic", tones, *FOLDS, "--fold", 1, "--output", out)
    assert "contig:3 fold 1: there are 4 clips to learn from, and a classifier wants two classes" in said


def test_a_table_that_answers_for_nobody_is_refused(
    tones: Path, out: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], answering: Any
) -> None:
    answering(["1"], 0.5, 0).write(tmp_path / "face.csv")
    said = error_of(capsys, "late_forest", tones, *FOLDS, "--face", tmp_path / "face.csv", "--output", out)
    assert "answers for none of the 36 clips" in said
    (tmp_path / "face.csv").write_text("key,seed,label,a,b\nx,0,a,1,0\nx,1,a,1,0\n")
    said = error_of(capsys, "late_forest", tones, *FOLDS, "--face", tmp_path / "face.csv", "--output", out)
    assert "answers for clips more than once, for several seeds; give a table of one" in said


def test_no_clip_of_the_classes_is_refused(tones: Path, out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [row for _, row in read_rows(tones / "manifest.csv", "")]
    write_manifest(tones / "manifest.csv", [])
    assert "holds no clip with a label of custom" in error_of(capsys, "svm", tones, *FOLDS, "--output", out)
    write_manifest(tones / "manifest.csv", rows)
    out.write_text("")
    assert f"--output {out} is a file; name a folder" in error_of(capsys, "svm", tones, *FOLDS, "--output", out)
    said = error_of(capsys, "svm", tones, *FOLDS, "--output", out / "below")
    assert f"--output {out / 'below'} cannot be made: {out} is no folder that may be written to; name another" in said


def test_a_missing_library_is_named_with_its_extra(
    tones: Path, out: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(extra, "find_spec", lambda module: None)
    said = error_of(capsys, "svm", tones, *FOLDS, "--output", out)
    assert said == "mmer: error: this needs librosa and scikit-learn: pip install 'mmer[baselines]'"


def test_features_are_written(tones: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "mfcc.npz"
    assert cli.main(["features", str(tones), str(path), "--workers", "1"]) == 0
    assert f"35 clips described: {path}; next: mmer prepare ... --features mfcc={path}" in capsys.readouterr().out
    assert cli.main(["features", str(tones), str(tmp_path / "mfcc.csv")]) == 2
    assert "name a file that ends in .npz, in a folder that exists" in capsys.readouterr().err
