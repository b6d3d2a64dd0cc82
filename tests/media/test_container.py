"""Whatever is wrong with a file becomes one ClipError that names it."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from mmer.errors import ClipError, MmerError
from mmer.media.container import Source, open_media


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
