"""A look searches as little as it must, and finds faces in pixels of the frame."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from mmer.config import PrepareConfig
from mmer.media.faces import build_detector
from mmer.media.faces.boxes import Box
from mmer.media.faces.detectors import Haar
from mmer.media.faces.look import Search
from mmer.media.video import Frame, Image

Shown = Callable[..., Frame]


class Recorded:
    """A Haar detector that notes the size of every picture that it sees."""

    colour = False

    def __init__(self) -> None:
        self.seen: list[tuple[int, ...]] = []
        self._detect = Haar()

    def __call__(self, picture: NDArray[np.uint8], smallest: float, largest: float | None = None) -> list[Box]:
        self.seen.append(picture.shape)
        return self._detect(picture, smallest, largest)


@pytest.mark.parametrize("times", [1, 2, 4])
def test_boxes_are_in_pixels_of_the_frame_whatever_its_size(times: int, face: Image, shown: Shown) -> None:
    large = face.repeat(times, axis=0).repeat(times, axis=1)
    (box,) = Search(Haar(), 320)(shown(large), [])
    assert abs(box.x / times - 160) < 60 and abs(box.y / times - 120) < 60
    assert 60 < box.side / times < 240


def test_face_is_looked_for_around_its_place(face: Image, shown: Shown) -> None:
    detect = Recorded()
    search = Search(detect, 320)
    boxes = search(shown(face), [])
    for _ in range(6):
        boxes = search(shown(face), boxes)
        assert len(boxes) == 1
    whole, *parts = detect.seen
    assert whole == (240, 320)
    assert len(parts) == 6 and max(max(shape) for shape in parts) < 1.9 * boxes[0].side < 240


def test_whole_frame_is_searched_when_the_face_is_not_at_its_place(face: Image, scenery: Image, shown: Shown) -> None:
    search = Search(Recorded(), 640)
    left, right = (np.concatenate(pair, axis=1) for pair in ((face, scenery), (scenery, face)))
    (before,) = search(shown(left), [])
    (after,) = search(shown(right), [before])
    assert before.x < 320 < after.x


def test_whole_frame_is_searched_now_and_then_for_faces_that_have_come(
    face: Image, scenery: Image, shown: Shown
) -> None:
    search = Search(Haar(), 640)
    one, two = (np.concatenate(pair, axis=1) for pair in ((face, scenery), (face, face)))
    followed = search(shown(one), [])
    counts = [len(search(shown(two), followed)) for _ in range(12)]
    assert counts == [1, 1, 1, 1, 1, 1, 1, 1, 1, 2, 1, 1]


def test_larger_search_finds_smaller_faces(face: Image, shown: Shown) -> None:
    """A face has to fill some 20 pixels of what is searched, whatever its share of the frame."""
    small = np.full((720, 1280, 3), 128, np.uint8)
    small[300:420, 500:660] = cv2.resize(face, (160, 120), interpolation=cv2.INTER_AREA)
    assert Search(Haar(), 128)(shown(small), []) == []
    (box,) = Search(Haar(), 640)(shown(small), [])
    assert abs(box.x - 580) < 30 and box.side < 0.14 * 720
    tiny = cv2.resize(small, (640, 360), interpolation=cv2.INTER_AREA)
    tiny = np.pad(tiny, ((180, 180), (320, 320), (0, 0)), constant_values=128)
    (box,) = Search(Haar(), 1280)(shown(tiny), [])
    assert box.side < 0.07 * 720, "less than a tenth of the short side"


def test_face_that_rests_is_looked_for_too(face: Image, shown: Shown) -> None:
    two = shown(np.concatenate([face, face], axis=1))
    search = Search(Haar(), 640)
    first, second = search(two, [])
    assert len(search(two, [first])) == 1
    assert len(search(two, [first], [second])) == 2


def test_absent_face_that_rests_is_no_reason_to_search_the_whole_frame(face: Image, shown: Shown) -> None:
    detect = Recorded()
    search = Search(detect, 320)
    (box,) = search(shown(face), [])
    search(shown(face), [box], [Box(30, 200, box.side)])
    assert [shape == (240, 320) for shape in detect.seen] == [True, False, False]


def test_two_followed_faces_whose_surroundings_overlap_are_found_once(face: Image, shown: Shown) -> None:
    search = Search(Haar(), 320)
    (box,) = search(shown(face), [])
    assert len(search(shown(face), [box, Box(box.x + 20, box.y, box.side)])) == 1


def test_place_outside_the_frame_is_no_fault(face: Image, shown: Shown) -> None:
    assert len(Search(Haar(), 320)(shown(face), [Box(-400, -400, 50), Box(900, 900, 50)])) == 1


def test_eyes_are_looked_for_only_where_they_are_wanted(face: Image, shown: Shown) -> None:
    (box,) = Search(Haar(), 320)(shown(face), [])
    assert box.roll is None
    (box,) = Search(Haar(), 320, align=True)(shown(face), [])
    assert box.roll is not None


def test_roll_is_kept_where_a_look_finds_no_eyes(face: Image, shown: Shown) -> None:
    search = Search(Haar(), 320, align=True)
    (box,) = search(shown(face), [])
    blindfolded = face.copy()
    half = int(box.side / 2)
    level, rows = int(box.y - 0.12 * box.side), int(0.12 * box.side)
    blindfolded[level - rows : level + rows, int(box.x) - half : int(box.x) + half] = 90
    boxes = search(shown(blindfolded), [Box(box.x, box.y, box.side, 0.2)])
    assert [found.roll for found in boxes] in ([0.2], [])


def test_detector_of_colours_sees_rgb(yunet: Path, shown: Shown) -> None:
    detect = build_detector(PrepareConfig(detector="yunet", detector_model=str(yunet)))
    assert detect is not None
    picture = np.zeros((360, 640, 3), np.uint8)
    picture[160:176, 320:336] = 255
    (box,) = Search(detect, 320, align=True)(shown(picture), [])
    assert (box.x, box.y, box.side) == pytest.approx((328, 168, 128))
    assert box.roll == pytest.approx(0.245, abs=0.001), "its own points, not those of the eye cascade"


def test_reduced_frame_is_as_large_as_asked_for(face: Image, shown: Shown) -> None:
    for size in (64, 200, 320):
        detect = Recorded()
        Search(detect, size)(shown(cv2.resize(face, (640, 480))), [])
        assert max(detect.seen[0]) == size
