"""SAVEE's folders and names become rows."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from mmer.corpora.manifest import Manifest
from mmer.corpora.savee import SPEAKERS, read_savee

COUNTS = {"a": 15, "d": 15, "f": 15, "h": 15, "n": 30, "sa": 15, "su": 15}


def lay_out(folder: Path, *names: str) -> Manifest:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return read_savee(folder)


def test_sound_and_picture_of_an_utterance_are_one_row(tmp_path: Path) -> None:
    manifest = lay_out(tmp_path, "AudioData/DC/a01.wav", "AudioVisualClip/DC/a1.avi", "AudioData/Info.txt")
    (row,) = manifest.rows
    assert (row.key, row.corpus, row.speaker, row.label, row.text) == ("DC_a01", "savee", "DC", "angry", None)
    assert row.audio == tmp_path / "AudioData/DC/a01.wav"
    assert row.video == tmp_path / "AudioVisualClip/DC/a1.avi"
    assert row.extra == {"gender": "male", "sentence": "1"}
    assert manifest.notes == ("1 of 480 clips; missing speakers: JE, JK, KL",)


def test_the_whole_corpus_is_complete(tmp_path: Path) -> None:
    names = [
        f"AudioData/{speaker}/{emotion}{number:02d}.wav"
        for speaker in SPEAKERS
        for emotion, count in COUNTS.items()
        for number in range(1, count + 1)
    ]
    manifest = lay_out(tmp_path, *names)
    assert (manifest.notes, manifest.broken) == (("complete: 480 clips",), ())
    labels = Counter(row.label for row in manifest.rows)
    assert labels.pop("neutral") == 120
    assert labels == dict.fromkeys(("angry", "disgust", "fearful", "happy", "sad", "surprised"), 60)
    assert set(Counter(row.speaker for row in manifest.rows).values()) == {120}


def test_files_of_one_folder_say_their_speaker(tmp_path: Path) -> None:
    (row,) = lay_out(tmp_path, "ALL/JK_su15.wav").rows
    assert (row.key, row.speaker, row.label) == ("JK_su15", "JK", "surprised")


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("holiday.wav", "the name is not SAVEE's emotion and sentence below a speaker, as DC/a01"),
        ("a01.wav", "the name is not SAVEE's emotion and sentence below a speaker, as DC/a01"),
        ("AB_a01.wav", "the name is not SAVEE's emotion and sentence below a speaker, as DC/a01"),
        ("DC/x01.wav", "emotion 'x' is unknown; the codes are a, d, f, h, n, sa, su"),
        ("DC/a16.wav", "sentence 16 is unknown; angry has the sentences 1 to 15"),
        ("DC/n31.wav", "sentence 31 is unknown; neutral has the sentences 1 to 30"),
        ("DC/a0.wav", "sentence 0 is unknown; angry has the sentences 1 to 15"),
    ],
)
def test_other_name_is_left_out(name: str, reason: str, tmp_path: Path) -> None:
    manifest = lay_out(tmp_path, name)
    assert manifest.rows == ()
    assert [error.reason for error in manifest.broken] == [reason]
