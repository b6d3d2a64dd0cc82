"""MELD's tables and videos become rows."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path

import pytest

from mmer.corpora.manifest import Row
from mmer.corpora.meld import read_meld
from mmer.emotions import label_set
from mmer.errors import CorpusError

HEADER = "Sr No.,Utterance,Speaker,Emotion,Sentiment,Dialogue_ID,Utterance_ID,Season,Episode,StartTime,EndTime\n"
LINE = '{},{},{},{},neutral,{},{},8,21,"00:16:16,059","00:16:21,731"\n'
FOLDERS = {"train": "train/train_splits", "dev": "dev/dev_splits_complete", "test": "test/output_repeated_splits_test"}


def line(text: str, dialogue: int, utterance: int, emotion: str = "joy", speaker: str = "Monica") -> str:
    return LINE.format(1, text, speaker, emotion, dialogue, utterance)


def lay_out(folder: Path, *videos: str, **tables: str) -> Path:
    """Write the parts' tables, and videos called as ``train dia0_utt0.mp4``."""
    for part, lines in tables.items():
        (folder / f"{part}_sent_emo.csv").write_text(HEADER + lines, encoding="utf-8", newline="")
    for video in videos:
        part, name = video.split()
        path = folder / FOLDERS[part] / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return folder


def only(rows: tuple[Row, ...]) -> Row:
    (row,) = rows
    return row


def test_a_line_is_read_column_by_column(tmp_path: Path) -> None:
    manifest = read_meld(lay_out(tmp_path, "train dia0_utt3.mp4", train=line('"So,  I said ""no"""', 0, 3)))
    row = only(manifest.rows)
    assert (row.key, row.corpus, row.speaker, row.label) == ("train_dia0_utt3", "meld", "Monica", "joy")
    assert (row.text, row.video, row.audio) == (
        'So, I said "no"',
        tmp_path / "train/train_splits/dia0_utt3.mp4",
        None,
    )
    assert row.extra == {
        "split": "train",
        "sentiment": "neutral",
        "dialogue": "0",
        "utterance": "3",
        "season": "8",
        "episode": "21",
        "start": "00:16:16,059",
        "end": "00:16:21,731",
    }


def test_the_parts_are_the_owners_and_share_dialogue_numbers(tmp_path: Path) -> None:
    tables = dict.fromkeys(("train", "dev", "test"), line("Hi", 1, 2))
    rows = read_meld(lay_out(tmp_path, *(f"{part} dia1_utt2.mp4" for part in FOLDERS), **tables)).rows
    assert [(row.key, row.extra["split"]) for row in rows] == [
        ("train_dia1_utt2", "train"),
        ("dev_dia1_utt2", "validation"),
        ("test_dia1_utt2", "test"),
    ]
    assert [row.video for row in rows] == [tmp_path / folder / "dia1_utt2.mp4" for folder in FOLDERS.values()]


def test_an_utterance_without_a_video_keeps_its_words(tmp_path: Path) -> None:
    lines = "".join(line("Hi", 110, utterance) for utterance in range(8))
    videos = [f"dev dia110_utt{utterance}.mp4" for utterance in range(7)]
    manifest = read_meld(lay_out(tmp_path, *videos, dev=lines))
    assert (manifest.rows[7].video, manifest.rows[7].text) == (None, "Hi")
    assert manifest.notes == (
        "dev: 8 of 1,109 utterances",
        "dev: 1 of 8 utterances have no video: dev_dia110_utt7",
        "there is no train_sent_emo.csv and no test_sent_emo.csv",
    )


def test_many_absent_videos_are_counted(tmp_path: Path) -> None:
    lines = "".join(line("Hi", 0, utterance) for utterance in range(8))
    notes = read_meld(lay_out(tmp_path, "train dia0_utt0.mp4", train=lines)).notes
    assert notes[1].startswith("train: 7 of 8 utterances have no video: train_dia0_utt1, train_dia0_utt2, ")
    assert notes[1].endswith("train_dia0_utt5 and 2 more")


def test_sound_alone_is_taken_where_it_is(tmp_path: Path) -> None:
    row = only(read_meld(lay_out(tmp_path, "train dia0_utt0.flac", train=line("Hi", 0, 0))).rows)
    assert (row.video, row.audio) == (None, tmp_path / "train/train_splits/dia0_utt0.flac")


def test_odd_files_are_passed_over_and_counted(tmp_path: Path) -> None:
    videos = ["test final_videos_testdia0_utt0.mp4", "test dia0_utt0.mp4", "test final_videos_testdia0_utt1.mp4"]
    odd = ["test ._dia0_utt0.mp4", "test dia99_utt9.mp4", "test holiday.mp4"]
    manifest = read_meld(lay_out(tmp_path, *videos, *odd, test=line("Hi", 0, 0) + line("Ho", 0, 1)))
    (tmp_path / "dia0_utt0.mp4").touch()
    names = [row.video.name for row in manifest.rows if row.video]
    assert names == ["dia0_utt0.mp4", "final_videos_testdia0_utt1.mp4"]
    assert manifest.notes[-1] == "passed over, for they belong to no line of a table: 3 files"
    assert read_meld(tmp_path).notes[-1].endswith(": 4 files")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp1252"])
