"""Where to look for faces in a frame: around those that are followed, and everywhere now and then."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from mmer.media.faces.align import find_roll
from mmer.media.faces.boxes import Box
from mmer.media.faces.detectors import FaceDetector
from mmer.media.video import Frame, shrink

SAME_FACE = 0.3
"""Intersection over union from which two boxes are one face."""

_SMALLEST_FACE = 20  # pixels of the reduced frame
_EVERYWHERE = 10  # every tenth look is at the whole frame, for faces that have come
_AROUND = 1.7  # sides of a box: the part of a frame where a followed face is looked for
_SMALLER, _LARGER = 0.85, 1.18  # how its side may have changed since the last look


class Search:
    """Looks for faces in one frame after another of a clip.

    Looking at a whole frame costs several times as much as looking around a face that is followed.

    Args:
        detect: The detector.
        size: Longer side of the reduced frame that it sees, in pixels.
        align: Whether each face's roll is wanted.
    """

    def __init__(self, detect: FaceDetector, size: int, align: bool = False) -> None:
        self._detect = detect
        self._size = size
        self._align = align
        self._looks = 0

    def __call__(self, frame: Frame, followed: Sequence[Box], resting: Sequence[Box] = ()) -> list[Box]:
        """Return the faces of a frame, in its pixels, the largest first.

        Args:
            frame: The frame.
            followed: Faces that were there at the last look; where one is gone, the whole frame is searched.
            resting: Faces that were there before and may have come back.
        """
        picture, scale = self._reduced(frame)
        known = [box.moved(0, 0, scale) for box in (*followed, *resting)]
        found = _distinct([box for near in known for box in self._around(picture, near)])
        whole = self._looks % _EVERYWHERE == 0 or not followed
        if whole or any(_nearest(near, found) is None for near in known[: len(followed)]):
            found = _distinct([*found, *self._detect(picture, _SMALLEST_FACE)])
        self._looks += 1
        boxes = sorted((box.moved(0, 0, 1 / scale) for box in found), key=lambda box: (-box.side, box.x, box.y))
        return [self._with_roll(frame, box, (*followed, *resting)) for box in boxes]

    def _reduced(self, frame: Frame) -> tuple[NDArray[np.uint8], float]:
        """Return what the detector sees of a frame, and its pixels for one of the frame."""
        picture = shrink(frame.image, self._size) if self._detect.colour else frame.grey(self._size)
        return picture, max(picture.shape[:2]) / max(frame.height, frame.width)

    def _around(self, picture: NDArray[np.uint8], near: Box) -> list[Box]:
        reach = _AROUND / 2 * near.side
        left, top = max(0, math.floor(near.x - reach)), max(0, math.floor(near.y - reach))
        part = picture[top : max(0, math.ceil(near.y + reach)), left : max(0, math.ceil(near.x + reach))]
        if part.size == 0:
            return []
        found = self._detect(np.ascontiguousarray(part), _SMALLER * near.side, _LARGER * near.side)
        return [box.moved(left, top) for box in found]

    def _with_roll(self, frame: Frame, box: Box, known: Sequence[Box]) -> Box:
        if not self._align or box.roll is not None:
            return box
        before = _nearest(box, known)
        tilted = box if before is None else replace(box, roll=before.roll)
        roll = find_roll(frame, tilted)
        return tilted if roll is None else replace(box, roll=roll)


def _distinct(boxes: Sequence[Box]) -> list[Box]:
    """Drop boxes that show the face of an earlier one."""
    kept: list[Box] = []
    for box in boxes:
        if _nearest(box, kept) is None:
            kept.append(box)
    return kept


def _nearest(box: Box, others: Sequence[Box]) -> Box | None:
    """Return the other box that shows the same face, or None."""
    best = max(others, key=box.overlap, default=None)
    return best if best is not None and box.overlap(best) > SAME_FACE else None
