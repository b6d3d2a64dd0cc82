"""Cut a face out of a frame: only the pixels around it are converted, turned and scaled."""

from __future__ import annotations

import math

import cv2
import numpy as np

from mmer.media.faces.boxes import Box
from mmer.media.video import Frame, Image

_GRAIN = 64  # pixels; parts of few different sizes let the converter keep its tables
_RIM = 2  # pixels around what is needed, so that no interpolation sees the edge of the part


def cut(frame: Frame, box: Box, margin: float, size: int) -> Image:
    """Cut a face out, turn its eyes level and scale it; what lies outside the frame repeats its edge.

    Args:
        frame: The frame.
        box: The face.
        margin: Room around the box, as a share of its side.
        size: Side of the result, in pixels.
    """
    side, roll = max(2.0, box.side * (1 + margin)), box.roll or 0.0
    # the interpolation sees two pixels and would skip what lies between: what is larger than twice is halved before
    halvings = max(0, math.floor(math.log2(side / size)))
    reach = side / 2 * (abs(math.cos(roll)) + abs(math.sin(roll))) + (_RIM << halvings)
    left, right = _span(box.x, reach, frame.width, 2 << halvings)
    top, bottom = _span(box.y, reach, frame.height, 2 << halvings)
    ratio = 1 / (1 << halvings)
    inside = box.moved(-left, -top).moved(0, 0, ratio)
    return _sample(frame.part(left, top, right, bottom, halvings), inside, side * ratio / size, size)


def centre_box(frame: Frame) -> Box:
    """Return the largest square in the middle of a frame: the face, in clips that are faces already."""
    side = min(frame.width, frame.height)
    # a whole number of pixels from the edge: half of one would blur every frame
    return Box((frame.width - side) // 2 + side / 2, (frame.height - side) // 2 + side / 2, side)


def is_blank(image: Image) -> bool:
    """Tell whether a frame is black, as the padding at the end of some face clips is."""
    return bool(image.max() < 24)


def _span(centre: float, reach: float, limit: int, step: int) -> tuple[int, int]:
    """Return the first and the last place, exclusive, of a part that holds all that lies in reach, in whole steps."""
    length = math.ceil((2 * reach + step) / _GRAIN) * _GRAIN
    first = max(0, min(math.floor(centre - reach), limit - length))
    first -= first % step
    return first, min(first + length, limit) if limit - first - length >= step else limit


def _sample(image: Image, box: Box, scale: float, size: int) -> Image:
    """Sample a turned square around a box, ``scale`` pixels of the image for one of the result."""
    roll = box.roll or 0.0
    across, down = scale * math.cos(roll), scale * math.sin(roll)
    matrix = np.array([[across, -down, box.x], [down, across, box.y]])
    matrix[:, 2] -= matrix[:, :2].sum(axis=1) * (size - 1) / 2 + 0.5  # from the middle of the square to its first pixel
    sampled: Image = cv2.warpAffine(
        image, matrix, (size, size), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, borderMode=cv2.BORDER_REPLICATE
    )
    return sampled
