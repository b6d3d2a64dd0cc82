"""What a checkpoint is scored on: the clips of its own split alone, and who leaks is told."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mmer.checkpoint import CARD, Card
from mmer.cli import evaluate, main
from mmer.config import ClipConfig, FusionConfig, ModelConfig, PrepareConfig, SplitConfig, WaveCNNConfig
from mmer.corpora.manifest import Row, write_manifest
from mmer.corpora.splits import AT_RANDOM, make_split
from mmer.data.store import PreparedClip, clip_path, write_settings
from mmer.errors import CorpusError, SplitError
from mmer.evaluation.evaluate import Evaluation, evaluate_checkpoint
from mmer.media.write import write_clip
from mmer.model import build_model

MODEL = ModelConfig(
    {"voice": WaveCNNConfig("wave_cnn", variant="tiny")},
    labels=("no", "yes"),
    clip=ClipConfig(seconds=0.2),
    fusion=FusionConfig(dim=16, depth=1, heads=2),
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


def score(path: Path, root: Path | None = None, part: Any = "test") -> Evaluation:
    return evaluate_checkpoint(path, root, part, device=torch.device("cpu"), progress=False)


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
    assert found.metrics["speakers"]["scored"] == ["1", "4"]
    assert (found.metrics["leaks"], found.metrics["notes"]) == ([], [])


def test_a_clip_that_was_dropped_as_a_duplicate_is_not_scored(folder: Path) -> None:
    rows = [replace(row, extra={"sound": "f00" if i in (0, 1) else str(i)}) for i, row in enumerate(HOME)]
    found = score(checkpoint(folder, rows, SplitConfig("speakers", test=(1,), duplicates="drop")))
    assert found.predictions.key == ("clip7",)  # clip1's sound is that of clip0, which was trained on
    assert found.metrics["notes"] == [
        "1 clips are left out, for their sound is that of another, to the sample: clip0 = clip1"
    ]


# --- several corpora


AWAY = [Row(f"far{i}", "away", str(i % 3), MODEL.labels[i % 2]) for i in range(6)]


def test_a_corpus_that_was_never_trained_on_is_scored_whole(folder: Path, tmp_path: Path) -> None:
    path = checkpoint(folder, HOME, SplitConfig("speakers", test=(1,)))
    found = score(path, prepared(tmp_path / "away", AWAY))
    assert found.predictions.key == tuple(row.key for row in AWAY)
    assert found.metrics["protocol"] == "all of a corpus that was not trained on"
    assert found.metrics["speakers"]["scored"] == ["0", "1", "2"]


def test_people_of_several_new_corpora_are_told_apart(folder: Path, tmp_path: Path) -> None:
    path = checkpoint(folder, HOME, SplitConfig("speakers", test=(1,)))
    rows = [*AWAY, Row("moon", "moon", "2", "no")]
    found = score(path, prepared(tmp_path / "away", rows))
    assert found.metrics["speakers"]["scored"] == ["away:0", "away:1", "away:2", "moon:2"]


def test_its_training_part_is_nobody_s(folder: Path, tmp_path: Path) -> None:
    path = checkpoint(folder, HOME, SplitConfig("speakers", test=(1,)))
    with pytest.raises(
        SplitError, match="speakers: the validation part has no clip that the model can use; name another"
    ):
        score(path, prepared(tmp_path / "away", AWAY), "validation")


def test_beside_the_trained_corpus_another_is_left_out_and_counted(folder: Path, tmp_path: Path) -> None:
    """Its speaker 1 is not the one who was kept for the test."""
    path = checkpoint(folder, HOME, SplitConfig("speakers", test=(1,)))
    found = score(path, prepared(tmp_path / "both", [*HOME, *AWAY]))
    assert found.predictions.key == ("clip1", "clip7")
    assert found.metrics["corpus"]["left_out_as_another_corpus"] == 6


def test_people_of_several_corpora_are_told_apart(tmp_path: Path) -> None:
    rows = [*HOME, *AWAY]
    root = prepared(tmp_path / "both", rows)
    found = score(checkpoint(root, rows, SplitConfig("speakers", test=("home:1", "away:2"))))
    assert found.predictions.key == ("clip1", "clip7", "far2", "far5")
    assert found.predictions.speaker == ("home:1", "home:1", "away:2", "away:2")
    assert found.metrics["speakers"]["scored"] == ["away:2", "home:1"]
    assert found.metrics["interval"]["unit"] == "speaker"


def test_a_corpus_that_was_renamed_is_still_known(folder: Path, tmp_path: Path) -> None:
    """Of the renamed clips only those of the old test part may be scored, whatever their keys and speakers are now."""
    rows = [replace(row, extra={"sound": f"s{i}"}) for i, row in enumerate(HOME)]
    path = checkpoint(folder, rows, SplitConfig("speakers", test=(1,), validation=(2,)))
    again = [replace(row, key=f"new{i}", corpus="renamed", speaker=f"who{i}") for i, row in enumerate(rows)]
    found = score(path, prepared(tmp_path / "again", again))
    assert found.predictions.key == ("new1", "new7")
    assert found.metrics["notes"] == [
        "10 clips are left out, for the checkpoint has learned from them or their takes: new0, new10, new11, new2, "
        "new3 and 5 more (10 in all)"
    ]
    with pytest.raises(SplitError, match=r"the test part has no clip that the model can use \(1 clips are left out"):
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
    assert found.metrics["notes"][-1].startswith("1 clips are left out, for the checkpoint has learned from them")


def test_a_clip_that_is_scored_twice_is_told(folder: Path, tmp_path: Path) -> None:
    path = checkpoint(folder, HOME, SplitConfig("speakers", test=(1,)))
    rows = [*HOME, Row("more", "home", "1", "yes")]
    rows = [replace(row, extra={"sound": "f00"}) if row.key in ("clip1", "more") else row for row in rows]
    assert score(path, prepared(tmp_path / "more", rows)).metrics["notes"] == [
        "1 sounds are scored under several keys: clip1 = more"
    ]


def test_speakers_of_another_corpus_who_are_called_as_known_ones_are_told(folder: Path, tmp_path: Path) -> None:
    path = checkpoint(folder, HOME, SplitConfig("speakers", test=(1,), train=(2,)))
    assert score(path, prepared(tmp_path / "away", AWAY)).metrics["notes"] == [
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


# --- what leaks is told everywhere


@pytest.fixture
def leaky(folder: Path) -> Path:
    return checkpoint(folder, HOME, SplitConfig("random_leaky", seed=3))


def test_a_leak_is_in_the_metrics(leaky: Path) -> None:
    leaks = score(leaky).metrics["leaks"]
    assert leaks[0] == AT_RANDOM
    assert any(leak.startswith("speakers ") for leak in leaks)


def test_a_leak_follows_a_checkpoint_to_another_corpus(leaky: Path, tmp_path: Path) -> None:
    assert score(leaky, prepared(tmp_path / "away", AWAY)).metrics["leaks"][0] == AT_RANDOM


def test_a_leak_is_printed_and_reported(leaky: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert evaluate([f"--checkpoint={leaky}", f"--output={tmp_path / 'out'}", "--device=cpu"]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith(f"LEAKY split, the scores are too high: {AT_RANDOM}")
    assert "\x1b" not in printed, "no colours in a file"
    page = (tmp_path / "out/index.html").read_text()
    assert "Leaky split: these scores are too high." in page
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
