"""CREMA-D's names, demographics and votes become rows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mmer.corpora.crema_d import SENTENCES, LabelSource, read_crema_d
from mmer.corpora.manifest import Manifest
from mmer.errors import ConfigError, CorpusError
from mmer.media.audio import read_audio
from mmer.media.container import Source
from mmer.media.video import read_video
from mmer.media.write import write_clip

KEY = "1001_DFA_ANG_XX"
POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 72862\n"
PEOPLE = (
    '"ActorID","Age","Sex","Race","Ethnicity"\n'
    '1001,51,"Male","Caucasian","Not Hispanic"\n1002,21,"Female","Caucasian","Not Hispanic"\n'
)
VOTES = (
    '"","FileName","VoiceVote","VoiceLevel","FaceVote","FaceLevel","MultiModalVote","MultiModalLevel"\n'
    '"1","1001_DFA_ANG_XX","N","47.33","A","41.8","D","41.5"\n'
    '"2","1001_IEO_SAD_HI","S","60.14","A:F","30.67:51.00","A:D:N","1:2:3"\n'
)


def lay_out(folder: Path, *names: str) -> Path:
    """Make the owner's tree with some files; 1001_DFA_ANG_XX.wav goes to AudioWAV, and so on."""
    homes = {"wav": "AudioWAV", "mp3": "AudioMP3", "flv": "VideoFlash", "mp4": "VideoMP4"}
    (folder / "processedResults").mkdir(parents=True, exist_ok=True)
    (folder / "VideoDemographics.csv").write_text(PEOPLE)
    (folder / "processedResults" / "summaryTable.csv").write_text(VOTES)
    for name in names:
        path = folder / homes[name[-3:]] / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
    return folder


def faults(manifest: Manifest) -> dict[str, str]:
    return {error.key: error.reason for error in manifest.broken}


def test_name_is_read_field_by_field(tmp_path: Path) -> None:
    manifest = read_crema_d(lay_out(tmp_path, f"{KEY}.wav", f"{KEY}.mp3", f"{KEY}.flv"))
    (row,) = manifest.rows
    assert (row.key, row.corpus, row.speaker, row.label) == (KEY, "crema-d", "1001", "angry")
    assert row.text == "Don't forget a jacket"
    assert row.video == tmp_path / "VideoFlash" / f"{KEY}.flv"
    assert row.audio == tmp_path / "AudioWAV" / f"{KEY}.wav"
    assert row.extra == {
        "sentence": "DFA",
        "intensity": "unspecified",
        "gender": "male",
        "age": "51",
        "race": "caucasian",
        "ethnicity": "not hispanic",
    }
    assert manifest.broken == ()


@pytest.mark.parametrize(
    ("files", "video", "audio"),
    [
        (["mp4"], "VideoMP4", None),
        (["mp4", "flv"], "VideoFlash", None),
        (["mp3"], None, "AudioMP3"),
        (["wav"], None, "AudioWAV"),
    ],
)
def test_face_and_voice_come_from_the_files_there_are(
    files: list[str], video: str | None, audio: str | None, tmp_path: Path
) -> None:
    (row,) = read_crema_d(lay_out(tmp_path, *(f"{KEY}.{suffix}" for suffix in files))).rows
    assert (row.video and row.video.parent.name, row.audio and row.audio.parent.name) == (video, audio)


def test_every_code_has_its_word(tmp_path: Path) -> None:
    emotions = ("ANG", "DIS", "FEA", "HAP", "NEU", "SAD")
    names = [f"1002_{sentence}_{emotion}_LO.wav" for sentence in SENTENCES for emotion in emotions]
    rows = read_crema_d(lay_out(tmp_path, *names, "1002_IEO_ANG_MD.wav", "1002_IEO_ANG_HI.wav")).rows
    assert {row.label for row in rows} == {"angry", "disgust", "fearful", "happy", "neutral", "sad"}
    assert {row.text for row in rows} == set(SENTENCES.values())
    assert len(SENTENCES) == 12
    assert {row.extra["intensity"] for row in rows} == {"low", "medium", "high"}
    assert {row.extra["gender"] for row in rows} == {"female"}


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("holiday", "the name is not CREMA-D's actor_sentence_emotion_level, as 1001_DFA_ANG_XX"),
        ("1092_DFA_ANG_XX", "the name is not CREMA-D's actor_sentence_emotion_level, as 1001_DFA_ANG_XX"),
        ("1001_XYZ_ANG_XX", "sentence 'XYZ' is unknown; the codes are IEO, TIE, "),
        ("1001_DFA_SUR_XX", "emotion 'SUR' is unknown; the codes are ANG, DIS, FEA, HAP, NEU, SAD"),
        ("1041_ITH_SAD_X", "level 'X' is unknown; the codes are LO, MD, HI, XX"),
    ],
)
def test_other_name_is_left_out(name: str, reason: str, tmp_path: Path) -> None:
    manifest = read_crema_d(lay_out(tmp_path, f"{name}.wav", f"{KEY}.wav"))
    assert [row.key for row in manifest.rows] == [KEY]
    assert faults(manifest)[name].startswith(reason)


def test_the_file_that_its_owner_misspelt_is_understood(tmp_path: Path) -> None:
    (row,) = read_crema_d(lay_out(tmp_path, "1040_ITH_SAD_X.wav", "1040_ITH_SAD_XX.flv")).rows
    assert (row.key, row.extra["intensity"]) == ("1040_ITH_SAD_XX", "unspecified")
    assert row.audio == tmp_path / "AudioWAV/1040_ITH_SAD_X.wav"
    assert row.video == tmp_path / "VideoFlash/1040_ITH_SAD_XX.flv"


