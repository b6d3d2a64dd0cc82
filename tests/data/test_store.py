"""A prepared clip comes back as it was saved, and a damaged one is never read."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mmer.config import PrepareConfig
from mmer.data.store import PreparedClip, PreparedCorpus, clip_path, read_settings, write_settings
from mmer.errors import ClipError, CorpusError
from mmer.media.jpeg import encode_jpeg


def stored(times: list[float], faces: list[bool] | None = None, seconds: float | None = None) -> PreparedClip:
    """A clip whose frame i is grey of level 10 i."""
    seen = [True] * len(times) if faces is None else faces
    parts = [encode_jpeg(np.full((16, 16, 3), 10 * i, np.uint8), 92) for i in range(len(times))]
    sizes = [len(part) if face else 0 for part, face in zip(parts, seen, strict=True)]
    jpeg = np.concatenate([part for part, face in zip(parts, seen, strict=True) if face] or [np.zeros(0, np.uint8)])
    audio = None if seconds is None else np.linspace(0, 1, round(seconds * 100), dtype=np.float32)
    return PreparedClip(np.array(times), np.array(sizes, np.int64), jpeg, audio, 100, "made of this")


def indices(frames: np.ndarray) -> list[int]:
    return [round(float(frame.mean()) / 10) for frame in frames]


def test_frame_nearest_in_time_is_returned_not_the_nth() -> None:
    clip = stored([0.0, 0.1, 0.2, 0.3, 2.0])
    assert indices(clip.frames_at(np.array([0.04, 0.06, 1.0, 1.2, 9.0]))) == [0, 1, 3, 4, 4]


def test_frames_without_a_face_are_passed_over() -> None:
    clip = stored([0.0, 0.1, 0.2, 0.3], [False, True, False, True])
    assert indices(clip.frames_at(np.array([0.0, 0.12, 0.21, 0.4]))) == [1, 1, 3, 3]
    assert clip.face_share == 0.5


def test_a_window_without_a_face_has_no_video() -> None:
    clip = stored([0.1 * i for i in range(20)], [i < 3 for i in range(20)])
    assert indices(clip.frames_at(np.array([0.0, 0.1, 0.6, 1.8]))) == [0, 1, 2, 2]
    assert clip.frames_at(np.array([0.1, 1.5, 1.6, 1.8])) is None
    assert stored([]).frames_at(np.array([0.0])) is None


def test_a_frame_that_stands_for_long_is_no_missing_face() -> None:
    assert indices(stored([0.0, 2.0]).frames_at(np.array([0.8, 0.9, 1.2]))) == [0, 0, 1]


def test_seconds_are_those_of_the_longer_stream() -> None:
    assert stored([0.0, 0.1, 0.2, 0.3]).seconds == pytest.approx(0.4)
    assert stored([0.0, 0.1], seconds=1.5).seconds == pytest.approx(1.5)
    assert stored([0.0]).seconds == 0
    assert stored([], seconds=0.7).seconds == pytest.approx(0.7)


@pytest.mark.parametrize("clip", [stored([0.0, 0.1], seconds=0.5), stored([], seconds=0.5), stored([0.0, 0.1])])
def test_clip_comes_back_as_it_was_saved(clip: PreparedClip, tmp_path: Path) -> None:
    clip.save(tmp_path / "a.npz")
    again = PreparedClip.load(tmp_path / "a.npz", "a")
    for name in ("times", "sizes", "jpeg", "audio"):
        np.testing.assert_array_equal(getattr(again, name), getattr(clip, name))
    assert (again.sample_rate, again.source) == (100, "made of this")
    assert [path.name for path in tmp_path.iterdir()] == ["a.npz"]


def test_same_clip_is_saved_as_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        stored([0.0, 0.1], seconds=0.5).save(tmp_path / f"{name}.npz")
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


def test_only_what_is_asked_for_is_read_and_the_clip_stays_as_long(tmp_path: Path) -> None:
    clip = stored([0.0, 0.1, 0.2], seconds=0.2)
    clip.save(tmp_path / "a.npz")
    sound = PreparedClip.load(tmp_path / "a.npz", "a", ["audio"])
    sight = PreparedClip.load(tmp_path / "a.npz", "a", ["video"])
    assert not sound.has_video and sound.audio is not None
    assert sight.has_video and sight.audio is None
    assert sound.seconds == sight.seconds == clip.seconds


@pytest.mark.parametrize("keep", [0.0, 0.3, 0.9])
def test_truncated_clip_is_refused(keep: float, tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    stored([0.0, 0.1], seconds=0.5).save(path)
    data = path.read_bytes()
    path.write_bytes(data[: int(keep * len(data))])
    with pytest.raises(ClipError, match=r"clip a \(.*a.npz\): the prepared clip is unreadable .*delete it and prepare"):
        PreparedClip.load(path, "a")


def test_clip_with_a_flipped_byte_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    clip = stored([0.0, 0.1], seconds=0.5)
    clip.save(path)
    data = bytearray(path.read_bytes())
    data[data.index(clip.jpeg.tobytes()) + 50] ^= 255
    path.write_bytes(data)
    with pytest.raises(ClipError, match="the prepared clip is unreadable"):
        PreparedClip.load(path, "a")


def test_missing_clip_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ClipError, match=r"clip a .*No such file.*delete it and prepare again"):
        PreparedClip.load(tmp_path / "a.npz", "a")


def test_failed_save_leaves_the_old_clip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stored([0.0], seconds=0.5).save(tmp_path / "a.npz")
    before = (tmp_path / "a.npz").read_bytes()

    def fail(file: object, **arrays: object) -> None:
        file.write(b"half")
        raise OSError("no space left on device")

    monkeypatch.setattr(np, "savez", fail)
    with pytest.raises(OSError, match="no space"):
        stored([0.0, 1.0]).save(tmp_path / "a.npz")
    assert [path.name for path in tmp_path.iterdir()] == ["a.npz"]
    assert (tmp_path / "a.npz").read_bytes() == before


@pytest.mark.parametrize(
    "key", ["a/b", "..", ".hidden", "../../etc/passwd", "a%2Fb", "ä ö", 'x:y*"<>|?', "a\\b", "a\nb"]
)
def test_any_key_is_one_file_in_the_folder(key: str, tmp_path: Path) -> None:
    path = clip_path(tmp_path, key)
    assert path.resolve().parent == (tmp_path / "clips").resolve()
    assert path.suffix == ".npz" and not path.name.startswith(".")


def test_different_keys_are_different_files(tmp_path: Path) -> None:
    keys = ["a/b", "a%2Fb", "a_b", "a:b", "a b", "a.b", "A/b"]
    assert len({clip_path(tmp_path, key) for key in keys}) == len(keys)


def test_settings_come_back(tmp_path: Path) -> None:
    config = PrepareConfig(detector="none", size=64, margin=0.1)
    assert read_settings(tmp_path) is None
    write_settings(tmp_path, config)
    assert read_settings(tmp_path) == config


def test_settings_of_another_version_are_refused(tmp_path: Path) -> None:
    (tmp_path / "prepare.json").write_text('{"format": 99, "config": {}}')
    with pytest.raises(CorpusError, match="has format 99 and this version reads 1; prepare it again"):
        read_settings(tmp_path)


def test_damaged_settings_are_refused(tmp_path: Path) -> None:
    (tmp_path / "prepare.json").write_text('{"format": 1, "con')
    with pytest.raises(CorpusError, match=r"prepare.json is damaged .*; delete the folder and prepare again"):
        read_settings(tmp_path)


@pytest.mark.parametrize("begun", [False, True])
def test_folder_that_is_not_prepared_or_not_finished_is_refused(begun: bool, tmp_path: Path) -> None:
    if begun:
        write_settings(tmp_path, PrepareConfig())
    with pytest.raises(CorpusError, match=r"is not a prepared folder; make it with: mmer prepare ravdess\|table"):
        PreparedCorpus.open(tmp_path)


def test_frames_of_a_clip_keep_their_colours() -> None:
    red = np.zeros((16, 16, 3), np.uint8)
    red[..., 0] = 200
    jpeg = encode_jpeg(red, 92)
    clip = replace(stored([0.0]), jpeg=jpeg, sizes=np.array([len(jpeg)]))
    np.testing.assert_allclose(clip.frames_at(np.zeros(2)).mean(axis=(0, 1, 2)), (200, 0, 0), atol=4)
