"""Find a face, follow it through a clip and cut it out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Protocol

import cv2
import numpy as np

from mmer.media.video import Frame, Image

_DETECTION_SIDE = 640  # pixels; larger frames cost time and find no more faces
_SMALLEST_FACE = 0.1  # of the frame's short side
_SMOOTHING = 0.6  # weight of a new box against the track so far
_PATIENCE = 2  # looks without a face that a track survives
_SAME_FACE = 0.3  # intersection over union


@dataclass(frozen=True, slots=True)
class Box:
    """A square around a face: centre and side, in pixels."""

    x: float
    y: float
    side: float

    def blend(self, other: Box, weight: float) -> Box:
        """Return the box that lies ``weight`` of the way to another one."""
        pairs = zip((self.x, self.y, self.side), (other.x, other.y, other.side), strict=True)
        return Box(*(a + weight * (b - a) for a, b in pairs))

    def overlap(self, other: Box) -> float:
        """Return the intersection over union with another box."""
        reach = (self.side + other.side) / 2
        width = min(reach - abs(self.x - other.x), self.side, other.side)
        height = min(reach - abs(self.y - other.y), self.side, other.side)
        shared = max(width, 0.0) * max(height, 0.0)
        return shared / (self.side**2 + other.side**2 - shared)


class FaceDetector(Protocol):
    """Whatever finds faces in an image."""

    def __call__(self, image: Image) -> list[Box]:
        """Return the boxes of all faces, in any order."""


def detect_haar(image: Image) -> list[Box]:
    """Find frontal faces with OpenCV's Haar cascade ``frontalface_alt2`` (Viola and Jones 2001)."""
    scale = min(1.0, _DETECTION_SIDE / max(image.shape[:2]))
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    grey = cv2.resize(grey, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    smallest = round(_SMALLEST_FACE * min(grey.shape))
    found = _cascade().detectMultiScale(grey, scaleFactor=1.1, minNeighbors=4, minSize=(smallest, smallest))
    return [Box((x + w / 2) / scale, (y + h / 2) / scale, max(w, h) / scale) for x, y, w, h in found]


@cache
def _cascade() -> cv2.CascadeClassifier:
    return cv2.CascadeClassifier(f"{cv2.data.haarcascades}haarcascade_frontalface_alt2.xml")


def follow(frames: Iterable[Frame], detect: FaceDetector, every: int) -> Iterator[tuple[Frame, Box | None]]:
    """Pair each frame with the box of the clip's main face, or None where there is none.

    The detector looks at every k-th frame; between two looks that find the face its box is interpolated. Only the
    frames since the last sure look are held, so a long clip needs no more memory than a short one.

    Args:
        frames: The clip, in order.
        detect: The detector.
        every: Look at every k-th frame.
    """
    track: Box | None = None
    waiting: list[Frame] = []
    misses = 0
    for index, frame in enumerate(frames):
        waiting.append(frame)
        if index % every:
            continue
        boxes = detect(frame.image)
        found = _choose(boxes, track)
        if found is None and misses == _PATIENCE:  # the face has gone; another one may have come
            track, found = None, _choose(boxes, None)
        if found is not None:
            box = found if track is None else track.blend(found, _SMOOTHING)
            yield from _interpolate(waiting, track, box)
            track, waiting, misses = box, [], 0
        elif track is None:
            yield from ((late, None) for late in waiting)
            waiting, misses = [], 0
        else:
            misses += 1
    yield from ((late, None if misses else track) for late in waiting)


def _choose(boxes: Sequence[Box], track: Box | None) -> Box | None:
    """Return the largest face, of those on the track where there is one: a box between two faces shows neither."""
    same = [box for box in boxes if track is None or box.overlap(track) > _SAME_FACE]
    return max(same, key=lambda box: box.side, default=None)


def _interpolate(waiting: list[Frame], before: Box | None, box: Box) -> Iterator[tuple[Frame, Box | None]]:
    """Give the waiting frames, the last of which has the box, their place between two looks."""
    for i, frame in enumerate(waiting[:-1], start=1):
        yield frame, None if before is None else before.blend(box, i / len(waiting))
    yield waiting[-1], box


def crop(image: Image, box: Box, margin: float, size: int) -> Image:
    """Cut a face out and scale it; what lies outside the frame repeats its edge.

    Args:
        image: The frame.
        box: The face.
        margin: Room around the box, as a share of its side.
        size: Side of the result, in pixels.
    """
    side = max(2, round(box.side * (1 + margin)))
    left, top = round(box.x - side / 2), round(box.y - side / 2)
    height, width = image.shape[:2]
    inside = image[max(top, 0) : max(top + side, 1), max(left, 0) : max(left + side, 1)]
    border = (max(-top, 0), max(top + side - height, 0), max(-left, 0), max(left + side - width, 0))
    padded: Image = cv2.copyMakeBorder(inside, *border, cv2.BORDER_REPLICATE)
    return _resize(padded, size)


def centre(image: Image, size: int) -> Image:
    """Cut the largest centred square and scale it: for clips that are faces already."""
    height, width = image.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return _resize(image[top : top + side, left : left + side], size)


def is_blank(image: Image) -> bool:
    """Tell whether a frame is black, as the padding at the end of some face clips is."""
    return bool(image.max() < 24)


def _resize(image: Image, size: int) -> Image:
    if image.shape[0] == size:
        return np.ascontiguousarray(image)
    shrinks = image.shape[0] > size
    resized: Image = cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
    return resized
