"""RAVDESS's names become rows; the three files of a take are one clip."""

from __future__ import annotations

from pathlib import Path

import pytest

from mmer.corpora.manifest import Manifest, Row
from mmer.corpora.ravdess import read_ravdess
from mmer.errors import CorpusError

TAKE = "01-05-02-01-02-13"


def lay_out(folder: Path, *names: str) -> Manifest:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return read_ravdess(folder)


def only(manifest: Manifest) -> Row:
    assert manifest.broken == ()
    (row,) = manifest.rows
    return row


def fault(manifest: Manifest) -> str:
    assert manifest.rows == ()
    (error,) = manifest.broken
    return str(error)


def test_name_is_read_field_by_field(tmp_path: Path) -> None:
    row = only(lay_out(tmp_path, f"Actor_13/01-{TAKE}.mp4"))
    assert (row.key, row.corpus, row.speaker, row.label) == (TAKE, "ravdess", "13", "angry")
    assert row.text == "Kids are talking by the door"
    assert row.extra == {
        "channel": "speech",
        "gender": "male",
        "intensity": "strong",
        "repetition": "2",
        "statement": "1",
    }


def test_every_emotion_has_its_code(tmp_path: Path) -> None:
    manifest = lay_out(tmp_path, *(f"03-01-{code:02d}-01-02-01-08.wav" for code in range(1, 9)))
    labels = [row.label for row in manifest.rows]
    assert labels == ["neutral", "calm", "happy", "sad", "angry", "fearful", "disgust", "surprised"]


def test_even_actors_are_female_and_statement_two_is_about_dogs(tmp_path: Path) -> None:
    row = only(lay_out(tmp_path, "03-02-03-01-02-01-08.wav"))
    assert (row.speaker, row.extra["gender"], row.extra["channel"]) == ("8", "female", "song")
    assert row.text == "Dogs are sitting by the door"


def test_three_files_of_a_take_are_one_row(tmp_path: Path) -> None:
    names = [f"Actor_13/01-{TAKE}.mp4", f"Actor_13/02-{TAKE}.mp4", f"Audio/Actor_13/03-{TAKE}.wav"]
    row = only(lay_out(tmp_path, *names))
    assert (row.video, row.audio) == (tmp_path / names[0], tmp_path / names[2])


@pytest.mark.parametrize(
    ("names", "video", "audio"),
    [
        ([f"01-{TAKE}.mp4"], f"01-{TAKE}.mp4", None),
        ([f"02-{TAKE}.mp4"], f"02-{TAKE}.mp4", None),
        ([f"03-{TAKE}.wav"], None, f"03-{TAKE}.wav"),
        ([f"03-{TAKE}.flac"], None, f"03-{TAKE}.flac"),
        ([f"02-{TAKE}.avi", f"03-{TAKE}.wav"], f"02-{TAKE}.avi", f"03-{TAKE}.wav"),
        ([f"01-{TAKE}.MP4"], f"01-{TAKE}.MP4", None),
        ([f"01-{TAKE}.avi", f"01-{TAKE}.mp4"], f"01-{TAKE}.mp4", None),
    ],
)
def test_face_and_voice_come_from_the_files_there_are(
    names: list[str], video: str | None, audio: str | None, tmp_path: Path
) -> None:
    row = only(lay_out(tmp_path, *names))
    assert row.video == (None if video is None else tmp_path / video)
    assert row.audio == (None if audio is None else tmp_path / audio)


def test_hidden_and_other_files_are_passed_over(tmp_path: Path) -> None:
    manifest = lay_out(tmp_path, f"01-{TAKE}.mp4", f"._01-{TAKE}.mp4", ".DS_Store", "readme.txt", f"01-{TAKE}.csv")
    assert only(manifest).key == TAKE


def test_rows_come_in_the_order_of_their_keys(tmp_path: Path) -> None:
    names = ["Z/03-01-03-01-01-01-01.wav", "A/03-01-05-01-01-01-01.wav", "B/03-01-04-01-01-01-01.wav"]
    keys = [row.key for row in lay_out(tmp_path, *names).rows]
    assert keys == sorted(keys)


@pytest.mark.parametrize("name", ["holiday.mp4", "01-01-05-02-01-02.mp4", "01-01-05-02-01-02-13-14.mp4", "1-1-5.wav"])
def test_other_name_is_left_out(name: str, tmp_path: Path) -> None:
    assert "the name is not RAVDESS's seven two-digit fields" in fault(lay_out(tmp_path, name))


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("04-01-05-02-01-02-13.mp4", "modality 04 is unknown; the codes are 01 to 03"),
        ("01-03-05-02-01-02-13.mp4", "channel 03 is unknown; the codes are 01 to 02"),
        ("01-01-09-02-01-02-13.mp4", "emotion 09 is unknown; the codes are 01 to 08"),
        ("01-01-00-02-01-02-13.mp4", "emotion 00 is unknown; the codes are 01 to 08"),
        ("01-01-05-03-01-02-13.mp4", "intensity 03 is unknown; the codes are 01 to 02"),
        ("01-01-05-02-03-02-13.mp4", "statement 03 is unknown; the codes are 01 to 02"),
    ],
)
def test_unknown_code_is_left_out(name: str, reason: str, tmp_path: Path) -> None:
    assert fault(lay_out(tmp_path, name)) == f"clip {name[3:-4]} ({tmp_path / name}): {reason}"


def test_same_take_twice_is_left_out_and_the_others_stay(tmp_path: Path) -> None:
    names = [f"a/01-{TAKE}.mp4", f"b/01-{TAKE}.mp4", "a/01-01-03-01-01-01-13.mp4"]
    manifest = lay_out(tmp_path, *names)
    assert [row.label for row in manifest.rows] == ["happy"]
    (error,) = manifest.broken
    assert (
        str(error) == f"clip {TAKE} ({tmp_path / names[0]}): the same take is also at {tmp_path / names[1]}; keep one"
    )


def test_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"is not a folder; give the one that holds RAVDESS's Actor_01"):
        read_ravdess(tmp_path / "nowhere")


def test_folder_without_media_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"holds no file with one of the suffixes .mp4 .avi .wav .flac"):
        read_ravdess(tmp_path)


def test_demo_corpus_says_that_it_is_one(demo_corpus: Path) -> None:
    manifest = read_ravdess(demo_corpus)
    assert len(manifest) == 8 and manifest.broken == ()
    assert {row.corpus for row in manifest.rows} == {"demo"}


@pytest.mark.parametrize("note", ["{", "[]", "{}"])
def test_note_that_names_no_corpus_is_refused(note: str, tmp_path: Path) -> None:
    (tmp_path / "corpus.json").write_text(note)
    with pytest.raises(CorpusError, match=r"corpus.json does not say the corpus's name; mend it, or delete it"):
        lay_out(tmp_path, f"01-{TAKE}.mp4")


def test_real_voices_pair_with_the_real_videos(real_data: Path) -> None:
    if not (real_data / "ravdess").is_dir():
        pytest.skip("no RAVDESS")
    manifest = read_ravdess(real_data / "ravdess")
    assert manifest.broken == ()
    videos = [row for row in manifest.rows if row.video is not None]
    assert videos and all(row.audio is not None for row in videos)
