"""Files in folders, in zip archives and in FER2013's table are opened, measured and hashed alike."""

from __future__ import annotations

import errno
import hashlib
import os
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest

from mmer.media.files import exists, file_hash, file_size, is_packed, list_archive, list_files, open_binary

CONTENT = b"what a clip says " * 100


def write_zip(path: Path, members: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


def write_table(path: Path, *lines: str, header: str = "emotion,pixels,Usage") -> Path:
    path.write_text("\n".join([header, *lines, ""]))
    return path


def face_line(values: np.ndarray, emotion: int = 0, usage: str = "Training") -> str:
    return f"{emotion},{' '.join(map(str, values.ravel()))},{usage}"


def reason(path: Path) -> str:
    with pytest.raises(OSError) as caught:
        open_binary(path)
    assert caught.value.strerror is not None and "\n" not in caught.value.strerror
    return caught.value.strerror


@pytest.fixture
def places(tmp_path: Path) -> dict[str, Path]:
    """The same content as a plain file, stored in an archive and compressed in an archive."""
    (tmp_path / "plain.bin").write_bytes(CONTENT)
    write_zip(tmp_path / "Stored.ZIP", {"in/clip.bin": CONTENT})
    write_zip(tmp_path / "small.zip", {"in/clip.bin": CONTENT}, zipfile.ZIP_DEFLATED)
    return {
        "plain": tmp_path / "plain.bin",
        "stored": tmp_path / "Stored.ZIP/in/clip.bin",
        "small": tmp_path / "small.zip/in/clip.bin",
    }


@pytest.mark.parametrize("place", ["plain", "stored", "small"])
def test_content_is_the_same_wherever_it_lies(place: str, places: dict[str, Path]) -> None:
    path = places[place]
    with open_binary(path) as file:
        assert file.read() == CONTENT
        file.seek(5)
        assert file.read(1) == CONTENT[5:6]
    assert exists(path) and is_packed(path) == (place != "plain")
    assert file_size(path) == len(CONTENT)
    assert file_hash(path) == hashlib.sha256(CONTENT).hexdigest()


def test_what_is_not_there_does_not_exist(places: dict[str, Path], tmp_path: Path) -> None:
    assert not exists(tmp_path / "gone.bin")
    assert not exists(tmp_path / "small.zip/gone.bin")
    assert not exists(tmp_path / "gone.zip/clip.bin")
    assert reason(tmp_path / "small.zip/gone.bin") == "there is no gone.bin in the archive small.zip"
    with pytest.raises(FileNotFoundError):
        file_size(tmp_path / "small.zip/gone.bin")


def test_folder_may_be_called_like_an_archive(tmp_path: Path) -> None:
    (tmp_path / "unpacked.zip").mkdir()
    (tmp_path / "unpacked.zip/clip.bin").write_bytes(CONTENT)
    assert not is_packed(tmp_path / "unpacked.zip/clip.bin")
    assert file_size(tmp_path / "unpacked.zip/clip.bin") == len(CONTENT)


def test_archive_that_is_replaced_is_read_anew(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "a.zip", {"clip.bin": b"old"})
    assert file_size(path / "clip.bin") == 3
    write_zip(path, {"clip.bin": b"newer"})
    with open_binary(path / "clip.bin") as file:
        assert file.read() == b"newer"


def test_damage_is_told_by_the_checksum(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "a.zip", {"clip.bin": CONTENT})
    data = bytearray(path.read_bytes())
    data[data.index(CONTENT) + 7] ^= 1
    path.write_bytes(data)
    assert reason(path / "clip.bin") == (
        "the archive a.zip cannot be unpacked: Bad CRC-32 for file 'clip.bin'; fetch it again"
    )


def test_archive_that_was_cut_off_is_told(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "a.zip", {"clip.bin": CONTENT})
    path.write_bytes(path.read_bytes()[:500])
    assert reason(path / "clip.bin") == "the archive a.zip cannot be unpacked: File is not a zip file; fetch it again"
    assert not exists(path / "clip.bin")
    with pytest.raises(OSError, match="File is not a zip file"):
        list_archive(path)


def test_encrypted_archive_is_told(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "a.zip", {"clip.bin": CONTENT})
    data = bytearray(path.read_bytes())
    data[data.index(b"PK\1\2") + 8] |= 1  # the flag of the central directory
    path.write_bytes(data)
    assert reason(path / "clip.bin") == "the archive a.zip is encrypted; unpack it with its password"


def test_compression_that_python_lacks_is_told(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "a.zip", {"clip.bin": CONTENT})
    data = bytearray(path.read_bytes())
    data[data.index(b"PK\1\2") + 10] = 99
    path.write_bytes(data)
    assert "cannot be unpacked: That compression method is not supported" in reason(path / "clip.bin")


def test_lists_leave_out_what_is_hidden(tmp_path: Path) -> None:
    for name in ("b/2.mp4", "a/1.mp4", "._a.mp4", ".git/c.mp4"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert list_files(tmp_path) == [tmp_path / "a/1.mp4", tmp_path / "b/2.mp4"]
    with zipfile.ZipFile(tmp_path / "c.zip", "w") as archive:
        archive.writestr("a/", b"")
        archive.writestr("a/1.mp4", b"x")
        archive.writestr("__MACOSX/a/._1.mp4", b"x")
    assert list_archive(tmp_path / "c.zip") == [tmp_path / "c.zip/a/1.mp4"]


def test_links_to_folders_are_followed_and_loops_are_not(tmp_path: Path) -> None:
    corpus = tmp_path / "corpus"
    for folder in (corpus, tmp_path / "elsewhere"):
        folder.mkdir()
        (folder / "x.mp4").touch()
    (corpus / "linked").symlink_to(tmp_path / "elsewhere")
    (corpus / "loop").symlink_to(corpus)
    (tmp_path / "elsewhere" / "back").symlink_to(corpus)
    assert list_files(corpus) == [corpus / "linked/x.mp4", corpus / "x.mp4"]


def test_folder_that_cannot_be_read_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "locked").mkdir()
    scan = os.scandir

    def refuse(path: str | Path) -> object:
        if str(path).endswith("locked"):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(PermissionError, match="locked"):
        list_files(tmp_path)


def test_name_that_is_no_text_is_told(tmp_path: Path) -> None:
    try:
        (tmp_path / "\udcff.mp4").touch()
    except OSError:
        pytest.skip("this file system takes no such names")
    with pytest.raises(OSError, match="its name is not UTF-8"):
        list_files(tmp_path)


@pytest.mark.parametrize("name", ["./a/1.mp4", "/a/1.mp4", "a//1.mp4", "a\\1.mp4", "../a/1.mp4"])
def test_names_in_archives_may_be_spelt_in_any_way(name: str, tmp_path: Path) -> None:
    write_zip(tmp_path / "c.zip", {name: CONTENT})
    (path,) = list_archive(tmp_path / "c.zip")
    assert path == tmp_path / "c.zip/a/1.mp4"
    with open_binary(path) as file:
        assert file.read() == CONTENT


# --- FER2013's table


@pytest.fixture
def grey() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (48, 48)).astype(np.uint8)


