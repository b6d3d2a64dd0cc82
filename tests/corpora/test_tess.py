"""TESS's names become rows."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from mmer.corpora.manifest import Manifest
from mmer.corpora.tess import read_tess
from mmer.emotions import label_set


def lay_out(folder: Path, *names: str) -> Manifest:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return read_tess(folder)


def test_name_is_read_field_by_field(tmp_path: Path) -> None:
    manifest = lay_out(tmp_path, "OAF_angry/OAF_back_angry.wav")
    (row,) = manifest.rows
    assert (row.key, row.corpus, row.speaker, row.label) == ("OAF_back_angry", "tess", "OAF", "angry")
    assert (row.text, row.audio, row.video) == ("Say the word back", tmp_path / "OAF_angry/OAF_back_angry.wav", None)
    assert row.extra == {"gender": "female", "age": "64", "word": "back"}
    assert manifest.notes == ("1 of 2,800 clips; missing speakers: YAF",)


def test_every_emotion_has_its_code_whatever_the_folders_are_called(tmp_path: Path) -> None:
    codes = ("angry", "disgust", "fear", "happy", "neutral", "ps", "sad")
    rows = lay_out(tmp_path, *(f"YAF_Sad/YAF_dog_{code}.wav" for code in codes)).rows
    assert {row.extra["age"] for row in rows} == {"26"}
    labels = [row.label or "" for row in rows]
    assert labels == ["angry", "disgust", "fearful", "happy", "neutral", "pleasant surprise", "sad"]
    assert sorted(label_set("ekman7").index(label) or 0 for label in labels) == list(range(7))


def test_the_file_that_its_owner_misspelt_is_understood(tmp_path: Path) -> None:
    (row,) = lay_out(tmp_path, "OAF_neutral/OA_bite_neutral.wav").rows
    assert (row.key, row.speaker, row.label) == ("OAF_bite_neutral", "OAF", "neutral")


def test_a_second_copy_of_the_corpus_in_itself_is_passed_over(tmp_path: Path) -> None:
    names = ("OAF_sad/OAF_back_sad.wav", "OAF_sad/OAF_bar_sad.wav")
    manifest = lay_out(tmp_path, *names, *(f"data/{name}" for name in names))
    assert len(manifest.rows) == 2
    assert manifest.notes[1:] == ("passed over as second copies of other files: 2",)


def test_archives_are_read_in_place(tmp_path: Path) -> None:
    for folder, name in (("OAF_angry", "OAF_back_angry"), ("YAF_fear", "YAF_dog_fear")):
        with zipfile.ZipFile(tmp_path / f"{folder}.zip", "w") as archive:
            archive.writestr(f"{folder}/{name}.wav", name)
            archive.writestr(f"__MACOSX/{folder}/._{name}.wav", "")
    manifest = lay_out(tmp_path, "OAF_angry/OAF_back_sad.wav")
    assert manifest.broken == ()
    assert [(row.key, row.audio) for row in manifest.rows] == [
        ("OAF_back_angry", tmp_path / "OAF_angry.zip/OAF_angry/OAF_back_angry.wav"),
        ("OAF_back_sad", tmp_path / "OAF_angry/OAF_back_sad.wav"),
        ("YAF_dog_fear", tmp_path / "YAF_fear.zip/YAF_fear/YAF_dog_fear.wav"),
    ]
    assert [row.key for row in read_tess(tmp_path / "YAF_fear.zip").rows] == ["YAF_dog_fear"]


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("holiday", "the name is not TESS's speaker_word_emotion, as OAF_back_angry"),
        ("XAF_back_angry", "the name is not TESS's speaker_word_emotion, as OAF_back_angry"),
        ("OAF_back_angry_2", "the name is not TESS's speaker_word_emotion, as OAF_back_angry"),
        ("OAF_back_calm", "emotion 'calm' is unknown; the codes are angry, disgust, fear, happy, neutral, ps, sad"),
    ],
)
def test_other_name_is_left_out(name: str, reason: str, tmp_path: Path) -> None:
    manifest = lay_out(tmp_path, f"{name}.wav")
    assert manifest.rows == ()
    assert [error.reason for error in manifest.broken] == [reason]
