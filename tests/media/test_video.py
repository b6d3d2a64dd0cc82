"""Video files to upright RGB frames with their times."""

from __future__ import annotations

import gc
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import av
import cv2
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


MATRICES = [(1, 0, 0, 1), (0, 1, -1, 0), (-1, 0, 0, -1), (0, -1, 1, 0)]
MATRICES += [(-1, 0, 0, 1), (1, 0, 0, -1), (0, 1, 1, 0), (0, -1, -1, 0)]  # mirrored, as front cameras write it


@pytest.mark.parametrize("matrix", MATRICES)
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


def test_display_matrix_of_zeros_turns_nothing(
    tmp_path: Path, write_timed: Callable[..., Path], turn_on_display: Callable[..., Path]
) -> None:
    path = turn_on_display(write_timed(tmp_path / "clip.mp4", [SPOTS] * 3, [0.0, 0.04, 0.08]), (0, 0, 0, 0))
    assert np.abs(read(path)[0].image.astype(int) - SPOTS).mean() < 12


# --- pixels are converted when they are asked for


SPOTS = np.kron(np.random.default_rng(0).integers(0, 256, (13, 20, 3), np.uint8), np.ones((8, 8, 1), np.uint8))
"""A colourful picture of 104 x 160 pixels, in blocks that half the resolution of colours can hold."""

PARTS = [(0, 0, 160, 104), (8, 16, 40, 48), (3, 5, 31, 40), (150, 97, 160, 104), (0, 103, 1, 104)]
"""left, top, right, bottom: the whole, even and odd ones, a corner, a single pixel."""


def pictures(pixel_format: str, colorspace: int = 2, color_range: int = 0, image: np.ndarray = SPOTS) -> av.VideoFrame:
    picture = av.VideoFrame.from_ndarray(image, format="rgb24").reformat(format=pixel_format)
    picture.colorspace, picture.color_range = colorspace, color_range
    return picture


def part_of(image: np.ndarray, left: int, top: int, right: int, bottom: int) -> np.ndarray:
    return image[top:bottom, left:right]


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize(
    "pixel_format", ["yuv420p", "yuvj420p", "yuv422p", "yuv444p", "nv12", "gray", "rgb24", "yuv420p10le"]
)
def test_part_is_that_of_the_whole_picture(pixel_format: str, part: tuple[int, ...]) -> None:
    quick, whole = (Frame(0.0, pictures(pixel_format)) for _ in range(2))
    np.testing.assert_array_equal(quick.part(*part), part_of(whole.image, *part))
    np.testing.assert_array_equal(whole.part(*part), part_of(whole.image, *part))


@pytest.mark.parametrize(("colorspace", "color_range"), [(1, 1), (1, 2), (5, 1), (5, 2), (9, 1), (2, 0)])
def test_part_has_the_colours_that_the_frame_says(colorspace: int, color_range: int) -> None:
    """BT.709, BT.601 or BT.2020; limited or full range: each gives other colours of the same bytes."""
    quick, whole = (Frame(0.0, pictures("yuv420p", colorspace, color_range)) for _ in range(2))
    np.testing.assert_array_equal(quick.part(8, 8, 64, 64), whole.image[8:64, 8:64])
    other = Frame(0.0, pictures("yuv420p", 5 if colorspace != 5 else 1, color_range))
    assert np.abs(other.part(8, 8, 64, 64).astype(int) - quick.part(8, 8, 64, 64)).max() > 5 or colorspace == 2


