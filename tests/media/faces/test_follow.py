"""Faces are followed by their place; the one that a clip is about is chosen over the whole of it."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise

import av
import numpy as np
import pytest

from mmer.media.faces.boxes import Box
from mmer.media.faces.follow import Follower
from mmer.media.video import Frame

LEFT, RIGHT = Box(80, 50, 40), Box(250, 50, 30)
PICTURE = av.VideoFrame(320, 100, "gray")


def blank(time: float) -> Frame:
    return Frame(time, PICTURE)


class Scripted:
    """A search that finds the k-th boxes at the k-th look, and notes what it was told."""

    def __init__(self, looks: Sequence[Iterable[Box]]) -> None:
        self._answers = iter([list(boxes) for boxes in looks])
        self.followed: list[list[Box]] = []
        self.resting: list[list[Box]] = []

    def __call__(self, frame: Frame, followed: Sequence[Box], resting: Sequence[Box]) -> list[Box]:
        self.followed.append(list(followed))
        self.resting.append(list(resting))
        return next(self._answers)


def track(looks: Sequence[Iterable[Box]], every: int = 5, frames: int | None = None) -> list[Box | None]:
    """Follow a clip in which look k finds the k-th boxes."""
    count = (len(looks) - 1) * every + 1 if frames is None else frames
    times = [i / 25 for i in range(count)]
    found = Follower(Scripted(looks), every, lambda frame, box: (frame.time, box)).follow(map(blank, times))
    assert all((times[index], box) == made for index, (box, made) in found.items()), "each frame is cut with its box"
    return [found[index][0] if index in found else None for index in range(count)]


def test_still_face_keeps_its_box() -> None:
    assert track([[LEFT]] * 3, frames=13) == [LEFT] * 13


@pytest.mark.parametrize("every", [1, 3, 5])
def test_face_that_moves_evenly_is_followed_without_a_lag(every: int) -> None:
    looks = [[Box(50 + 10 * i, 50 - 2 * i, 40 + i)] for i in range(6)]
    boxes = track(looks, every)
    assert len(boxes) == 5 * every + 1
    np.testing.assert_allclose([box.x for box in boxes if box], np.linspace(50, 100, len(boxes)))
    np.testing.assert_allclose([box.side for box in boxes if box], np.linspace(40, 45, len(boxes)))


def test_trembling_is_smoothed_to_half() -> None:
    looks = [[Box(50 + (2 if i % 2 else -2), 50, 40)] for i in range(9)]
    x = np.array([box.x for box in track(looks, every=1) if box])
    assert np.abs(np.diff(x[1:-1])).max() < 1, "4 pixels between two looks, unsmoothed"


def test_roll_goes_from_look_to_look_as_the_place_does() -> None:
    boxes = track([[Box(50, 50, 40, 0.1 * i)] for i in range(4)], every=2)
    np.testing.assert_allclose([box.roll for box in boxes if box], np.linspace(0, 0.3, 7), atol=1e-9)


def test_largest_of_two_faces_is_chosen_in_whatever_order_they_are_found() -> None:
    assert track([[RIGHT, LEFT], [LEFT, RIGHT], [RIGHT, LEFT]]) == [LEFT] * 11


def test_central_face_is_chosen_before_an_equal_one_at_the_edge() -> None:
    middle, edge = Box(160, 50, 40), Box(290, 50, 40)
    assert track([[edge, middle]] * 3) == [middle] * 11


def test_face_that_is_there_for_long_is_chosen_before_a_larger_one_that_passes() -> None:
    larger = Box(250, 50, 60)
    assert track([[LEFT], [LEFT, larger], [LEFT, larger], [LEFT], [LEFT], [LEFT]]) == [LEFT] * 26


def test_false_box_in_the_first_frame_is_forgotten() -> None:
    """The detector took the largest box of the first frame for a face, and never again."""
    wrong = Box(200, 50, 90)
    assert track([[wrong, LEFT], *[[LEFT]] * 5])[0] == LEFT


def test_track_never_lies_between_two_faces() -> None:
    """The main face is missed at one look: the box must not slide to the other face and back."""
    assert track([[LEFT, RIGHT], [RIGHT], *[[LEFT, RIGHT]] * 4]) == [LEFT] * 26


def test_other_face_is_chosen_when_the_first_has_gone_early() -> None:
    boxes = track([[LEFT, RIGHT]] + [[RIGHT]] * 6)
    assert boxes == [RIGHT] * 31, "one clip shows one person, from its first frame on"


def test_two_faces_that_come_close_are_not_mixed_up() -> None:
    looks = [[Box(100 + 8 * i, 50, 40), Box(220 - 8 * i, 50, 39)] for i in range(5)]
    assert [box.side for box in track(looks) if box] == [40] * 21


@pytest.mark.parametrize("way", [8, 25])
@pytest.mark.parametrize("in_front", ["from left", "from right"])
def test_people_who_cross_keep_their_ways(way: int, in_front: str) -> None:
    """Where they cover each other only the one in front is found; neither takes over the other's track."""
    looks = []
    for i in range(-6, 7):
        boxes = {"from left": Box(160 + way * i, 50, 40), "from right": Box(160 - way * i, 50, 40)}
        front = boxes.pop(in_front)
        looks.append([front, *(box for box in boxes.values() if box.overlap(front) < 0.3)])
    found = track(looks, every=1)
    sign = 1 if found[0] and found[0].x < 160 else -1
    assert [box.x if box else None for box in found] == [pytest.approx(160 + sign * way * i) for i in range(-6, 7)]


