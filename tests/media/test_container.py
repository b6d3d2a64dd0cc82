"""Whatever is wrong with a file becomes one ClipError that names it."""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from mmer.errors import ClipError, MmerError
from mmer.media.audio import find_audio, read_audio
from mmer.media.container import Source, open_media
from mmer.media.video import Frame, read_video


def fault(path: Path, max_seconds: float = 120.0) -> ClipError:
    with pytest.raises(ClipError) as caught, open_media(Source("the key", path, max_seconds)):
        pass
    assert (caught.value.key, caught.value.path) == ("the key", str(path))
    return caught.value


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("missing.mp4", "the file does not exist"),
        ("folder.mp4", "it is not a file"),
        ("zero bytes.mp4", "the file is empty (0 bytes)"),
        ("text.mp4", "it cannot be read as media: Invalid data found when processing input"),
        ("one hour.mp4", "it lasts 3600 s and a clip may last 120 s; cut it into clips"),
    ],
)
def test_reason_is_exact(name: str, reason: str, bad_media: dict[str, Path]) -> None:
    assert fault(bad_media[name]).reason == reason


def test_truncated_file_is_told_by_its_bytes(bad_media: dict[str, Path]) -> None:
    path = bad_media["cut in the middle.wav"]
    size = path.stat().st_size
    assert fault(path).reason == f"it ends after {size} of {2 * 2 * 48_000 + 44 - 64} bytes; the file is truncated"


def test_file_without_a_stream_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "nothing.mp4"
    path.write_bytes(b"\0\0\0\x10ftypisom\0\0\0\0" + b"\0\0\0\x08moov" + b"\0\0\0\x08mdat")
    assert "it cannot be read as media" in fault(path).reason


def test_name_that_is_too_long_for_a_file_is_one_clip_error() -> None:
    assert "File name too long" in fault(Path("a sentence in the wrong column " * 20)).reason


def test_message_is_one_line_with_key_path_and_reason(tmp_path: Path) -> None:
    assert fault(tmp_path / "gone.mp4").message == f"clip the key ({tmp_path / 'gone.mp4'}): the file does not exist"


def test_clip_error_is_the_users_to_mend_and_can_cross_processes() -> None:
    error = ClipError("a", "b.mp4", "it is\nbroken")
    assert isinstance(error, MmerError)
    again = pickle.loads(pickle.dumps(error))
    assert (again.key, again.path, again.reason) == ("a", "b.mp4", "it is broken")
    assert str(again) == str(error) == "clip a (b.mp4): it is broken"


def test_path_is_not_repeated_when_it_is_the_key() -> None:
    assert str(ClipError("b.mp4", "b.mp4", "it is broken")) == "clip b.mp4: it is broken"


# --- archives, tables, pictures


def packed(path: Path) -> Path:
    """Put a file into an archive beside it, and return where it lies there."""
    archive = path.parent / f"{path.name}.zip"
    with zipfile.ZipFile(archive, "w") as file:
        file.write(path, f"Actor_01/{path.name}")
    return archive / "Actor_01" / path.name


def frames(path: Path) -> list[Frame]:
    return list(read_video(Source("the key", path)))


def test_clip_in_an_archive_is_the_clip(talking: Path, tmp_path: Path) -> None:
    (tmp_path / "talking.mp4").write_bytes(talking.read_bytes())
    inside = packed(tmp_path / "talking.mp4")
    for first, second in zip(frames(talking), frames(inside), strict=True):
        assert first.time == second.time
        np.testing.assert_array_equal(first.image, second.image)
    source = Source("the key", inside)
    assert find_audio(source, 16_000) is not None
    np.testing.assert_array_equal(read_audio(source, 16_000), read_audio(Source("the key", talking), 16_000))