def test_a_part_is_told(tmp_path: Path) -> None:
    manifest = read_crema_d(lay_out(tmp_path, f"{KEY}.wav", "1076_MTI_SAD_XX.wav"))
    assert manifest.notes[0].startswith("2 of 7,442 clips; missing speakers: 1002, 1003, ")
    assert manifest.notes[0].endswith(" 1011 and 79 more")
    assert manifest.notes[1:] == ("1076_MTI_SAD_XX is known to have no sound",)


def test_without_demographics_gender_is_unknown_and_that_is_told(tmp_path: Path) -> None:
    (lay_out(tmp_path, f"{KEY}.wav") / "VideoDemographics.csv").unlink()
    manifest = read_crema_d(tmp_path)
    assert "gender" not in manifest.rows[0].extra
    assert "there is no VideoDemographics.csv: nobody says who is female and who is male" in manifest.notes


def test_demographics_and_votes_are_found_one_folder_above(tmp_path: Path) -> None:
    lay_out(tmp_path, f"{KEY}.wav")
    (row,) = read_crema_d(tmp_path / "AudioWAV", labels="perceived").rows
    assert (row.extra["gender"], row.label) == ("male", "disgust")


@pytest.mark.parametrize(
    ("labels", "label"),
    [("intended", "angry"), ("perceived", "disgust"), ("perceived-voice", "neutral"), ("perceived-face", "angry")],
)
def test_label_is_the_word_of_the_actor_or_of_the_raters(labels: LabelSource, label: str, tmp_path: Path) -> None:
    (row,) = read_crema_d(lay_out(tmp_path, f"{KEY}.wav"), labels=labels).rows
    assert row.label == label
    assert row.extra.get("intended") == (None if labels == "intended" else "angry")


def test_a_clip_without_a_perceived_label_is_left_out_by_name(tmp_path: Path) -> None:
    folder = lay_out(tmp_path, "1001_IEO_SAD_HI.wav", "1001_TIE_SAD_XX.wav", f"{KEY}.wav")
    manifest = read_crema_d(folder, labels="perceived")
    assert [row.key for row in manifest.rows] == [KEY]
    assert faults(manifest) == {
        "1001_IEO_SAD_HI": "its raters are divided between angry and disgust and neutral",
        "1001_TIE_SAD_XX": "it has no rating",
    }
    assert manifest.notes[0].startswith("3 of 7,442 clips")
    assert len(read_crema_d(folder).rows) == 3


def test_perceived_labels_without_votes_are_refused(tmp_path: Path) -> None:
    folder = lay_out(tmp_path, f"{KEY}.wav")
    table = folder / "processedResults" / "summaryTable.csv"
    table.write_text("FileName,VoiceVote\n")
    with pytest.raises(CorpusError, match=r"summaryTable.csv has no column MultiModalVote; take the owner's file"):
        read_crema_d(folder, labels="perceived")
    table.write_bytes(b"FileName,MultiModalVote\n\xff\xff,A\n")
    with pytest.raises(CorpusError, match=r"summaryTable.csv cannot be read: .*decode.*; take the owner's file"):
        read_crema_d(folder, labels="perceived")
    table.unlink()
    with pytest.raises(
        CorpusError, match=r"perceived labels come from processedResults/summaryTable.csv, which is nei"
    ):
        read_crema_d(folder, labels="perceived")


def test_labels_of_nobody_are_refused(tmp_path: Path) -> None:
    allowed = "intended, perceived, perceived-voice, perceived-face"
    with pytest.raises(ConfigError, match=rf"^CREMA-D has no labels 'felt'; choose one of {allowed}$"):
        read_crema_d(lay_out(tmp_path, f"{KEY}.wav"), labels="felt")  # type: ignore[arg-type]


def test_files_that_git_lfs_left_out_are_told(tmp_path: Path) -> None:
    folder = lay_out(tmp_path, f"{KEY}.wav", f"{KEY}.flv")
    (folder / "VideoFlash" / f"{KEY}.flv").write_text(POINTER)
    manifest = read_crema_d(folder)
    assert (manifest.rows[0].video, manifest.rows[0].audio) == (None, folder / "AudioWAV" / f"{KEY}.wav")
    assert "passed over as Git LFS pointers: 1 files; 'git lfs pull' fetches the recordings" in manifest.notes
    (folder / "AudioWAV" / f"{KEY}.wav").write_text(POINTER)
    (folder / "VideoFlash" / f"{KEY}.flv").unlink()
    with pytest.raises(CorpusError, match=r" are Git LFS pointers, not recordings; run 'git lfs pull' there"):
        read_crema_d(folder)


def test_flash_video_can_be_read(tmp_path: Path) -> None:
    path, frames = tmp_path / f"{KEY}.flv", [np.zeros((48, 64, 3), np.uint8)] * 15
    samples = np.sin(np.arange(22_050) / 10).astype(np.float32)
    write_clip(path, frames, fps=30, samples=samples, sample_rate=44_100, video_codec="flv", audio_codec="mp3")
    (row,) = read_crema_d(tmp_path).rows
    assert row.video == path
    assert len(list(read_video(Source(KEY, path)))) == 15
    assert len(read_audio(Source(KEY, path), 16_000)) == pytest.approx(8000, rel=0.2)
