"""A prepared clip comes back as it was saved, and a damaged one is never read."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mmer.data.clip import PreparedClip
from mmer.errors import ClipError
from mmer.media.jpeg import encode_jpeg


def stored(times: list[float], faces: list[bool] | None = None, seconds: float | None = None) -> PreparedClip:
    """A clip whose frame i is grey of level 10 i."""
    seen = [True] * len(times) if faces is None else faces
    parts = [encode_jpeg(np.full((16, 16, 3), 10 * i, np.uint8), 92) for i in range(len(times))]
    sizes = [len(part) if face else 0 for part, face in zip(parts, seen, strict=True)]
    jpeg = np.concatenate([part for part, face in zip(parts, seen, strict=True) if face] or [np.zeros(0, np.uint8)])
    audio = None if seconds is None else np.linspace(0, 1, round(seconds * 100), dtype=np.float32)
    return PreparedClip(np.array(times), np.array(sizes, np.int64), jpeg, audio, 100, "made of this")


def full() -> PreparedClip:
    """A clip that has everything."""
    boxes = np.array([[10, 20, 30, 0.1], [np.nan] * 4, [11, 20, 30, 0.0]], np.float32)
    units, posteriors = np.ones((1, 17), np.float32), np.linspace(0, 1, 21, dtype=np.float32).reshape(3, 7)
    return replace(
        stored([0.0, 0.1, 0.2], [True, False, True], seconds=0.3),
        boxes=boxes,
        height=720,
        width=1280,
        text="Kids are talking by the door, 顔!",
        features={"posteriors": posteriors, "units": units},
    )


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


@pytest.mark.parametrize("clip", [stored([0.0, 0.1], seconds=0.5), stored([], seconds=0.5), stored([0.0, 0.1]), full()])
def test_clip_comes_back_as_it_was_saved(clip: PreparedClip, tmp_path: Path) -> None:
    clip.save(tmp_path / "a.npz")
    again = PreparedClip.load(tmp_path / "a.npz", "a")
    for name in ("times", "sizes", "jpeg", "audio"):
        np.testing.assert_array_equal(getattr(again, name), getattr(clip, name))
    for name in ("sample_rate", "source", "height", "width", "text"):
        assert getattr(again, name) == getattr(clip, name)
    np.testing.assert_array_equal(again.boxes, clip.boxes if len(clip.boxes) else np.full((len(clip.times), 4), np.nan))
    assert again.features.keys() == clip.features.keys()
    for name, values in clip.features.items():
        np.testing.assert_array_equal(again.features[name], values)
    assert [path.name for path in tmp_path.iterdir()] == ["a.npz"]


def test_clip_is_an_npz_file_that_numpy_reads(tmp_path: Path) -> None:
    clip = full()
    clip.save(tmp_path / "a.npz")
    with np.load(tmp_path / "a.npz", allow_pickle=False) as arrays:
        assert set(arrays) == {"about", "frames", "jpeg", "audio", "features.posteriors", "features.units"}
        np.testing.assert_array_equal(arrays["frames"]["time"], clip.times)
        assert json.loads(arrays["about"].tobytes())["source"] == "made of this"


def test_clip_of_text_alone_has_no_video_and_no_sound() -> None:
    clip = PreparedClip.empty(text="hello")
    assert (clip.has_video, clip.audio, clip.seconds, clip.face_share, clip.text) == (False, None, 0.0, 0.0, "hello")
    assert clip.frames_at(np.zeros(4)) is None


def test_same_clip_is_saved_as_the_same_bytes(tmp_path: Path) -> None:
    clip = full()
    clip.save(tmp_path / "a.npz")
    PreparedClip.load(tmp_path / "a.npz", "a").save(tmp_path / "c.npz")
    replace(clip, features=dict(reversed(clip.features.items()))).save(tmp_path / "b.npz")
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "c.npz").read_bytes()
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


def test_only_what_is_asked_for_is_read_and_the_clip_stays_as_long(tmp_path: Path) -> None:
    clip = stored([0.0, 0.1, 0.2], seconds=0.2)
    clip.save(tmp_path / "a.npz")
    sound = PreparedClip.load(tmp_path / "a.npz", "a", ["audio"])
    sight = PreparedClip.load(tmp_path / "a.npz", "a", ["video"])
    assert not sound.has_video and sound.audio is not None
    assert sight.has_video and sight.audio is None
    assert sound.seconds == sight.seconds == clip.seconds


@pytest.mark.parametrize(
    ("asked", "read"),
    [
        (["video"], {"sizes", "jpeg", "sums", "boxes"}),
        (["audio"], {"audio"}),
        (["text"], {"text"}),
        (["posteriors"], {"features"}),
        (["nothing"], set()),
    ],
)
def test_only_what_is_asked_for_is_read(asked: list[str], read: set[str], tmp_path: Path) -> None:
    full().save(tmp_path / "a.npz")
    whole, part = PreparedClip.load(tmp_path / "a.npz", "a"), PreparedClip.load(tmp_path / "a.npz", "a", asked)
    nothing = replace(PreparedClip.empty(), sizes=np.zeros(3, np.int64))
    for name in ("sizes", "jpeg", "sums", "boxes", "audio", "text"):
        np.testing.assert_array_equal(getattr(part, name), getattr(whole if name in read else nothing, name))
    assert list(part.features) == (["posteriors"] if "features" in read else [])
    np.testing.assert_array_equal(part.times, whole.times)
    assert part.seconds == whole.seconds


def test_frames_are_read_from_the_disk_as_they_are_asked_for(tmp_path: Path) -> None:
    clip = stored([0.0, 0.1, 0.2])
    clip.save(tmp_path / "a.npz")
    part = PreparedClip.load(tmp_path / "a.npz", "a", ["video"])
    assert not part.jpeg.flags.owndata and PreparedClip.load(tmp_path / "a.npz", "a").jpeg.flags.owndata
    times = np.array([0.2, 0.0, 0.0, 0.1])
    np.testing.assert_array_equal(part.frames_at(times), clip.frames_at(times))


def test_frames_are_decoded_where_they_are_wanted() -> None:
    clip = stored([0.0, 0.1, 0.2])
    for times in (np.array([0.0, 0.1, 0.2]), np.array([0.0, 0.0, 0.2, 0.2]), np.array([0.2, 0.0])):
        out = np.full((len(times), 16, 16, 3), 77, np.uint8)
        assert np.shares_memory(clip.frames_at(times, out), out)
        np.testing.assert_array_equal(out, clip.frames_at(times))


def test_frames_of_another_size_than_wanted_are_refused(tmp_path: Path) -> None:
    stored([0.0]).save(tmp_path / "a.npz")
    clip = PreparedClip.load(tmp_path / "a.npz", "a", ["video"])
    with pytest.raises(
        ClipError, match=r"clip a .* unreadable \(could not broadcast .*\); delete it and prepare again"
    ):
        clip.frames_at(np.zeros(1), np.zeros((1, 24, 24, 3), np.uint8))


@pytest.mark.parametrize("modalities", [None, ["video", "audio"]])
@pytest.mark.parametrize("keep", [0.0, 0.3, 0.9])
def test_truncated_clip_is_refused(keep: float, modalities: list[str] | None, tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    stored([0.0, 0.1], seconds=0.5).save(path)
    data = path.read_bytes()
    path.write_bytes(data[: int(keep * len(data))])
    with pytest.raises(ClipError, match=r"clip a \(.*a.npz\): the prepared clip is unreadable .*delete it and prepare"):
        PreparedClip.load(path, "a", modalities)


def flip(path: Path, within: bytes) -> None:
    """Flip a byte of a file in the middle of something that it holds."""
    data = bytearray(path.read_bytes())
    data[data.index(within) + len(within) // 2] ^= 255
    path.write_bytes(data)


@pytest.mark.parametrize("name", ["times", "jpeg", "audio", "posteriors"])
def test_clip_with_a_flipped_byte_is_refused(name: str, tmp_path: Path) -> None:
    path, clip = tmp_path / "a.npz", full()
    clip.save(path)
    hidden = {"times": clip.times[1:2], "posteriors": clip.features["posteriors"]}
    flip(path, (hidden[name] if name in hidden else getattr(clip, name)).tobytes())
    with pytest.raises(
        ClipError, match=r"the prepared clip is unreadable \(the checksum of '\w+.*' is wrong\); delete"
    ):
        PreparedClip.load(path, "a")


def test_flipped_byte_in_a_frame_is_found_when_that_frame_is_read(tmp_path: Path) -> None:
    path, clip = tmp_path / "a.npz", stored([0.0, 0.1, 0.2])
    clip.save(path)
    flip(path, clip.jpeg[clip.sizes[0] : clip.sizes[:2].sum()].tobytes())
    part = PreparedClip.load(path, "a", ["video"])
    assert indices(part.frames_at(np.array([0.0, 0.2]))) == [0, 2]
    with pytest.raises(
        ClipError, match=r"clip a \(.*a.npz\): .* unreadable \(the checksum of frame 1 is wrong\); delete"
    ):
        part.frames_at(np.array([0.0, 0.1]))


def test_stored_bytes_that_are_no_jpeg_are_refused(tmp_path: Path) -> None:
    replace(stored([0.0]), jpeg=np.arange(50, dtype=np.uint8), sizes=np.array([50])).save(tmp_path / "a.npz")
    clip = PreparedClip.load(tmp_path / "a.npz", "a", ["video"])
    with pytest.raises(
        ClipError, match=r"clip a \(.*a.npz\): .* unreadable \(the stored frame is not a JPEG\); delete"
    ):
        clip.frames_at(np.zeros(1))


def test_clip_of_another_format_is_refused(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "packed.npz", about=np.zeros(1000, np.uint8))
    np.savez(tmp_path / "old.npz", times=np.zeros(2))
    with pytest.raises(ClipError, match=r"unreadable .*'about' is compressed or cut off"):
        PreparedClip.load(tmp_path / "packed.npz", "a")
    with pytest.raises(ClipError, match=r"unreadable .*'about'"):
        PreparedClip.load(tmp_path / "old.npz", "a")


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


def test_frames_of_a_clip_keep_their_colours() -> None:
    red = np.zeros((16, 16, 3), np.uint8)
    red[..., 0] = 200
    jpeg = encode_jpeg(red, 92)
    clip = replace(stored([0.0]), jpeg=jpeg, sizes=np.array([len(jpeg)]))
    np.testing.assert_allclose(clip.frames_at(np.zeros(2)).mean(axis=(0, 1, 2)), (200, 0, 0), atol=4)
