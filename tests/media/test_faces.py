"""A face is found, followed and cut out; its colours survive the JPEG."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from mmer.media.container import Source
from mmer.media.faces import Box, centre, crop, detect_haar, follow, is_blank
from mmer.media.video import Frame, Image, read_video

LEFT, RIGHT = Box(50, 50, 40), Box(250, 50, 30)
BLANK = np.zeros((2, 2, 3), np.uint8)


def track(looks: Sequence[Iterable[Box]], every: int = 5, frames: int | None = None) -> list[Box | None]:
    """Follow a clip in which look k of the detector finds the k-th boxes."""
    answers = iter([list(boxes) for boxes in looks])
    count = (len(looks) - 1) * every + 1 if frames is None else frames
    clip = [Frame(i / 25, BLANK) for i in range(count)]
    pairs = list(follow(clip, lambda image: next(answers), every))
    assert [frame for frame, _ in pairs] == clip, "every frame comes once, in order"
    return [box for _, box in pairs]


def test_still_face_keeps_its_box() -> None:
    assert track([[LEFT]] * 3, frames=13) == [LEFT] * 13


def test_box_moves_evenly_between_two_looks() -> None:
    boxes = track([[Box(50, 50, 40)], [Box(60, 50, 40)]])
    steps = np.diff([box.x for box in boxes if box is not None])
    assert len(steps) == 5 and (steps > 0).all()
    np.testing.assert_allclose(steps, steps[0])


def test_largest_of_two_faces_is_followed_in_whatever_order_they_are_found() -> None:
    assert track([[RIGHT, LEFT], [LEFT, RIGHT], [RIGHT, LEFT]]) == [LEFT] * 11


def test_track_stays_when_another_face_becomes_larger() -> None:
    larger = Box(250, 50, 60)
    assert track([[LEFT], [LEFT, larger], [larger, LEFT]]) == [LEFT] * 11


def test_track_never_lies_between_two_faces() -> None:
    """The main face is missed at one look: the box must not slide to the other face and back."""
    boxes = track([[LEFT, RIGHT], [RIGHT], [LEFT, RIGHT]])
    assert all(box in (LEFT, None) for box in boxes)
    assert boxes[0] == boxes[-1] == LEFT


def test_track_goes_to_the_other_face_when_the_first_has_gone() -> None:
    boxes = track([[LEFT, RIGHT]] + [[RIGHT]] * 6)
    assert boxes[0] == LEFT and boxes[-1] == RIGHT
    assert set(boxes) <= {LEFT, RIGHT, None}


def test_short_gap_is_bridged() -> None:
    boxes = track([[LEFT], [], [], [Box(56, 50, 40)]])
    x = [box.x for box in boxes if box is not None]
    assert len(x) == 16
    assert all(before < after for before, after in pairwise(x))


def test_long_gap_is_none() -> None:
    boxes = track([[LEFT], [], [], [], [], [LEFT]], every=1)
    assert boxes == [LEFT, None, None, None, None, LEFT]


def test_frames_before_the_first_face_are_none() -> None:
    assert track([[], [LEFT]], every=3) == [None, None, None, LEFT]


def test_frames_after_the_last_face_are_none() -> None:
    assert track([[LEFT], []], every=3, frames=6) == [LEFT] + [None] * 5


def test_no_face_is_none_throughout() -> None:
    assert track([[], []], frames=8) == [None] * 8


def test_no_frames_give_nothing() -> None:
    assert track([], frames=0) == []


def test_overlap_is_intersection_over_union() -> None:
    assert Box(0, 0, 2).overlap(Box(0, 0, 2)) == 1
    assert Box(0, 0, 2).overlap(Box(1, 0, 2)) == pytest.approx(2 / 6)
    assert Box(0, 0, 4).overlap(Box(0.5, 0.5, 1)) == pytest.approx(1 / 16)
    assert Box(0, 0, 2).overlap(Box(5, 0, 2)) == 0


def chart() -> Image:
    """A picture whose red says the column and whose green says the row."""
    image = np.zeros((100, 120, 3), np.uint8)
    image[..., 0], image[..., 1] = np.arange(120), np.arange(100)[:, None]
    return image


def test_crop_is_centred_on_the_box() -> None:
    cut = crop(chart(), Box(60, 40, 20), margin=0.0, size=20)
    np.testing.assert_array_equal(cut, chart()[30:50, 50:70])


def test_margin_is_a_share_of_the_side() -> None:
    cut = crop(chart(), Box(60, 50, 20), margin=0.5, size=30)
    np.testing.assert_array_equal(cut, chart()[35:65, 45:75])


@pytest.mark.parametrize("x", [-3, 2, 118, 123])
@pytest.mark.parametrize("y", [-3, 2, 98, 103])
def test_crop_at_the_border_repeats_the_edge(x: int, y: int) -> None:
    cut = crop(chart(), Box(x, y, 20), margin=0.0, size=20)
    columns, rows = np.clip(np.arange(x - 10, x + 10), 0, 119), np.clip(np.arange(y - 10, y + 10), 0, 99)
    np.testing.assert_array_equal(cut, chart()[np.ix_(rows, columns)])


def test_crop_scales_to_the_size_asked_for() -> None:
    for size in (16, 300):
        cut = crop(chart(), Box(60, 50, 40), margin=0.3, size=size)
        assert cut.shape == (size, size, 3) and cut.dtype == np.uint8
        np.testing.assert_allclose(cut.mean(axis=(0, 1)), (60, 50, 0), atol=1.5)


@pytest.mark.parametrize(("turned", "mean"), [(False, (59.5, 49.5, 0)), (True, (59.5, 49.5, 0))])
def test_centre_takes_the_middle_square(turned: bool, mean: tuple[float, ...]) -> None:
    image = np.rot90(chart()) if turned else chart()
    cut = centre(image, 50)
    assert cut.shape == (50, 50, 3)
    np.testing.assert_allclose(cut.mean(axis=(0, 1)), mean, atol=1)


def test_black_frame_is_blank_and_a_dark_one_is_not() -> None:
    assert is_blank(np.full((4, 4, 3), 16, np.uint8))
    assert not is_blank(np.full((4, 4, 3), 40, np.uint8))


def test_detector_finds_the_drawn_face(face: Image) -> None:
    (box,) = detect_haar(face)
    assert 0.25 * 240 < box.side < 240
    assert abs(box.x - 160) < 60 and abs(box.y - 120) < 60


def test_detector_finds_both_faces_of_a_wide_picture(face: Image) -> None:
    boxes = detect_haar(np.concatenate([face, face], axis=1))
    assert sorted(box.x > 320 for box in boxes) == [False, True]


def test_detector_gives_boxes_in_pixels_of_the_frame_whatever_its_size(face: Image) -> None:
    large = face.repeat(4, axis=0).repeat(4, axis=1)
    (small,), (big,) = detect_haar(face), detect_haar(large)
    np.testing.assert_allclose((big.x, big.y, big.side), 4 * np.array((small.x, small.y, small.side)), rtol=0.15)


def test_detector_finds_nothing_in_scenery_and_in_the_dark(scenery: Image) -> None:
    assert detect_haar(scenery) == []
    assert detect_haar(np.zeros_like(scenery)) == []


def test_detector_takes_a_tiny_frame() -> None:
    assert detect_haar(np.zeros((8, 8, 3), np.uint8)) == []


def test_face_is_found_in_every_real_clip(real_data: Path) -> None:
    paths = sorted(real_data.glob("ravdess/*/01-*.mp4"))
    if not paths:
        pytest.skip("no RAVDESS video")
    for path in paths:
        frame = next(read_video(Source(path.stem, path)))
        (box,) = detect_haar(frame.image)
        assert 250 < box.side < 600 and abs(box.x - 640) < 200, path.name


@pytest.mark.parametrize("found", [[LEFT], []])
def test_memory_does_not_grow_with_the_clip(found: list[Box]) -> None:
    """The frames that wait for a sure look are few, whether faces are found or not."""
    taken: list[Frame] = []

    def clip() -> Iterator[Frame]:
        for index in range(300):
            assert index - len(taken) <= 5 * 3 + 1
            yield Frame(index / 25, BLANK)

    for frame, _ in follow(clip(), lambda image: found, every=5):
        taken.append(frame)
    assert len(taken) == 300
