"""A folder tree becomes rows: folders name the labels, and the speakers where the layout says so."""

from __future__ import annotations

from pathlib import Path

import pytest

from mmer.corpora.folder import read_folder
from mmer.corpora.manifest import Manifest, Row
from mmer.errors import ConfigError, CorpusError


def lay_out(folder: Path, *names: str, layout: str = "label") -> Manifest:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return read_folder(folder, layout)  # type: ignore[arg-type]


def test_folder_is_the_label(tmp_path: Path) -> None:
    manifest = lay_out(tmp_path / "home", "happy/a clip.mp4", "sad/b.wav", "sad/c.JPG")
    assert manifest == Manifest(
        (
            Row("happy/a clip", "home", label="happy", video=tmp_path / "home/happy/a clip.mp4"),
            Row("sad/b", "home", label="sad", audio=tmp_path / "home/sad/b.wav"),
            Row("sad/c", "home", label="sad", video=tmp_path / "home/sad/c.JPG"),
        )
    )


def test_film_and_sound_of_one_name_are_one_clip(tmp_path: Path) -> None:
    (row,) = lay_out(tmp_path, "happy/a.mp4", "happy/a.wav", "happy/a.txt").rows
    assert (row.video, row.audio) == (tmp_path / "happy/a.mp4", tmp_path / "happy/a.wav")


@pytest.mark.parametrize(
    ("layout", "name"), [("label/speaker", "happy/Anna/a.mp4"), ("speaker/label", "Anna/happy/a.mp4")]
)
def test_layout_may_name_the_speaker(layout: str, name: str, tmp_path: Path) -> None:
    (row,) = lay_out(tmp_path, name, layout=layout).rows
    assert (row.label, row.speaker, row.key) == ("happy", "Anna", name[:-4])


def test_speakers_have_one_spelling(tmp_path: Path) -> None:
    rows = lay_out(tmp_path, "happy/07/a.mp4", "sad/7/a.mp4", layout="label/speaker").rows
    assert {row.speaker for row in rows} == {"7"}


def test_deeper_folders_are_a_part_of_the_key(tmp_path: Path) -> None:
    (row,) = lay_out(tmp_path, "happy/2020/may/a.mp4").rows
    assert (row.key, row.label, row.speaker) == ("happy/2020/may/a", "happy", None)


def test_point_in_a_name_is_a_part_of_the_key(tmp_path: Path) -> None:
    rows = lay_out(tmp_path, "happy/a.1.mp4", "happy/a.2.mp4").rows
    assert [row.key for row in rows] == ["happy/a.1", "happy/a.2"]


@pytest.mark.parametrize(("layout", "name"), [("label", "a.mp4"), ("label/speaker", "happy/a.mp4")])
def test_clip_outside_the_layout_is_left_out(layout: str, name: str, tmp_path: Path) -> None:
    manifest = lay_out(tmp_path, name, "happy/Anna/b.mp4", layout=layout)
    assert len(manifest) == 1
    (error,) = manifest.broken
    reason = f"it does not lie in a folder {layout}, so nobody knows its label; move it"
    assert str(error) == f"clip {name[:-4]} ({tmp_path / name}): {reason}"


@pytest.mark.parametrize("names", [("happy/a.avi", "happy/a.mp4"), ("happy/a.flac", "happy/a.wav")])
def test_two_files_for_one_place_are_left_out(names: tuple[str, str], tmp_path: Path) -> None:
    manifest = lay_out(tmp_path, *names)
    assert manifest.rows == ()
    (error,) = manifest.broken
    assert str(error) == (
        f"clip happy/a ({tmp_path / names[0]}): the same clip is also at {tmp_path / names[1]}; keep one"
    )


def test_hidden_and_other_files_are_passed_over(tmp_path: Path) -> None:
    manifest = lay_out(tmp_path, "happy/a.mp4", "happy/._a.mp4", ".cache/b.mp4", "notes.txt", "happy/Thumbs.db")
    assert [row.key for row in manifest.rows] == ["happy/a"] and manifest.broken == ()
    assert manifest.notes == ("passed over, for they are no media files: .db 1, .txt 1",)


def test_place_without_clips_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"holds no media files; the suffixes are .mp4 .avi"):
        read_folder(tmp_path)
    with pytest.raises(
        CorpusError, match=r"is not a folder; give the one whose folders are the labels: label/clip.mp4"
    ):
        read_folder(tmp_path / "nowhere")


def test_unknown_layout_is_refused(tmp_path: Path) -> None:
    allowed = "choose one of label, label/speaker, speaker/label"
    with pytest.raises(ConfigError, match=f"layout 'speaker' is unknown; {allowed}"):
        lay_out(tmp_path, "happy/a.mp4", layout="speaker")
