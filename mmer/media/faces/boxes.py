"""Squares around faces: how they mix, how far they share a place, what a clip's boxes say about it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Boxes = NDArray[np.float32]
"""Centre x, y, side (pixels of the upright frame) and roll (radians) of a face in every frame, [n 4]; NaN for none."""


@dataclass(frozen=True, slots=True)
class Box:
    """A square around a face: centre and side, in pixels.

    Args:
        x: Column of the centre.
        y: Row of the centre.
        side: Length of a side.
        roll: Angle of the line from one eye to the other, in radians; positive where the right one in the picture lies
            lower. None where nobody looked for eyes.
    """

    x: float
    y: float
    side: float
    roll: float | None = None

    def blend(self, other: Box, weight: float) -> Box:
        """Return the box that lies ``weight`` of the way to another one; an unknown roll is the other's."""
        mine, theirs = self.roll, other.roll
        known = mine if theirs is None else theirs
        return Box(
            _mix(self.x, other.x, weight),
            _mix(self.y, other.y, weight),
            _mix(self.side, other.side, weight),
            known if mine is None or theirs is None else _mix(mine, theirs, weight),
        )

    def overlap(self, other: Box) -> float:
        """Return the intersection over union with another box, both upright."""
        reach = (self.side + other.side) / 2
        width = min(reach - abs(self.x - other.x), self.side, other.side)
        height = min(reach - abs(self.y - other.y), self.side, other.side)
        shared = max(width, 0.0) * max(height, 0.0)
        return shared / (self.side**2 + other.side**2 - shared)

    def distance(self, other: Box) -> float:
        """Return how far two centres are apart, in pixels."""
        return math.hypot(self.x - other.x, self.y - other.y)

    def moved(self, x: float, y: float, scale: float = 1.0) -> Box:
        """Return the box in another picture, whose origin lies at (-x, -y) and whose pixels are ``scale`` as large."""
        return Box(self.x * scale + x, self.y * scale + y, self.side * scale, self.roll)


def _mix(a: float, b: float, weight: float) -> float:
    return a + weight * (b - a)


@dataclass(frozen=True, slots=True)
class FaceStatistics:
    """What a clip's boxes say about how well its face was found.

    Args:
        share: Share of the frames that show the face.
        size: Median side of its box, in pixels; 0 without a face.
        height_share: The same, as a share of the frame's height.
        jitter: Mean way of the box's centre from one frame to the next, as a share of its side.
    """

    share: float
    size: float
    height_share: float
    jitter: float


def measure_faces(boxes: Boxes, height: int) -> FaceStatistics:
    """Sum up a clip's boxes.

    Args:
        boxes: The face in every frame.
        height: Height of a frame, in pixels.
    """
    shown = ~np.isnan(boxes[:, 2])
    if not shown.any():
        return FaceStatistics(0.0, 0.0, 0.0, 0.0)
    size = float(np.median(boxes[shown, 2]))
    ways = np.hypot(*np.diff(boxes[:, :2], axis=0).T) / boxes[1:, 2]
    both = shown[1:] & shown[:-1]
    jitter = float(ways[both].mean()) if both.any() else 0.0
    return FaceStatistics(float(shown.mean()), size, size / height, jitter)
