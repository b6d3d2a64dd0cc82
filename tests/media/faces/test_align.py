"""The roll of a head is that of the line between its eyes."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from mmer.media.container import Source
from mmer.media.faces.align import find_roll
from mmer.media.faces.boxes import Box
from mmer.media.faces.detectors import Haar
from mmer.media.faces.look import Search
from mmer.media.video import Frame, Image, read_video

Shown = Callable[..., Frame]


def turned(image: Image, degrees: float) -> Image:
    """Turn a picture clockwise."""
    height, width = image.shape[:2]
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), -degrees, 1)
    return cv2.warpAffine(image, matrix, (width, height), borderMode=cv2.BORDER_REPLICATE)


def roll_of(frame: Frame) -> float:
    """Return the roll that the second look finds, in degrees."""
    search = Search(Haar(), 320, align=True)
    (box,) = search(frame, search(frame, []))
    assert box.roll is not None
    return math.degrees(box.roll)


@pytest.mark.parametrize("degrees", [-15, -8, 8, 15])
def test_turned_real_face_has_a_roll(degrees: float, shown: Shown, real_data: Path) -> None:
    paths = sorted(real_data.glob("ravdess/*/01-*.mp4"))
    if not paths:
        pytest.skip("no RAVDESS video")
    for path in (paths[0], paths[-1]):  # closed eyes and open ones
        image = next(read_video(Source(path.stem, path))).image
        level = roll_of(shown(image))
        assert abs(level) < 4
        assert roll_of(shown(turned(image, degrees))) - level == pytest.approx(degrees, abs=4), path.name


def test_drawn_face_is_level_and_turned_with_its_picture(face: Image, shown: Shown) -> None:
    level = roll_of(shown(face))
    assert abs(level) < 5
    assert roll_of(shown(turned(face, 10))) - level == pytest.approx(10, abs=5)


def test_known_roll_is_undone_before_eyes_are_looked_for(face: Image, shown: Shown) -> None:
    """A head that leans too far for the eye cascade is still found by what the look before knew."""
    (box,) = Haar()(cv2.cvtColor(face, cv2.COLOR_RGB2GRAY), 24)
    roll = math.radians(40)
    middle = np.array([159.5, 119.5])
    cos, sin = math.cos(roll), math.sin(roll)
    x, y = middle + np.array([[cos, -sin], [sin, cos]]) @ (np.array([box.x, box.y]) - middle)
    found = find_roll(shown(turned(face, 40)), Box(x, y, box.side, roll))
    assert found is not None and math.degrees(found) == pytest.approx(40, abs=6)


def test_where_there_are_no_eyes_there_is_no_roll(scenery: Image, shown: Shown) -> None:
    assert find_roll(shown(scenery), Box(160, 120, 100)) is None
