"""Boxes mix and overlap as squares do; a clip's boxes are summed up for a human."""

from __future__ import annotations

import numpy as np
import pytest

from mmer.media.faces.boxes import Box, measure_faces

GONE = [np.nan] * 4


def test_overlap_is_intersection_over_union() -> None:
    assert Box(0, 0, 2).overlap(Box(0, 0, 2)) == 1
    assert Box(0, 0, 2).overlap(Box(1, 0, 2)) == pytest.approx(2 / 6)
    assert Box(0, 0, 4).overlap(Box(0.5, 0.5, 1)) == pytest.approx(1 / 16)
    assert Box(0, 0, 2).overlap(Box(5, 0, 2)) == 0


def test_blend_lies_on_the_way() -> None:
    assert Box(0, 4, 8, 0.2).blend(Box(4, 0, 16, 0.4), 0.25) == Box(1, 3, 10, pytest.approx(0.25))


def test_unknown_roll_is_that_of_the_other() -> None:
    tilted, unknown = Box(0, 0, 2, 0.3), Box(0, 0, 2)
    assert tilted.blend(unknown, 0.9).roll == unknown.blend(tilted, 0.1).roll == 0.3
    assert unknown.blend(unknown, 0.5).roll is None


def test_box_in_a_reduced_picture_and_back() -> None:
    box = Box(100, 60, 40, 0.1)
    assert box.moved(0, 0, 0.25) == Box(25, 15, 10, 0.1)
    assert box.moved(0, 0, 0.25).moved(0, 0, 4) == box
    assert box.moved(-90, -50) == Box(10, 10, 40, 0.1)


def test_statistics_of_a_clip() -> None:
    boxes = np.array([[10, 10, 20, 0], [14, 13, 20, 0], GONE, [90, 90, 30, 0], [90, 90, 40, 0]], np.float32)
    found = measure_faces(boxes, height=100)
    assert found.share == pytest.approx(0.8)
    assert (found.size, found.height_share) == (25, 0.25)
    assert found.jitter == pytest.approx((5 / 20 + 0) / 2), "the way over a gap is none"


def test_clip_without_a_face_has_no_statistics_but_zeros() -> None:
    found = measure_faces(np.array([GONE, GONE], np.float32), height=100)
    assert (found.share, found.size, found.height_share, found.jitter) == (0, 0, 0, 0)


def test_single_face_does_not_tremble() -> None:
    assert measure_faces(np.array([[5, 5, 5, 0]], np.float32), height=10).jitter == 0