def test_row_of_the_table_is_a_picture_of_its_pixels(tmp_path: Path, grey: np.ndarray) -> None:
    path = write_table(tmp_path / "fer2013.csv", face_line(255 - grey), face_line(grey))
    assert is_packed(path / "2") and exists(path / "2") and not exists(path / "3")
    with open_binary(path / "2") as file:
        data = file.read()
    np.testing.assert_array_equal(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_GRAYSCALE), grey)
    assert file_size(path / "2") == len(data)
    assert file_hash(path / "2") == hashlib.sha256(data).hexdigest() != file_hash(path / "1")


def test_columns_are_found_by_their_names(tmp_path: Path, grey: np.ndarray) -> None:
    pixels = " ".join(map(str, grey.ravel()))
    plain = write_table(tmp_path / "fer2013.csv", face_line(grey))
    other = write_table(tmp_path / "icml.csv", f'0,Training,"{pixels}"', header="\ufeffemotion, Usage, pixels")
    assert file_hash(other / "1") == file_hash(plain / "1")


@pytest.mark.parametrize("name", ["0", "3", "x", "1/2", "-1"])
def test_row_that_is_not_there_is_told(name: str, tmp_path: Path, grey: np.ndarray) -> None:
    path = write_table(tmp_path / "fer2013.csv", face_line(grey), face_line(grey))
    assert f"there is no row {name} in fer2013.csv; " in reason(path / name)


def test_rows_that_there_are_are_named(tmp_path: Path, grey: np.ndarray) -> None:
    path = write_table(tmp_path / "fer2013.csv", face_line(grey), face_line(grey))
    assert reason(path / "7") == "there is no row 7 in fer2013.csv; the table has the rows 1 to 2"


@pytest.mark.parametrize(
    ("pixels", "fault"),
    [
        ("1 2 3", "fer2013.csv: row 1 has 3 pixels, not 2304"),
        ("", "fer2013.csv: row 1 has 0 pixels, not 2304"),
        (" ".join(["256"] * 2304), "fer2013.csv: row 1 has the pixel '256', not 0 to 255"),
        (" ".join(["-1"] * 2304), "fer2013.csv: row 1 has the pixel '-1', not 0 to 255"),
        (" ".join(["1.5"] * 2304), "fer2013.csv: row 1 has the pixel '1.5', not 0 to 255"),
    ],
)
def test_wrong_pixels_are_told_by_their_row(pixels: str, fault: str, tmp_path: Path) -> None:
    assert reason(write_table(tmp_path / "fer2013.csv", f"0,{pixels},Training") / "1") == fault


def test_table_of_other_columns_is_no_picture(tmp_path: Path) -> None:
    path = write_table(tmp_path / "other.csv", "a,b", header="key,video")
    assert reason(path / "1") == "other.csv: it has the columns key, video; it needs emotion, pixels, Usage"
