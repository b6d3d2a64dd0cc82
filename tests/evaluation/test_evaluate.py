"""What a checkpoint is scored on: the clips of its own split alone, and who leaks is told."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mmer.calibration import Calibration
from mmer.checkpoint import CARD, Card, checkpoint_hash
from mmer.cli import evaluate, main
from mmer.config import ClipConfig, ModelConfig, PrepareConfig, SplitConfig, TransformerFusionConfig, WaveCNNConfig
from mmer.corpora.catalogue import describe_corpora
from mmer.corpora.manifest import Row, write_manifest
from mmer.corpora.splits import AT_RANDOM, make_split
from mmer.data.clip import PreparedClip
from mmer.data.store import clip_path, write_settings
from mmer.errors import ConfigError, CorpusError, SplitError
from mmer.evaluation.evaluate import evaluate_checkpoint, surest
from mmer.evaluation.measure import measure
from mmer.evaluation.metrics import score as score_all
from mmer.evaluation.predictions import Predictions
from mmer.evaluation.results import number_names, system_name
from mmer.evaluation.system import System
from mmer.inference.predictor import Predictor
from mmer.media.write import write_clip
from mmer.model import build_model

MODEL = ModelConfig(
    {"voice": WaveCNNConfig("wave_cnn", variant="tiny")},
    labels=("no", "yes"),
    clip=ClipConfig(seconds=0.2),
    fusion=TransformerFusionConfig(dim=16, depth=1, heads=2),
)
PREPARE = PrepareConfig(size=64)
HOME = [Row(f"clip{i}", "home", str(i % 6), MODEL.labels[i % 2]) for i in range(12)]
WORDS = dict(zip(range(12), ["train"] * 6 + ["dev"] * 2 + ["test"] * 3 + [""], strict=True))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return prepared(tmp_path / "home", HOME)


def prepared(root: Path, rows: list[Row], config: PrepareConfig = PREPARE) -> Path:
    """Write a prepared folder of noise."""
    (root / "clips").mkdir(parents=True)
    rng = np.random.default_rng(0)
    for row in rows:
        clip = PreparedClip(
            times=np.zeros(0),
            sizes=np.zeros(0, np.int64),
            jpeg=np.zeros(0, np.uint8),
            audio=rng.normal(0, 0.1, 3200).astype(np.float32),
            sample_rate=16_000,
        )
        clip.save(clip_path(root, row.key))
    write_manifest(root / "manifest.csv", [replace(row, audio=clip_path(root, row.key)) for row in rows])
    write_settings(root, config)
    return root


def checkpoint(root: Path, rows: list[Row], split: SplitConfig, **changes: Any) -> Path:
    """Write an untrained checkpoint whose card is that of a training on some rows."""
    card = Card.of_split(
        make_split(rows, split), rows, model=MODEL, prepare=PREPARE, split=split, root=str(root), **changes
    )
    torch.manual_seed(0)
    weights = {f"model.{name}": value for name, value in build_model(MODEL, load=False).state_dict().items()}
    path = root.parent / "best.ckpt"
    torch.save({CARD: card.to_plain(), "state_dict": weights}, path)
    return path


def score(path: Path, root: Path | None = None, part: Any = "test", **settings: Any) -> System:
    return evaluate_checkpoint(path, root, part, device=torch.device("cpu"), progress=False, **settings)


def dealt(words: dict[int, str], **extra: str) -> list[Row]:
    return [replace(row, extra={"split": words[i], **extra} if words[i] else extra) for i, row in enumerate(HOME)]


TABLE = SplitConfig("table", allow_leak=True)


def test_a_split_of_clips_is_scored_by_its_keys(folder: Path) -> None:
    path = checkpoint(folder, dealt(WORDS), TABLE)
    parts = {part: score(path, part=part).predictions.key for part in ("train", "validation", "test")}
    assert parts == {
        "train": tuple(f"clip{i}" for i in range(6)),
        "validation": ("clip6", "clip7"),
        "test": ("clip8", "clip9", "clip10"),
    }


def test_what_was_trained_on_is_never_a_test_whatever_the_table_says_now(folder: Path) -> None:
    path = checkpoint(folder, dealt(WORDS), TABLE)
    moved = [replace(row, extra={"split": "test"}) for row in HOME]
    write_manifest(
        folder / "manifest.csv", [replace(row, audio=clip_path(folder, row.key)) for row in (*moved, new(moved[0]))]
    )
    assert score(path).predictions.key == ("clip8", "clip9", "clip10")


def new(row: Row) -> Row:
    return replace(row, key="new")


def test_a_split_of_speakers_is_scored_by_its_speakers(folder: Path) -> None:
    found = score(checkpoint(folder, HOME, SplitConfig("speakers", test=(1, 4), validation=(2,))))
    assert found.predictions.key == ("clip1", "clip4", "clip7", "clip10")
    assert found.about["speakers"]["scored"] == ["1", "4"]
    assert (found.about["leaks"], found.about["notes"]) == ([], [])


def test_a_clip_that_was_dropped_as_a_duplicate_is_not_scored(folder: Path) -> None:
    rows = [replace(row, extra={"sound": "f00" if i in (0, 1) else str(i)}) for i, row in enumerate(HOME)]
    found = score(checkpoint(folder, rows, SplitConfig("speakers", test=(1,), duplicates="drop")))
    assert found.predictions.key == ("clip7",)  # clip1's sound is that of clip0, which was trained on
    assert found.about["notes"] == [
        "1 clips are left out, for their sound is that of another, to the sample: clip0 = clip1"
    ]


# --- several corpora


AWAY = [Row(f"far{i}", "away", str(i % 3), MODEL.labels[i % 2]) for i in range(6)]


def test_a_corpus_that_was_never_trained_on_is_scored_whole(folder: Path, tmp_path: Path) -> None:
    path = checkpoint(folder, HOME, SplitConfig("speakers", test=(1,)))
    found = score(path, prepared(tmp_path / "away", AWAY))
    assert found.predictions.key == tuple(row.key for row in AWAY)
    assert found.about["protocol"] == "all of a corpus that was not trained on"
    assert found.about["speakers"]["scored"] == ["0", "1", "2"]


def test_people_of_several_new_corpora_are_told_apart(folder: Path, tmp_path: Path) -> None:
    path = checkpoint(folder, HOME, SplitConfig("speakers", test=(1,)))
    rows = [*AWAY, Row("moon", "moon", "2", "no")]
    found = score(path, prepared(tmp_path / "away", rows))
    assert found.about["speakers"]["scored"] == ["away:0", "away:1", "away:2", "moon:2"]


def test_its_training_part_is_nobody_s(folder: Path, tmp_path: Path) -> None:
    path = checkpoint(folder, HOME, SplitConfig("speakers", test=(1,)))
    with pytest.raises(
        SplitError,
        match="the validation part has no clip that the model can use, with audio and one of its labels; name",
    ):
        score(path, prepared(tmp_path / "away", AWAY), "validation")


def test_beside_the_trained_corpus_another_is_left_out_and_counted(folder: Path, tmp_path: Path) -> None:
    """Its speaker 1 is not the one who was kept for the test."""
    path = checkpoint(folder, HOME, SplitConfig("speakers", test=(1,)))
    found = score(path, prepared(tmp_path / "both", [*HOME, *AWAY]))
    assert found.predictions.key == ("clip1", "clip7")
    assert found.about["corpus"]["left_out"] == [
        {"reason": "of a corpus that the checkpoint was not trained on", "clips": 6}
    ]


def test_people_of_several_corpora_are_told_apart(tmp_path: Path) -> None:
    rows = [*HOME, *AWAY]
    root = prepared(tmp_path / "both", rows)
    found = score(checkpoint(root, rows, SplitConfig("speakers", test=("home:1", "away:2"))))
    assert found.predictions.key == ("clip1", "clip7", "far2", "far5")
    assert found.predictions.speaker == ("home:1", "home:1", "away:2", "away:2")
    assert found.about["speakers"]["scored"] == ["away:2", "home:1"]
    assert measure([found], resamples=10)["systems"][0]["scores"]["unit"] == "speaker"


def test_a_corpus_that_was_renamed_is_still_known(folder: Path, tmp_path: Path) -> None:
    """Of the renamed clips only those of the old test part may be scored, whatever their keys and speakers are now."""
    rows = [replace(row, extra={"sound": f"s{i}"}) for i, row in enumerate(HOME)]
    path = checkpoint(folder, rows, SplitConfig("speakers", test=(1,), validation=(2,)))
    again = [replace(row, key=f"new{i}", corpus="renamed", speaker=f"who{i}") for i, row in enumerate(rows)]
    found = score(path, prepared(tmp_path / "again", again))
    assert found.predictions.key == ("new1", "new7")
    assert found.about["notes"] == [
        "10 clips are left out, for the checkpoint has learned from them or their takes: new0, new10, new11, new2, "
        "new3 and 5 more (10 in all)"
    ]
    with pytest.raises(
        SplitError, match=r"has no clip that the model can use, with audio and one of its labels \(1 clips are left out"
    ):
        score(path, prepared(tmp_path / "one", again[:1]))


def test_a_corpus_in_another_case_is_no_other_corpus(folder: Path, tmp_path: Path) -> None:
    path = checkpoint(folder, HOME, SplitConfig("speakers", test=(1,)))
    with pytest.raises(SplitError, match="speakers: the test part has no clip"):
        score(path, prepared(tmp_path / "again", [replace(row, corpus="Home") for row in HOME]))


def test_a_copy_that_took_no_part_is_not_scored_under_another_key(folder: Path, tmp_path: Path) -> None:
    rows = [replace(row, extra={"sound": "f00" if i in (0, 1) else str(i)}) for i, row in enumerate(HOME)]
    path = checkpoint(folder, rows, SplitConfig("speakers", test=(1,), duplicates="drop"))
    again = prepared(tmp_path / "again", [replace(row, key=f"home/{row.key}") for row in rows])
    found = score(path, again)
    assert found.predictions.key == ("home/clip7",)
    assert found.about["notes"][-1].startswith("1 clips are left out, for the checkpoint has learned from them")


def test_a_clip_that_is_scored_twice_is_told(folder: Path, tmp_path: Path) -> None:
    path = checkpoint(folder, HOME, SplitConfig("speakers", test=(1,)))
    rows = [*HOME, Row("more", "home", "1", "yes")]
    rows = [replace(row, extra={"sound": "f00"}) if row.key in ("clip1", "more") else row for row in rows]
    assert score(path, prepared(tmp_path / "more", rows)).about["notes"] == [
        "1 sounds are scored under several keys: clip1 = more"
    ]


def test_speakers_of_another_corpus_who_are_called_as_known_ones_are_told(folder: Path, tmp_path: Path) -> None:
    path = checkpoint(folder, HOME, SplitConfig("speakers", test=(1,), train=(2,)))
    assert score(path, prepared(tmp_path / "away", AWAY)).about["notes"] == [
        "speakers 2 are called as speakers whom the checkpoint has learned from; if they are the same people, the "
        "scores are too high"
    ]


# --- the preparation


def test_only_what_the_model_reads_must_be_prepared_alike(folder: Path, tmp_path: Path) -> None:
    path = checkpoint(folder, HOME, SplitConfig("speakers", test=(1,)))
    assert len(score(path, prepared(tmp_path / "small", HOME, replace(PREPARE, size=32))).predictions) == 2
    slow = prepared(tmp_path / "slow", HOME, replace(PREPARE, sample_rate=8000))
    with pytest.raises(
        CorpusError, match=r"is not prepared as the checkpoint's clips were: sample_rate=16000 \(now 8000\)"
    ):
        score(path, slow)


# --- what is known of a checkpoint


def test_a_checkpoint_says_what_it_is_and_on_what_it_was_scored(folder: Path) -> None:
    path = checkpoint(folder, HOME, SplitConfig("speakers", test=(1,), validation=(2,)), seed=7, epoch=3)
    about = score(path).about
    assert about["source"] == {"kind": "checkpoint", "path": str(path), "sha256": checkpoint_hash(path), "epoch": 3}
    assert (about["protocol"], about["part"], about["seeds"]) == ("speakers", "test", [7])
    assert about["speakers"] == {"train": ["0", "3", "4", "5"], "validation": ["2"], "scored": ["1"]}
    assert about["model"]["modalities"] == ["audio"]
    assert about["model"]["streams"] == {"voice": "wave_cnn"}
    assert about["model"]["parameters"] == sum(x.numel() for x in build_model(MODEL, load=False).parameters())
    assert about["corpus"]["root"] == str(folder)
    assert about["calibration"] is None


def test_a_corpus_has_its_owner_s_licence_and_an_unknown_one_none() -> None:
    assert describe_corpora(["ravdess", "home"])["licences"] == {"home": None, "ravdess": "CC BY-NC-SA 4.0"}
    assert not describe_corpora(["ravdess"])["synthetic"]
    assert describe_corpora(["demo"])["synthetic"]


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("runs/wave/checkpoints/best.ckpt", "wave"),
        ("runs/wave/checkpoints/last.ckpt", "wave last"),
        ("wave.ckpt", "wave"),
        ("report/predictions.csv", "report"),
        ("report/svm.csv", "svm"),
    ],
)
def test_a_system_is_called_by_its_run_its_report_or_its_file(path: str, name: str) -> None:
    assert system_name(Path(path)) == name


def test_names_that_are_taken_are_numbered_whatever_their_case() -> None:
    assert number_names(["wave", "Wave", "svm", "wave", "wave 2"]) == ["wave", "Wave 2", "svm", "wave 3", "wave 2 2"]


def test_a_calibrated_checkpoint_answers_as_its_predictor_does(folder: Path) -> None:
    calibration = Calibration("temperature", (3.0,), speakers=["2"], clips=2)
    split = SplitConfig("speakers", test=(1, 4))
    plain = score(checkpoint(folder, HOME, split))
    path = checkpoint(folder, HOME, split, calibration=calibration)
    found = score(path, degrade=["audio_noise"])
    np.testing.assert_allclose(found.predictions.probabilities, calibration.apply(plain.predictions.probabilities))
    predictor = Predictor.from_checkpoint(path, "cpu")
    for key, answer in zip(found.predictions.key, found.predictions.probabilities, strict=True):
        prepared = PreparedClip.load(clip_path(folder, key), key, ("audio",))
        named = predictor.predict_clip(key, prepared).probabilities
        np.testing.assert_allclose(answer, list(named.values()), rtol=1e-5)
    np.testing.assert_allclose(found.degraded[0].predictions.probabilities, found.predictions.probabilities, rtol=1e-5)
    told = found.about["calibration"]
    assert (told["method"], told["scale"], told["speakers"], told["clips"]) == ("temperature", [3.0], ["2"], 2)
    assert told["before"] == {
        name: value for name, value in score_all(plain.predictions).items() if name in told["before"]
    }
    assert set(told["before"]) == {"ece", "brier", "log_loss"}
    np.testing.assert_array_equal(score(path, raw=True).predictions.probabilities, plain.predictions.probabilities)


def test_a_checkpoint_is_scored_on_clips_made_worse(folder: Path) -> None:
    found = score(checkpoint(folder, HOME, SplitConfig("speakers", test=(1, 4))), degrade=["all"])
    assert [(each.kind, each.level) for each in found.degraded] == [
        ("audio_noise", level) for level in (None, 20, 10, 5, 0, -5)
    ]
    assert {each.predictions.key for each in found.degraded} == {("clip1", "clip4", "clip7", "clip10")}
    assert score(checkpoint(folder, HOME, SplitConfig("speakers", test=(1,)))).degraded == []


def test_a_harm_to_what_it_does_not_read_is_refused_before_anything_runs(folder: Path) -> None:
    path = checkpoint(folder, HOME, SplitConfig("speakers", test=(1, 4)))
    with pytest.raises(ConfigError, match="degradation face_blur is one of video and the model reads audio"):
        score(path, Path("nowhere"), degrade=["face_blur"])


def test_the_surest_wrong_and_right_answers_are_explained(folder: Path) -> None:
    path = checkpoint(folder, HOME, SplitConfig("speakers", test=(0, 1, 2, 3), train=(4,)))
    found = score(path, explain=4)
    answers = found.predictions
    sure, right = answers.probabilities.max(axis=1), answers.predicted == answers.label
    expected = [
        answers.key[i]
        for hit in (False, True)
        for i in sorted(np.flatnonzero(right == hit), key=lambda i: -sure[i])[:2]
    ]
    assert [each.key for each in found.explanations] == expected
    for each in found.explanations:
        assert each.label == answers.names[answers.label[answers.key.index(each.key)]]
        assert set(each.modalities) == {"audio"}


@pytest.mark.parametrize(
    ("right", "most", "chosen"),
    [("1010", 2, [1, 0]), ("1111", 3, [0, 1, 2]), ("0000", 3, [0, 1, 2]), ("0111", 4, [0, 1, 2, 3]), ("10", 9, [1, 0])],
)
def test_where_there_are_too_few_wrong_or_right_ones_the_others_take_their_place(
    right: str, most: int, chosen: list[int]
) -> None:
    sure = np.linspace(0.9, 0.6, len(right))
    label = np.array([int(each == "0") for each in right])
    keys = tuple(map(str, range(len(right))))
    answers = Predictions(("a", "b"), keys, ("",) * len(right), label, np.stack([sure, 1 - sure], axis=1))
    assert surest(answers, most) == chosen


# --- another split than the checkpoint's own


def test_another_split_is_scored_and_an_allowed_leak_marks_every_answer(folder: Path) -> None:
    path = checkpoint(folder, HOME, SplitConfig("speakers", test=(1, 4), validation=(2,)))
    honest = score(path, split=SplitConfig("speakers", test=(4,), train=(0,)))
    assert (honest.predictions.key, honest.predictions.leaky) == (("clip4", "clip10"), False)
    with pytest.raises(SplitError, match="the checkpoint has learned from speakers 0 or was chosen on them"):
        score(path, split=SplitConfig("speakers", test=(0,)))
    leaky = score(path, split=SplitConfig("speakers", test=(0,), allow_leak=True), degrade=["all"])
    assert leaky.about["leaks"] == ["the checkpoint has learned from speakers 0 or was chosen on them"]
    assert leaky.predictions.leaky
    assert all(each.leaky for each in leaky.subsets.values())
    assert all(each.predictions.leaky for each in leaky.degraded)


# --- what leaks is told everywhere


@pytest.fixture
def leaky(folder: Path) -> Path:
    return checkpoint(folder, HOME, SplitConfig("random_leaky", seed=3))


def test_a_leak_is_in_the_metrics(leaky: Path) -> None:
    leaks = score(leaky).about["leaks"]
    assert leaks[0] == AT_RANDOM
    assert any(leak.startswith("speakers ") for leak in leaks)


def test_a_leak_follows_a_checkpoint_to_another_corpus(leaky: Path, tmp_path: Path) -> None:
    assert score(leaky, prepared(tmp_path / "away", AWAY)).about["leaks"][0] == AT_RANDOM


def test_a_leak_is_printed_and_reported(leaky: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert evaluate([f"--checkpoint={leaky}", f"--output={tmp_path / 'out'}", "--device=cpu"]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith(f"LEAKY split, the scores are too high: {AT_RANDOM}")
    assert "\x1b" not in printed, "no colours in a file"
    page = (tmp_path / "out/index.html").read_text()
    assert "LEAKY SPLIT: these scores are too high" in page
    lines = (tmp_path / "out/predictions.csv").read_text().splitlines()
    assert lines[0].endswith(",leaky") and all(line.endswith(",yes") for line in lines[1:])
    assert AT_RANDOM in page


def test_a_leak_is_red_on_a_terminal(
    leaky: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    command = [f"--checkpoint={leaky}", f"--output={tmp_path / 'out'}", "--device=cpu"]
    assert evaluate(command) == 0
    assert capsys.readouterr().out.startswith("\x1b[1;31mLEAKY split")
    monkeypatch.setenv("NO_COLOR", "1")
    assert evaluate(command) == 0
    assert capsys.readouterr().out.startswith("LEAKY split")


def test_an_answer_of_a_leaky_checkpoint_comes_with_a_warning(
    leaky: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    voice = tmp_path / "voice.wav"
    write_clip(voice, None, samples=np.full(8000, 0.1, np.float32), sample_rate=16_000, audio_codec="pcm_s16le")
    assert main(["predict", str(voice), f"--checkpoint={leaky}", "--device=cpu"]) == 0
    said = capsys.readouterr().err
    assert f"mmer: warning: chosen under a leaky split, so it is worse than its scores: {AT_RANDOM}" in said


def test_an_honest_checkpoint_is_not_blamed(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = checkpoint(folder, HOME, SplitConfig("speakers", test=(1, 2)))
    assert evaluate([f"--checkpoint={path}", f"--output={tmp_path / 'out'}", "--device=cpu"]) == 0
    printed = capsys.readouterr().out
    assert "leak" not in printed.lower()
    assert "speakers, test speakers 1, 2\n" in printed
    assert "leaky" not in (tmp_path / "out/predictions.csv").read_text()


def test_what_is_no_test_is_printed_as_none(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = checkpoint(folder, HOME, SplitConfig("speakers", test=(1, 2)))
    run = [f"--checkpoint={path}", f"--output={tmp_path / 'out'}", "--device=cpu"]
    assert evaluate([*run, "--data.part=train"]) == 0
    assert "NOT A TEST: the train part took part in making the checkpoint\n" in capsys.readouterr().out
    assert evaluate(run) == 0
    assert "NOT A TEST" not in capsys.readouterr().out


def test_clips_of_nobody_are_scored_one_by_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [replace(row, speaker=None) for row in dealt(WORDS)]
    root = prepared(tmp_path / "nobody", rows)
    path = checkpoint(root, rows, SplitConfig("table"))
    assert evaluate([f"--checkpoint={path}", f"--output={tmp_path / 'out'}", "--device=cpu"]) == 0
    printed = capsys.readouterr().out
    assert "table, column split, test clips\n" in printed
    assert "note: the speakers of 11 clips are unknown: that the parts share nobody cannot be checked\n" in printed
