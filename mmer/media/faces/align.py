"""How far a head leans to its side, told by the line between its eyes."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from mmer.media.faces.boxes import Box
from mmer.media.faces.cut import cut
from mmer.media.faces.detectors import load_cascade
from mmer.media.video import Frame

_ROOM = 0.2  # around a detector's box, whose upper edge may run through the brows
_SIDE = 160  # pixels of the face that is searched for eyes
_ROWS = slice(round(0.12 * _SIDE), round(0.62 * _SIDE))  # where eyes are
_SIZES = (round(0.15 * _SIDE), round(0.32 * _SIDE))  # of an eye with its brow
_APART = (0.22 * _SIDE, 0.6 * _SIDE)  # between two eyes
_MOST = math.radians(35)  # what is left to turn by once the last look's roll is undone


def find_roll(frame: Frame, box: Box) -> float | None:
    """Return the roll of a face in radians, or None where OpenCV's eye cascades do not find both eyes, open or closed.

    Args:
        frame: The frame.
        box: The face; a roll that is known from the look before is undone first, so that eyes are looked for in a
            face that is nearly level.
    """
    face = cut(frame, box, _ROOM, _SIDE)[..., 1]  # green is nearly brightness
    half = _SIDE // 2
    left, right = _eye(face[_ROWS, :half], "righteye_2splits"), _eye(face[_ROWS, half:], "lefteye_2splits")
    if left is None or right is None:
        return None
    across, down = half + right[0] - left[0], right[1] - left[1]
    rest = math.atan2(down, across)
    plausible = _APART[0] <= math.hypot(across, down) <= _APART[1] and abs(rest) <= _MOST
    return (box.roll or 0.0) + rest if plausible else None


def _eye(half: NDArray[np.uint8], cascade: str) -> tuple[float, float] | None:
    """Return the middle of the eye in one half of a face, where most windows agree; cascades call it as its owner."""
    found, votes = load_cascade(cascade).detectMultiScale2(
        np.ascontiguousarray(half), scaleFactor=1.1, minNeighbors=2, minSize=_SIZES[:1] * 2, maxSize=_SIZES[1:] * 2
    )
    if len(found) == 0:
        return None
    x, y, width, height = found[int(np.argmax(votes))].tolist()
    return x + width / 2, y + height / 2
