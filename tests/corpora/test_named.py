"""Files of one name are one clip, and what is missing is told."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from mmer.corpora.manifest import Row
from mmer.corpora.named import decode, find_files, find_media, read_named, tally
from mmer.errors import ClipError, CorpusError


def write(folder: Path, **contents: str) -> list[Path]:
    """Write files called ``folder__name__suffix``, as ``a__x__wav="sound"``."""
    paths = []
    for name, content in contents.items():
        where, stem, suffix = name.split("__")
        path = folder / where / f"{stem}.{suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
        paths.append(path)
    return paths


def pack(archive: Path, **contents: str) -> Path:
    with zipfile.ZipFile(archive, "w") as file:
        for name, content in contents.items():
            file.writestr(name, content)
    return archive


def parse(path: Path) -> Row:
    if path.stem == "bad":
        raise ClipError(path.stem, path, "no name")
    return Row(path.stem, "home", "1")


def test_files_are_found_in_order_without_the_hidden_ones(tmp_path: Path) -> None:
    paths = write(tmp_path, b__x__wav="", a__y__WAV="", a__z__txt="", a___y__wav="")
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "x.wav").touch()
    (tmp_path / "a" / "._y.wav").touch()
    assert find_files(tmp_path, (".wav",)) == sorted([paths[0], paths[1], paths[3]])


def test_files_in_archives_are_found_too(tmp_path: Path) -> None:
    archive = pack(tmp_path / "all.zip", **{"a/x.wav": "", "a/y.txt": "", "__MACOSX/a/._x.wav": ""})
    (outside,) = write(tmp_path, b__z__wav="")
    assert find_media(tmp_path, (".wav",)) == ([outside, archive / "a/x.wav"], [])
    assert find_media(archive, (".wav",)) == ([archive / "a/x.wav"], [])
    assert find_files(tmp_path, (".wav",)) == [outside]


def test_nothing_to_find_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        CorpusError, match=r"nowhere is no folder and no zip archive; give the one that holds the corpus"
    ):
        find_media(tmp_path / "nowhere", (".wav",))
    with pytest.raises(CorpusError, match=r" holds no file with one of the suffixes \.wav \.flv$"):
        find_media(tmp_path, (".wav", ".flv"))
    (tmp_path / "cut.zip").write_text("no archive")
    with pytest.raises(CorpusError, match=r"cut.zip cannot be read: the archive cut.zip cannot be unpacked: "):
        find_media(tmp_path, (".wav", ".flv"))


def test_a_broken_archive_is_left_out_and_the_others_stay(tmp_path: Path) -> None:
    archive = pack(tmp_path / "all.zip", **{"a/x.wav": ""})
    (tmp_path / "half.zip").write_text("no archive")
    paths, broken = find_media(tmp_path, (".wav",))
    assert paths == [archive / "a/x.wav"]
    manifest = read_named(paths, parse, audio=(".wav",), broken=broken)
    reason = "the archive half.zip cannot be unpacked: File is not a zip file; fetch it again"
    assert [str(error) for error in manifest.broken] == [f"clip half.zip ({tmp_path / 'half.zip'}): {reason}"]


def test_face_and_voice_of_one_name_are_one_row_and_the_first_suffix_is_preferred(tmp_path: Path) -> None:
    paths = write(tmp_path, v__x__mp4="1", v__x__flv="2", a__x__wav="3", b__x__mp3="4", a__w__wav="5")
    manifest = read_named(paths, parse, (".flv", ".mp4"), (".wav", ".mp3"))
    assert [(row.key, row.video, row.audio) for row in manifest.rows] == [("w", None, paths[4]), ("x", *paths[1:3])]
    assert (manifest.broken, manifest.notes) == ((), ())


def test_second_copies_are_passed_over_and_counted(tmp_path: Path) -> None:
    paths = write(tmp_path, a__x__wav="same", b__x__wav="same", c__x__wav="same", a__y__wav="")
    manifest = read_named(paths, parse, audio=(".wav",))
    assert [row.audio for row in manifest.rows] == [paths[0], paths[3]]
    assert manifest.notes == ("passed over as second copies of other files: 2",)


def test_an_unpacked_file_goes_before_that_of_an_archive(tmp_path: Path) -> None:
    archive = pack(tmp_path / "all.zip", **{"a/x.wav": "archive", "a/y.wav": "archive"})
    (outside,) = write(tmp_path, b__x__wav="unpacked")
    manifest = read_named(find_media(tmp_path, (".wav",))[0], parse, audio=(".wav",))
    assert [row.audio for row in manifest.rows] == [outside, archive / "a/y.wav"]
    assert manifest.notes == ("passed over as second copies of other files: 1",)


def test_two_recordings_of_one_name_are_left_out(tmp_path: Path) -> None:
    paths = write(tmp_path, a__x__wav="this", b__x__wav="that", a__y__wav="")
    manifest = read_named(paths, parse, audio=(".wav",))
    assert [row.key for row in manifest.rows] == ["y"]
    assert (
        str(manifest.broken[0]) == f"clip x ({paths[0]}): another recording of the same name is at {paths[1]}; keep one"
    )


def test_a_link_to_nowhere_is_no_copy(tmp_path: Path) -> None:
    paths = write(tmp_path, a__x__wav="this", b__x__wav="this")
    paths[1].unlink()
    paths[1].symlink_to(tmp_path / "nowhere")
    manifest = read_named(find_files(tmp_path, (".wav",)), parse, audio=(".wav",))
    assert [error.key for error in manifest.broken] == ["x"]


def test_a_name_that_says_nothing_is_left_out(tmp_path: Path) -> None:
    manifest = read_named(write(tmp_path, a__bad__wav="", a__x__wav=""), parse, audio=(".wav",))
    assert [row.key for row in manifest.rows] == ["x"]
    assert [error.reason for error in manifest.broken] == ["no name"]


def test_an_unknown_code_is_refused_with_what_is_allowed() -> None:
    assert decode(Path("x.wav"), "emotion", {"a": "angry"}, "a") == "angry"
    with pytest.raises(ClipError, match=r"clip x \(a/x.wav\): emotion 'b' is unknown; the codes are a, c$"):
        decode(Path("a/x.wav"), "emotion", {"a": "angry", "c": "calm"}, "b")


@pytest.mark.parametrize(
    ("speakers", "clips", "note"),
    [
        ("AABB", 4, "complete: 4 clips"),
        ("AAB", 4, "3 of 4 clips"),
        ("AA", 1440, "2 of 1,440 clips; missing speakers: B"),
        ("AABBB", 4, "5 clips, 1 more than the 4 that are known"),
    ],
)
def test_what_is_missing_is_told(speakers: str, clips: int, note: str) -> None:
    assert tally([Row(str(key), "home", speaker) for key, speaker in enumerate(speakers)], clips, "AB") == note


def test_many_missing_speakers_are_counted() -> None:
    note = tally([], 100, [str(speaker) for speaker in range(1, 13)])
    assert note == "0 of 100 clips; missing speakers: 1, 2, 3, 4, 5, 6, 7, 8, 9, 10 and 2 more"