@pytest.mark.parametrize("matrix", MATRICES)
@pytest.mark.parametrize("halvings", [0, 1])
def test_part_of_a_turned_picture_is_upright(
    matrix: tuple[int, int, int, int],
    halvings: int,
    tmp_path: Path,
    write_timed: Callable[..., Path],
    turn_on_display: Callable[..., Path],
) -> None:
    path = turn_on_display(write_timed(tmp_path / "clip.mp4", [SPOTS] * 2, [0.0, 0.04]), matrix)
    quick, whole = read(path)[0], read(path)[0]
    assert (quick.height, quick.width) == whole.image.shape[:2]
    for left, top, right, bottom in ((8, 16, 40, 80), (3, 5, 31, 40)):
        part = quick.part(left, top, right, bottom, halvings)
        exact = whole.image[top:bottom, left:right]
        assert part.shape[:2] == (exact.shape[0] >> halvings, exact.shape[1] >> halvings)
        if halvings == 0:
            np.testing.assert_array_equal(part, exact)
        else:
            rows, columns = (2 * side for side in part.shape[:2])
            blocks = exact[:rows, :columns].reshape(rows // 2, 2, columns // 2, 2, 3).mean(axis=(1, 3))
            assert np.abs(part - blocks).mean() < 6, "colours are halved once more than brightness"
    grey = quick.grey(80)
    assert grey.shape == (whole.height // 2, whole.width // 2)
    brightness = cv2.resize(whole.image, grey.shape[::-1], interpolation=cv2.INTER_AREA) @ [0.299, 0.587, 0.114]
    assert np.corrcoef(grey.ravel(), brightness.ravel())[0, 1] > 0.97


@pytest.mark.parametrize("halvings", [1, 2, 3])
@pytest.mark.parametrize("pixel_format", ["yuv420p", "yuvj420p", "rgb24"])
def test_halved_part_is_the_average_of_its_blocks(pixel_format: str, halvings: int) -> None:
    smooth = cv2.GaussianBlur(SPOTS, (0, 0), 20)
    quick, whole = (Frame(0.0, pictures(pixel_format, image=smooth)) for _ in range(2))
    step = 1 << halvings
    for left, top in ((16, 32), (5, 7)):
        part = quick.part(left, top, left + 64, top + 64, halvings)
        exact = whole.image[top : top + 64, left : left + 64].astype(float)
        blocks = exact.reshape(64 // step, step, 64 // step, step, 3).mean(axis=(1, 3))
        assert part.shape == blocks.shape
        assert np.abs((part - blocks) @ [0.299, 0.587, 0.114]).max() < 3
        assert np.abs(part - blocks).mean() < 2.5, "colours are halved once more than brightness"


@pytest.mark.parametrize(("height", "width"), [(103, 160), (104, 159), (1, 1)])
def test_part_of_a_picture_with_odd_sides(height: int, width: int) -> None:
    quick, whole = (Frame(0.0, pictures("yuv420p", image=SPOTS[:height, :width])) for _ in range(2))
    left, top = width // 2, height // 2
    np.testing.assert_array_equal(quick.part(left, top, width, height), whole.image[top:, left:])
    assert quick.grey(64).shape == tuple(
        max(1, round(side * min(1, 64 / max(height, width)))) for side in (height, width)
    )


def test_part_converts_no_more_than_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    frame = Frame(0.0, pictures("yuv420p"))
    frame.part(0, 0, 32, 32)
    frame.grey(64)
    assert "image" not in vars(frame)
    assert frame.image is frame.image, "what was converted is kept"


@pytest.mark.parametrize("pixel_format", ["yuv420p", "nv12", "gray", "rgb24", "yuv420p10le"])
def test_grey_is_the_picture_s_brightness(pixel_format: str) -> None:
    frame = Frame(0.0, pictures(pixel_format))
    for longest in (40, 100, 160, 500):
        grey = frame.grey(longest)
        side = min(longest, 160)
        assert grey.shape == (round(side * 104 / 160), side) and grey.dtype == np.uint8
        exact = cv2.resize(SPOTS, grey.shape[::-1], interpolation=cv2.INTER_AREA) @ [0.299, 0.587, 0.114]
        assert np.corrcoef(grey.ravel(), exact.ravel())[0, 1] > 0.97


def test_threads_change_no_pixel(talking: Path) -> None:
    reads = [list(read_video(Source("the key", talking), threads)) for threads in (1, 0, 4)]
    for frames in reads[1:]:
        assert [frame.time for frame in frames] == [frame.time for frame in reads[0]]
        assert all((a.image == b.image).all() for a, b in zip(frames, reads[0], strict=True))


def test_one_thread_is_one_thread(talking: Path) -> None:
    """Workers read a clip each: threads of their own would only get in each other's way."""
    before = threading_count()
    frames = read_video(Source("the key", talking))
    next(frames)
    assert threading_count() == before
    frames.close()


def threading_count() -> int:
    status = Path("/proc/self/status")
    if not status.exists():
        pytest.skip("no /proc to count threads in")
    return int(next(line.split()[1] for line in status.read_text().splitlines() if line.startswith("Threads:")))


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


def test_frames_are_freed_as_soon_as_nobody_holds_them(
    make_clip: Callable[..., Path], turn_on_display: Callable[..., Path]
) -> None:
    """Large pictures that waited for the cycle collector would fill many times the memory."""

    def alive() -> int:
        return sum(type(held) is av.VideoFrame for held in gc.get_objects())

    path = turn_on_display(make_clip("clip.mp4", [plain(9, 9, 9)] * 60), (0, 1, 1, 0))
    gc.collect()
    gc.disable()
    try:
        before = alive()
        for number, frame in enumerate(read_video(Source("the key", path))):
            assert frame.image.shape == (48, 32, 3) and frame.grey(16).shape == (16, 11)
            if number == 50:
                assert alive() < before + 20
    finally:
        gc.enable()


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
            next(read_video(Source("the key", Path({str(talking)!r})), threads=0))
    """
    subprocess.run([sys.executable, "-c", code], check=True, timeout=40)