@pytest.mark.parametrize(
    "name",
    ["zero bytes.mp4", "text.mp4", "cut in moov.mp4", "cut in the middle.mp4", "cut in the middle.wav", "one hour.mp4"],
)
def test_reason_is_the_same_in_an_archive(name: str, bad_media: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(bad_media[name].read_bytes())
    inside = packed(tmp_path / name)
    assert fault(inside).reason == fault(bad_media[name]).reason


def test_archive_says_what_it_lacks(talking: Path, tmp_path: Path) -> None:
    (tmp_path / "talking.mp4").write_bytes(talking.read_bytes())
    archive = packed(tmp_path / "talking.mp4").parents[1]
    assert fault(archive / "gone.mp4").reason == (
        "it cannot be read as media: there is no gone.mp4 in the archive talking.mp4.zip"
    )
    archive.write_bytes(archive.read_bytes()[:999])
    assert fault(archive / "gone.mp4").reason.endswith("cannot be unpacked: File is not a zip file; fetch it again")


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".bmp", ".webp", ".tif"])
@pytest.mark.parametrize("pack", [packed, Path], ids=["packed", "plain"])
def test_picture_is_a_clip_of_one_frame(suffix: str, pack: Callable[[Path], Path], tmp_path: Path) -> None:
    grey = np.arange(48 * 48, dtype=np.uint16).reshape(48, 48).astype(np.uint8)
    path = tmp_path / f"one %03d{suffix}"
    cv2.imwrite(str(path), grey)
    (frame,) = frames(pack(path))
    assert frame.time == 0.0
    off = np.abs(frame.image.astype(int) - cv2.imread(str(path))[:, :, ::-1].astype(int))
    assert off.max() <= (1 if suffix == ".jpg" else 0)
    assert find_audio(Source("the key", path), 16_000) is None


def test_name_of_a_picture_is_no_pattern(tmp_path: Path) -> None:
    for name, level in (("%03d.png", 9), ("000.png", 100), ("001.png", 200)):
        cv2.imwrite(str(tmp_path / name), np.full((48, 48), level, np.uint8))
    (frame,) = frames(tmp_path / "%03d.png")
    assert frame.image.max() == 9


def test_photo_of_a_turned_camera_is_upright(tmp_path: Path) -> None:
    image = np.zeros((80, 60, 3), np.uint8)
    image[:40] = 250  # what is above is shown on the right
    turned = Image.Exif()
    turned[0x0112] = 6
    Image.fromarray(image).save(tmp_path / "photo.jpg", exif=turned)
    (frame,) = frames(tmp_path / "photo.jpg")
    assert frame.image.shape == (60, 80, 3)
    assert frame.image[:, 0].mean() < 5 and frame.image[:, -1].mean() > 245


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".bmp", ".webp"])
def test_picture_that_is_cut_off_is_refused(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"cut{suffix}"
    cv2.imwrite(str(path), np.random.default_rng(0).integers(0, 256, (48, 48, 3)).astype(np.uint8))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(ClipError, match=r"cannot be read as media|the file is truncated"):
        frames(path)


def test_picture_without_an_end_is_refused(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "cut.jpg"), np.zeros((48, 48), np.uint8))
    (tmp_path / "cut.jpg").write_bytes((tmp_path / "cut.jpg").read_bytes()[:-2])
    assert fault(tmp_path / "cut.jpg").reason == "its picture has no end; the file is truncated"


def test_row_of_a_table_is_a_clip_of_one_frame(tmp_path: Path) -> None:
    grey = np.arange(48 * 48, dtype=np.uint16).reshape(48, 48).astype(np.uint8)
    table = tmp_path / "fer2013.csv"
    table.write_text(f"emotion,pixels,Usage\n3,{' '.join(map(str, grey.ravel()))},Training\n0,1 2,Training\n")
    (frame,) = frames(table / "1")
    assert frame.time == 0.0
    np.testing.assert_array_equal(frame.image, np.repeat(grey[..., None], 3, axis=2))
    assert fault(table / "2").reason == "it cannot be read as media: fer2013.csv: row 2 has 2 pixels, not 2304"
