"""EMO-DB's names become rows."""

from __future__ import annotations

from pathlib import Path

import pytest

from mmer.corpora.emodb import SENTENCES, SPEAKERS, read_emodb
from mmer.corpora.manifest import Manifest


def lay_out(folder: Path, *names: str) -> Manifest:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return read_emodb(folder)


def test_name_is_read_field_by_field(tmp_path: Path) -> None:
    manifest = lay_out(tmp_path, "wav/03a01Fa.wav")
    (row,) = manifest.rows
    assert (row.key, row.corpus, row.speaker, row.label) == ("03a01Fa", "emodb", "3", "happy")
    assert (row.text, row.audio) == ("Der Lappen liegt auf dem Eisschrank.", tmp_path / "wav/03a01Fa.wav")
    assert row.extra == {"gender": "male", "age": "31", "sentence": "a01", "version": "a"}
    assert manifest.notes == ("1 of 535 clips; missing speakers: 8, 9, 10, 11, 12, 13, 14, 15, 16",)


def test_every_letter_has_its_emotion(tmp_path: Path) -> None:
    rows = lay_out(tmp_path, *(f"wav/16b10{letter}a.wav" for letter in "WLEAFTN")).rows
    labels = {row.extra["sentence"] + row.key[5]: row.label for row in rows}
    words = ("angry", "boredom", "disgust", "fearful", "happy", "sad", "neutral")
    assert labels == dict(zip((f"b10{letter}" for letter in "WLEAFTN"), words, strict=True))


def test_five_women_and_five_men_say_ten_sentences(tmp_path: Path) -> None:
    names = [f"{int(speaker):02d}{code}Nb.wav" for speaker in SPEAKERS for code in SENTENCES]
    rows = lay_out(tmp_path, *names).rows
    assert len(rows) == 100
    assert {row.text for row in rows} == set(SENTENCES.values())
    women = {row.speaker for row in rows if row.extra["gender"] == "female"}
    assert women == {"8", "9", "13", "14", "16"}
    assert SPEAKERS == ("3", "8", "9", "10", "11", "12", "13", "14", "15", "16")


def test_the_same_names_in_other_folders_are_no_utterances(tmp_path: Path) -> None:
    manifest = lay_out(tmp_path, "wav/03a01Fa.wav", "laryngo/03a01Fa.wav", "laryngo/03a01Nc.wav")
    assert [row.audio for row in manifest.rows] == [tmp_path / "wav/03a01Fa.wav"]
    assert manifest.broken == ()


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("holiday", "the name is not EMO-DB's speaker, sentence, emotion and version, as 03a01Fa"),
        ("04a01Fa", "speaker '04' is unknown; the codes are 03, 08, 09, 10, 11, 12, 13, 14, 15, 16"),
        ("03a03Fa", "sentence 'a03' is unknown; the codes are a01, a02, a04, a05, a07, b01, b02, b03, b09, b10"),
        ("03a01Xa", "emotion 'X' is unknown; the codes are W, L, E, A, F, T, N"),
    ],
)
def test_other_name_is_left_out(name: str, reason: str, tmp_path: Path) -> None:
    manifest = lay_out(tmp_path, f"{name}.wav")
    assert manifest.rows == ()
    assert [error.reason for error in manifest.broken] == [reason]