def test_apostrophes_are_read_in_every_copy_of_the_tables(encoding: str, tmp_path: Path) -> None:
    lines = line("I\u2019m \u2013 well\u2026", 0, 0, speaker="Rachel\u2019s Mom")
    (tmp_path / "train_sent_emo.csv").write_text(HEADER + lines, encoding=encoding)
    row = only(read_meld(tmp_path).rows)
    assert (row.text, row.speaker) == ("I\u2019m \u2013 well\u2026", "Rachel\u2019s Mom")


def test_apostrophes_that_became_control_characters_are_mended(tmp_path: Path) -> None:
    assert only(read_meld(lay_out(tmp_path, train=line("I\x92m here\x81", 0, 0))).rows).text == "I\u2019m here"


def test_the_nearest_of_several_tables_is_read(tmp_path: Path) -> None:
    lay_out(tmp_path, train=line("near", 0, 0))
    (tmp_path / "train").mkdir()
    lay_out(tmp_path / "train", train=line("far", 0, 0))
    assert only(read_meld(tmp_path).rows).text == "near"


def test_a_line_that_is_no_utterance_is_left_out(tmp_path: Path) -> None:
    lines = (
        line("a", 0, 0, emotion="love") + line("b", 0, 1) + line("c", 0, 1) + line("d", 0, 2).replace(",0,2,", ",x,2,")
    )
    manifest = read_meld(lay_out(tmp_path, train=lines + line("e", 0, 3)))
    assert [row.key for row in manifest.rows] == ["train_dia0_utt3"]
    assert {error.key: error.reason for error in manifest.broken} == {
        "train_dia0_utt0": "emotion 'love' (line 2) is unknown; MELD's are anger, disgust, fear, joy, neutral, "
        "sadness, surprise",
        "at line 5": "Dialogue_ID and Utterance_ID are not numbers",
        "train_dia0_utt1": "the key is used 2 times (train_sent_emo.csv line 3, train_sent_emo.csv line 4); "
        "keys must be unique",
    }


def test_a_folder_without_melds_tables_is_refused(tmp_path: Path) -> None:
    (tmp_path / "other.csv").touch()
    with pytest.raises(
        CorpusError, match=r" holds none of MELD's tables train_sent_emo.csv, dev_sent_emo.csv, test_se"
    ):
        read_meld(tmp_path)
    (tmp_path / "train_sent_emo.csv").write_text("Utterance,Speaker,Dialogue_ID\n")
    with pytest.raises(CorpusError, match=r"train_sent_emo.csv has no column Emotion, Utterance_ID; take the owner's"):
        read_meld(tmp_path)
    (tmp_path / "train_sent_emo.csv").unlink()
    (tmp_path / "train_sent_emo.csv").symlink_to("nowhere.csv")
    with pytest.raises(CorpusError, match=r"train_sent_emo.csv cannot be read: No such file .*; take the owner's file"):
        read_meld(tmp_path)


def test_videos_beside_the_only_table_are_its_own(tmp_path: Path) -> None:
    lay_out(tmp_path, train=line("Hi", 0, 0))
    (tmp_path / "dia0_utt0.mp4").touch()
    assert only(read_meld(tmp_path).rows).video == tmp_path / "dia0_utt0.mp4"
    lay_out(tmp_path, dev=line("Hi", 0, 0))
    assert {row.video for row in read_meld(tmp_path).rows} == {None}, "of two parts nobody knows which"


def test_what_is_still_packed_is_told(tmp_path: Path) -> None:
    lay_out(tmp_path, dev=line("Hi", 0, 0))
    for name in ("train.tar.gz", "dev.tar.gz"):
        (tmp_path / name).touch()
    notes = read_meld(tmp_path).notes
    assert "dev.tar.gz, train.tar.gz: still packed, so nothing in there is read; unpack them where they lie" in notes


def test_the_real_tables(real_data: Path) -> None:
    start = time.process_time()
    manifest = read_meld(real_data / "text")
    seconds = time.process_time() - start
    assert manifest.broken == ()
    assert manifest.notes[0] == "train is complete: 9,989 utterances"
    assert manifest.notes[2] == "dev is complete: 1,109 utterances"
    train = [row for row in manifest.rows if row.extra["split"] == "train"]
    assert Counter(row.label for row in train) == {
        "neutral": 4710,
        "joy": 1743,
        "surprise": 1205,
        "anger": 1109,
        "sadness": 683,
        "disgust": 271,
        "fear": 268,
    }
    speakers = Counter(row.speaker for row in train)
    assert len(speakers) == 260
    assert speakers.most_common(2) == [("Joey", 1510), ("Ross", 1458)]
    label_set("ekman7").check(row.label or "" for row in manifest.rows)
    assert seconds < 2
