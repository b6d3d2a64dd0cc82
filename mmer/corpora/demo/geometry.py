"""Where the parts of a face lie: the picture and its canvas, curves, and the lines that action units move.

Lengths are in face units: 1 is about half a face's width, x grows to the right and y downwards, and the origin is the
bridge of the nose. The head is drawn on a canvas at twice the final size and brought to the picture by one warp.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mmer.corpora.demo.look import Look

WIDTH, HEIGHT = 320, 240
"""Size of a picture in pixels."""

UNIT = 108
"""Canvas pixels in one face unit; a picture shows half as many."""

CANVAS = (344, 272)
"""Height and width of the canvas in pixels."""

ORIGIN = (136.0, 164.0)
"""Where the face's origin lies on the canvas, x and y in pixels."""

_CENTRE = np.array(ORIGIN) * 16 + 0.5  # the half rounds
_T = np.linspace(0, 1, 13)
_BERNSTEIN = {
    3: np.stack([(1 - _T) ** 2, 2 * _T * (1 - _T), _T**2], axis=1),
    4: np.stack([(1 - _T) ** 3, 3 * _T * (1 - _T) ** 2, 3 * _T**2 * (1 - _T), _T**3], axis=1),
}

Image = NDArray[np.uint8]
Points = NDArray[np.float64]
Units = dict[int, float]


def to_canvas(points: NDArray[np.float64]) -> NDArray[np.int32]:
    """Turn points [p 2] in face units into canvas pixels in OpenCV's fixed point of 4 bits."""
    return (points * (UNIT * 16) + _CENTRE).astype(np.int32)


class Pen:
    """Puts points on one side of the face, slid by the turn of the head."""

    def __init__(self, shift: Points) -> None:
        self.shift = shift

    def __call__(self, side: float, points: Points) -> Points:
        """Mirror points [p 2] to the side -1 or 1 and slide them."""
        return np.asarray(points * np.array([side, 1.0]) + self.shift)


def curve(*points: tuple[float, float]) -> Points:
    """Sample a Bezier curve [p 2] of degree 2 or 3."""
    return np.asarray(_BERNSTEIN[len(points)] @ np.array(points))


def outline(look: Look, drop: float = 0.0) -> NDArray[np.float64]:
    """Return the face's outline [p 2] in face units, the chin lowered by ``drop``."""
    angle = np.linspace(0, 2 * np.pi, 72, endpoint=False)
    c, s = np.cos(angle), np.sin(angle)
    jaw = np.abs(c) ** (1.0 - 0.28 * look.square) * (1 - 0.10 * (1 - look.square) * s**2)
    x = np.where(s > 0, np.sign(c) * jaw, c) * look.width
    y = np.where(s > 0, s * (look.chin - 0.05 + drop), s * 1.22) + 0.05
    return np.stack([x, y], axis=1)


def lids(look: Look, units: Units, blink: float) -> tuple[Points, Points]:
    """Return the edges of the upper and the lower lid [p 2] of the right eye, from inner to outer corner."""
    size = look.eye_size
    shut = min(max(blink, 0.0), 1.0)
    up = 0.125 * size * (1 + 0.60 * units[5] - 0.42 * units[7] - 0.55 * units[43] - 0.28 * units[6] - 0.15 * units[9])
    down = 0.085 * size * (1 - 0.70 * units[7] - 0.75 * units[6] - 0.3 * units[9] + 0.15 * units[5])
    up, down = max(up, 0.02), max(down, -0.02)
    up = up + (-down * 0.8 - up) * shut
    x, half, slant = look.eye_gap, 0.2 * size, look.eye_slant
    inner, outer = (x - half, 0.03), (x + half, 0.0 - slant + 0.02 * units[43])
    upper = curve(inner, (x - 0.5 * half, -1.5 * up), (x + 0.4 * half, -1.55 * up), outer)
    lower = curve(inner, (x - 0.4 * half, 1.35 * down), (x + 0.5 * half, 1.45 * down), outer)
    return upper, lower


def corner(look: Look, units: Units) -> tuple[float, float]:
    """Return the right corner of the mouth: half its width and its height below the origin."""
    stretch = 1 + 0.32 * units[12] + 0.36 * units[20] + 0.05 * units[15]
    stretch -= 0.34 * units[18] + 0.10 * units[26] + 0.06 * units[24]
    y = look.mouth_height - 0.15 * units[12] + 0.13 * units[15] + 0.05 * units[20] + 0.04 * units[26] - 0.025
    return look.mouth_width * stretch, y


def lip_lines(look: Look, units: Units) -> tuple[Points, Points, Points, Points]:
    """Return the lips' edges [p 2] from left to right: upper outer, upper inner, lower inner and lower outer."""
    wide, edge = corner(look, units)
    t = np.linspace(-1, 1, 25)
    part = 0.03 * units[25]
    top = look.mouth_height - 0.11 * units[10] - part - 0.02 * units[26] - 0.03 * units[17]
    wider = 0.05 * units[25] * (units[12] + units[20])  # parted lips open more in a smile and when stretched
    bottom = look.mouth_height + part + wider + 0.25 * units[26] - 0.04 * units[17]
    square = 2.0 + 1.2 * units[10] + 1.5 * units[20]
    upper_in = edge + (top - edge) * (1 - np.abs(t) ** square)
    lower_in = np.maximum(edge + (bottom - edge) * (1 - np.abs(t) ** (2.2 + units[20])), upper_in)
    press = (1 - 0.72 * min(units[24], 1.0)) * look.lip_thick
    bow = 1 - np.abs(t) ** 2.4 - 0.22 * np.exp(-((t / 0.16) ** 2))
    upper_out = upper_in - 0.085 * press * (1 - 0.25 * units[12]) * bow
    lower_out = lower_in + 0.115 * press * (1 - 0.25 * units[12] + 0.25 * units[17]) * (1 - np.abs(t) ** 2.2)
    x = wide * t
    lines = [np.stack([x, y], axis=1) for y in (upper_out, upper_in, lower_in, lower_out)]
    return lines[0], lines[1], lines[2], lines[3]