def test_person_who_passes_in_front_does_not_take_the_other_along() -> None:
    """The one behind is hidden at three looks, stays where he is, and is there for longer."""
    behind = Box(160, 50, 40)
    looks = [[behind]] * 8
    for i in range(-3, 4):
        front = Box(160 + 18 * i, 55, 48)
        looks.append([front] if front.overlap(behind) > 0.3 else [front, behind])
    boxes = track([*looks, *[[behind]] * 3], every=3)
    assert None not in boxes
    assert max(abs(box.x - 160) for box in boxes if box) < 1


@pytest.mark.parametrize("gap", [0, 1])
def test_head_that_jumps_is_no_new_face(gap: int) -> None:
    """It overlaps its last place by less than a third, and is near and as large."""
    before, after = Box(80, 50, 40), Box(104, 50, 40)
    boxes = track([[before]] * 3 + [[]] * gap + [[after]] * 3)
    assert boxes[0] == before and boxes[-1] == after and None not in boxes


def test_short_gap_is_bridged() -> None:
    boxes = track([[LEFT], [], [], [Box(86, 50, 40)]])
    x = [box.x for box in boxes if box is not None]
    assert len(x) == 16
    assert all(before < after for before, after in pairwise(x))


@pytest.mark.parametrize("every", [1, 5])
def test_long_gap_shows_no_face_and_the_face_comes_back(every: int) -> None:
    """A head that was turned is the same face when it is found near its place, and about as large."""
    gap, later = [[]] * (20 // every), Box(95, 50, 45)
    boxes = track([[LEFT], *gap, [later], [later]], every)
    start = (len(gap) + 1) * every
    assert boxes[0] == LEFT
    assert boxes[1:start] == [None] * (start - 1)
    assert boxes[start:] == [later] * (every + 1)


@pytest.mark.parametrize("other", [Box(200, 50, 40), Box(80, 50, 80)])
def test_face_that_comes_elsewhere_or_in_another_size_is_another_one(other: Box) -> None:
    boxes = track([[LEFT]] * 4 + [[]] * 4 + [[other]])
    assert set(boxes) == {LEFT, None}


def test_face_seen_often_is_waited_for() -> None:
    search = Scripted([[LEFT]] * 3 + [[]] * 4)
    Follower(search, 5, lambda frame, box: None).follow(blank(i) for i in range(31))
    assert search.followed == [[], *[[LEFT]] * 5, []]
    assert search.resting == [*[[]] * 6, [LEFT]]


def test_no_more_than_four_faces_are_remembered_and_the_best_stay() -> None:
    crowd = [Box(20 + 40 * i, 50, 20 + i) for i in range(7)]
    search = Scripted([crowd] * 8)
    found = Follower(search, 5, lambda frame, box: None).follow(blank(i) for i in range(36))
    assert max(map(len, search.followed)) == 4
    assert {box for box, _ in found.values()} == {crowd[4]}, "large and nearest to the middle"


def test_crowd_gives_way_to_a_large_face() -> None:
    crowd, large = [Box(20 + 40 * i, 20, 20) for i in range(4)], Box(160, 60, 60)
    boxes = track([crowd] * 2 + [[*crowd, large]] * 6)
    assert boxes == [None] * 10 + [large] * 26


def test_frames_before_the_first_face_are_none() -> None:
    assert track([[], [LEFT]], every=3) == [None, None, None, LEFT]


def test_frames_after_the_last_face_are_none() -> None:
    assert track([[LEFT], []], every=3, frames=6) == [LEFT] + [None] * 5


def test_frames_behind_the_last_look_keep_its_box() -> None:
    assert track([[LEFT], [LEFT]], every=4, frames=8) == [LEFT] * 8
    assert track([[LEFT]], every=4, frames=3) == [LEFT] * 3


def test_no_face_is_none_throughout() -> None:
    assert track([[], []], frames=8) == [None] * 8


def test_no_frames_give_nothing() -> None:
    assert track([], frames=0) == []


@pytest.mark.parametrize("looks", [[[LEFT]] * 61, [[]] * 61, [[LEFT], [], [LEFT, RIGHT], [], []] * 13])
def test_memory_does_not_grow_with_the_clip(looks: list[list[Box]]) -> None:
    """The frames that wait for a sure look are few, whether faces are found or not."""
    alive: weakref.WeakSet[Frame] = weakref.WeakSet()
    most = 0

    def clip() -> Iterator[Frame]:
        nonlocal most
        for index in range(300):
            frame = blank(index / 25)
            alive.add(frame)
            most = max(most, len(alive))
            yield frame

    gc.collect()
    Follower(Scripted(looks), 5, lambda frame, box: None).follow(clip())
    assert most <= 22
