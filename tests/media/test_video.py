"""Video files to upright RGB frames with their times."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest

from mmer.errors import ClipError
from mmer.media.container import Source
from mmer.media.video import Frame, has_video, read_video


def read(path: Path, max_seconds: float = 120.0) -> list[Frame]:
    return list(read_video(Source("the key", path, max_seconds)))


def plain(*rgb: int) -> np.ndarray:
    return np.full((32, 48, 3), rgb, np.uint8)


def greys(count: int) -> list[np.ndarray]:
    return [plain(20 * i, 20 * i, 20 * i) for i in range(count)]


@pytest.mark.parametrize("name", ["clip.mp4", "clip.mkv"])
def test_frames_come_in_order_with_their_times(name: str, make_clip: Callable[..., Path]) -> None:
    frames = read(make_clip(name, greys(10)))
    np.testing.assert_allclose([frame.time for frame in frames], np.arange(10) / 25, atol=1e-3)
    levels = [frame.image.mean() for frame in frames]
    np.testing.assert_allclose(levels, 20 * np.arange(10), atol=4)


def test_times_of_a_variable_frame_rate_are_those_of_the_file(tmp_path: Path, write_timed: Callable[..., Path]) -> None:
    times = [0.0, 0.04, 0.08, 0.5, 1.7, 1.74]
    frames = read(write_timed(tmp_path / "clip.mp4", greys(6), times))
    np.testing.assert_allclose([frame.time for frame in frames], times, atol=1e-3)
    np.testing.assert_allclose([frame.image.mean() for frame in frames], 20 * np.arange(6), atol=4)


def test_red_stays_red(make_clip: Callable[..., Path]) -> None:
    red = read(make_clip("clip.mp4", [plain(220, 30, 30)] * 3))[1].image
    np.testing.assert_allclose(red.mean(axis=(0, 1)), (220, 30, 30), atol=12)


@pytest.mark.parametrize("matrix", [(1, 0, 0, 1), (0, 1, -1, 0), (-1, 0, 0, -1), (0, -1, 1, 0)])
def test_picture_is_turned_as_the_display_matrix_says(
    matrix: tuple[int, int, int, int],
    tmp_path: Path,
    write_timed: Callable[..., Path],
    turn_on_display: Callable[..., Path],
) -> None:
    """ISO/IEC 14496-12: the stored point (x, y), y downwards, is shown at (ax + cy, bx + dy)."""
    a, b, c, d = matrix
    stored = plain(40, 40, 40)
    stored[:16, :24] = 240  # the corner at (-1, -1), seen from the centre
    path = write_timed(tmp_path / "clip.mp4", [stored] * 3, [0.0, 0.04, 0.08])

    shown = read(turn_on_display(path, matrix))[0].image
    assert shown.shape[:2] == ((32, 48) if b == 0 else (48, 32))
    x, y = -a - c, -b - d
    height, width = shown.shape[:2]
    rows = slice(0, height // 2) if y < 0 else slice(height // 2, None)
    columns = slice(0, width // 2) if x < 0 else slice(width // 2, None)
    assert shown[rows, columns].mean() > 200
    assert shown.mean() < 110, "one quarter is bright"


def test_clip_of_two_tenths_of_a_second_is_read(make_clip: Callable[..., Path]) -> None:
    assert len(read(make_clip("clip.mp4", greys(5)))) == 5


def test_single_frame_is_read(make_clip: Callable[..., Path]) -> None:
    assert [frame.time for frame in read(make_clip("clip.mp4", greys(1)))] == [0.0]


def test_sound_file_has_no_video(odd_media: dict[str, Path]) -> None:
    path = odd_media["sound only.m4a"]
    assert not has_video(Source("the key", path))
    with pytest.raises(ClipError) as caught:
        read(path)
    assert caught.value.message == f"clip the key ({path}): it has no video stream"


def test_cover_picture_of_a_sound_file_is_no_video(tmp_path: Path, tone: Callable[..., np.ndarray]) -> None:
    path = tmp_path / "song.mp3"
    with av.open(str(path), "w") as container:
        sound, cover = container.add_stream("libmp3lame", rate=48_000), container.add_stream("png", rate=1)
        cover.height, cover.width, cover.pix_fmt = 32, 48, "rgb24"
        cover.disposition = av.stream.Disposition.attached_pic
        frame = av.AudioFrame.from_ndarray(tone(0.5, 48_000)[None], format="fltp", layout="mono")
        frame.sample_rate = 48_000
        container.mux([*cover.encode(av.VideoFrame.from_ndarray(plain(9, 9, 9), format="rgb24")), *cover.encode(None)])
        container.mux([*sound.encode(frame), *sound.encode(None)])
    with av.open(str(path)) as container:
        assert container.streams.video, "the file does have a picture"
    assert not has_video(Source("the key", path))


def test_relative_name_with_a_colon_is_no_protocol(
    make_clip: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(make_clip("12:30.mp4", greys(3)).parent)
    assert len(read(Path("12:30.mp4"))) == 3


def test_frames_are_read_one_by_one(make_clip: Callable[..., Path]) -> None:
    frames = read_video(Source("the key", make_clip("clip.mp4", greys(10))))
    assert next(frames).time == 0.0
    frames.close()


def test_too_long_a_video_is_refused_before_it_is_decoded(make_clip: Callable[..., Path]) -> None:
    frames = read_video(Source("the key", make_clip("clip.mp4", greys(12)), max_seconds=0.2))
    with pytest.raises(ClipError, match=r"it lasts 0 s and a clip may last 0 s; cut it into clips"):
        next(frames)


def test_too_long_a_video_whose_header_claims_nothing_is_refused_on_the_way(
    tmp_path: Path, write_timed: Callable[..., Path]
) -> None:
    write_timed(tmp_path / "clip.mkv", greys(8), [float(time) for time in range(8)], live="1")
    with pytest.raises(ClipError, match=r"it lasts 5 s and a clip may last 4 s"):
        read(tmp_path / "clip.mkv", max_seconds=4)
    assert len(read(tmp_path / "clip.mkv")) == 8


@pytest.mark.parametrize("share", [0.05, 0.3, 0.6, 0.9, 0.99])
@pytest.mark.parametrize("suffix", ["mp4", "avi"])
def test_truncated_anywhere_is_never_a_shorter_clip(share: float, suffix: str, make_clip: Callable[..., Path]) -> None:
    rng = np.random.default_rng(0)
    whole = make_clip(f"whole.{suffix}", list(rng.integers(0, 256, (50, 32, 48, 3), np.uint8)))
    data = whole.read_bytes()
    cut = whole.with_stem("cut")
    cut.write_bytes(data[: int(share * len(data))])
    assert len(read(whole)) == 50
    with pytest.raises(ClipError):
        read(cut)


def test_real_clips_have_their_thirty_frames_a_second(real_data: Path) -> None:
    path = min(real_data.glob("ravdess/*/01-*.mp4"), default=None)
    if path is None:
        pytest.skip("no RAVDESS video")
    frames = read(path)
    assert frames[0].image.shape == (720, 1280, 3)
    np.testing.assert_allclose(np.diff([frame.time for frame in frames]), 1001 / 30_000, atol=1e-3)


def test_reader_that_is_given_up_half_way_never_hangs(talking: Path) -> None:
    """Decoder threads that log through PyAV wait for the interpreter's lock while closing the file waits for them."""
    code = f"""if True:
        from pathlib import Path
        from mmer.media.container import Source
        from mmer.media.video import read_video
        for _ in range(100):
            next(read_video(Source("the key", Path({str(talking)!r}))))
    """
    subprocess.run([sys.executable, "-c", code], check=True, timeout=40)
