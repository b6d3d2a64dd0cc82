"""A face is cut out where its box is, whatever the frame's format, and in its own colours."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from mmer.media.container import Source
from mmer.media.faces.boxes import Box
from mmer.media.faces.cut import centre_box, cut, is_blank
from mmer.media.video import Frame, Image, read_video

Shown = Callable[..., Frame]


def chart() -> Image:
    """A picture whose red says the column and whose green says the row."""
    image = np.zeros((100, 120, 3), np.uint8)
    image[..., 0], image[..., 1] = np.arange(120), np.arange(100)[:, None]
    return image


def middle(image: Image) -> tuple[float, ...]:
    return tuple(image.mean(axis=(0, 1)))


def test_cut_is_centred_on_the_box(shown: Shown) -> None:
    np.testing.assert_array_equal(cut(shown(chart()), Box(60, 40, 20), 0.0, 20), chart()[30:50, 50:70])


def test_margin_is_a_share_of_the_side(shown: Shown) -> None:
    np.testing.assert_array_equal(cut(shown(chart()), Box(60, 50, 20), 0.5, 30), chart()[35:65, 45:75])


@pytest.mark.parametrize("x", [-3, 2, 118, 123])
@pytest.mark.parametrize("y", [-3, 2, 98, 103])
def test_what_lies_outside_repeats_the_edge(x: int, y: int, shown: Shown) -> None:
    columns, rows = np.clip(np.arange(x - 10, x + 10), 0, 119), np.clip(np.arange(y - 10, y + 10), 0, 99)
    np.testing.assert_array_equal(cut(shown(chart()), Box(x, y, 20), 0.0, 20), chart()[np.ix_(rows, columns)])


@pytest.mark.parametrize("size", [16, 22, 300])
def test_cut_is_scaled_to_the_size_asked_for(size: int, shown: Shown) -> None:
    image = cut(shown(chart()), Box(60, 50, 40), 0.3, size)
    assert image.shape == (size, size, 3) and image.dtype == np.uint8
    assert middle(image) == pytest.approx((59.5, 49.5, 0), abs=0.6)
    assert image[0, -1, 0] - float(image[0, 0, 0]) == pytest.approx(52 * (size - 1) / size, abs=2.5)


def test_large_face_is_averaged_and_not_sampled(shown: Shown) -> None:
    """Stripes of one pixel become grey; every n-th pixel of them would be black or white."""
    stripes = np.zeros((512, 512, 3), np.uint8)
    stripes[:, ::2] = 255
    for pixel_format in ("rgb24", "yuv420p"):
        image = cut(shown(stripes, pixel_format), Box(256, 256, 400), 0.0, 50)
        assert image.std() < 8 and abs(image.mean() - 127) < 8


@pytest.mark.parametrize("degrees", [-30, 12, 90])
def test_roll_is_undone(degrees: float, shown: Shown) -> None:
    """Along the line between the eyes the picture is level after the cut."""
    roll = math.radians(degrees)
    image = cut(shown(chart()), Box(60, 50, 30, roll), 0.0, 30).astype(float)
    along = image[15, 25, :2] - image[15, 5, :2]
    np.testing.assert_allclose(along, 20 * np.array([math.cos(roll), math.sin(roll)]), atol=1.1)
    assert middle(image) == pytest.approx((59.5, 49.5, 0), abs=0.8)


@pytest.mark.parametrize(("height", "width"), [(100, 120), (120, 100), (99, 121), (64, 64)])
def test_centre_is_the_largest_square_of_whole_pixels(height: int, width: int, shown: Shown) -> None:
    image = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    cut_out = cut(shown(image), centre_box(shown(image)), 0.0, side)
    np.testing.assert_array_equal(cut_out, image[top : top + side, left : left + side])


def test_black_frame_is_blank_and_a_dark_one_is_not() -> None:
    assert is_blank(np.full((4, 4, 3), 16, np.uint8))
    assert not is_blank(np.full((4, 4, 3), 40, np.uint8))


def slowly(image: Image, box: Box, size: int) -> Image:
    """Cut a level face out of RGB pixels with an area average."""
    half = box.side / 2
    rows, columns = (slice(round(centre - half), round(centre + half)) for centre in (box.y, box.x))
    return cv2.resize(image[rows, columns], (size, size), interpolation=cv2.INTER_AREA)


@pytest.mark.parametrize("side", [200, 224, 380, 500])
def test_real_face_looks_as_if_the_whole_frame_had_been_converted(side: int, real_data: Path) -> None:
    path = min(real_data.glob("ravdess/*/01-*.mp4"), default=None)
    if path is None:
        pytest.skip("no RAVDESS video")
    box = Box(640, 330, side)
    quick, slow = (next(read_video(Source("a", path))) for _ in range(2))
    _ = slow.image  # what is converted already is cut as it is
    assert cv2.PSNR(cut(quick, box, 0.0, 224), cut(slow, box, 0.0, 224)) > 42
    assert cv2.PSNR(cut(quick, box, 0.0, 224), slowly(slow.image, box, 224)) > 34
