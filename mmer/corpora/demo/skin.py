"""Light the skin of a moving face: the folds, hollows and bulges of its action units."""

from __future__ import annotations

import cv2
import numpy as np

from mmer.corpora.demo.geometry import CANVAS, ORIGIN, UNIT, Image, Pen, Points, Units, corner, curve, to_canvas
from mmer.corpora.demo.look import Look
from mmer.corpora.demo.stage import Stage

_HALF = (CANVAS[0] // 2, CANVAS[1] // 2)
_QUARTER = (CANVAS[0] // 4, CANVAS[1] // 4)
_ROWS, _COLUMNS = np.arange(_HALF[0]), np.arange(_HALF[1])
_REST = 140  # a soft layer's value where nothing dents or lifts the skin


def draw_skin(look: Look, stage: Stage, units: Units, shift: Points, drop: float) -> Image:
    """Light the skin, with the folds and bulges of the action units."""
    fine, soft = np.zeros(_HALF, np.uint8), np.full(_QUARTER, _REST, np.uint8)
    _bulge(soft, look, units, shift)
    _crease(fine, soft, look, units, shift, drop)
    hollow = cv2.resize(cv2.GaussianBlur(soft, (9, 9), 0), _HALF[::-1], interpolation=cv2.INTER_LINEAR)
    shade = cv2.addWeighted(_slide(stage.shade, look, shift, drop), 1.0, hollow, 0.5, -0.5 * _REST)
    shade = cv2.addWeighted(shade, 1.0, cv2.GaussianBlur(fine, (5, 5), 0), -0.42, 0.0)
    light = cv2.resize(shade, CANVAS[::-1], interpolation=cv2.INTER_LINEAR)
    return np.asarray(cv2.multiply(cv2.applyColorMap(light, stage.palette), stage.albedo, scale=1 / 255))


def _slide(shade: Image, look: Look, shift: Points, drop: float) -> Image:
    """Move the light on the face [h w] with the turning head, and below the mouth with the jaw."""
    y = (_ROWS * 2 + 0.5 - ORIGIN[1]) / UNIT - shift[1]
    start, end = look.mouth_height - 0.05, look.chin
    stretched = start + (y - start) * (end - start) / (end + drop - start)
    source = np.where(y < start, y, np.where(y > end + drop, y - drop, stretched))
    rows = ((source * UNIT + ORIGIN[1] - 0.5) / 2).astype(np.float32)
    columns = (_COLUMNS - shift[0] * UNIT / 2).astype(np.float32)
    across, down = np.broadcast_to(columns, _HALF).copy(), np.repeat(rows[:, None], _HALF[1], axis=1)
    return np.asarray(cv2.remap(shade, across, down, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE))


def _stroke(fine: Image, points: Points, strength: float) -> None:
    """Draw a wrinkle of strength 0..1 on a half-size layer, in place."""
    if strength > 0.03:
        value = int(min(strength, 1.0) * 255)
        cv2.polylines(fine, [to_canvas(points) // 2], False, value, 2, cv2.LINE_AA, 4)


def _dent(soft: Image, points: Points, strength: float) -> None:
    """Draw a shallow fold of strength 0..1 on a quarter-size layer, in place."""
    if strength > 0.03:
        value = int(_REST * (1 - min(strength, 1.0)))
        cv2.polylines(soft, [to_canvas(points) // 4], False, value, 2, cv2.LINE_AA, 4)


def _crease(fine: Image, soft: Image, look: Look, units: Units, shift: Points, drop: float) -> None:
    """Draw the folds that action units make, in place: fine lines and soft hollows."""
    at = Pen(shift)
    low, wide = look.nose_length, look.nose_width
    corner_x, corner_y = corner(look, units)
    for side in (-1, 1):
        fold = 0.12 + 0.50 * units[12] + 0.55 * units[10] + 0.35 * units[9] + 0.2 * units[20]
        start, end = (wide + 0.05, low - 0.10 - 0.06 * units[9]), (corner_x + 0.10, corner_y - 0.02)
        nasolabial = at(side, curve(start, (corner_x + 0.06, low + 0.02), end))
        _stroke(fine, nasolabial, 0.45 * fold)
        _dent(soft, nasolabial, 0.50 * fold)
        _crease_eye(fine, soft, look, units, at, side)
        for index in range(3):  # the nose wrinkles
            y = 0.02 + 0.07 * index
            _stroke(fine, at(side, curve((0.02, y), (0.08, y - 0.03), (0.15, y + 0.05))), 0.55 * units[9])
        frown = at(side, curve((0.07, -look.brow_height - 0.12), (0.05, -look.brow_height), (0.08, -0.12)))
        _stroke(fine, frown, 0.5 * units[4])
        _dent(soft, frown, 0.40 * units[4])
        droop = at(
            side,
            curve((corner_x, corner_y + 0.02), (corner_x + 0.05, corner_y + 0.06), (corner_x + 0.06, corner_y + 0.16)),
        )
        _dent(soft, droop, 0.6 * units[15])
    _crease_forehead(fine, look, units, at)
    lip = look.mouth_height + 0.9 * drop + 0.14 * look.lip_thick
    _dent(soft, at(1, curve((-0.16, lip), (0.0, lip + 0.06), (0.16, lip))), 0.35 + 0.5 * units[17])
    for x in (-0.09, 0.0, 0.09):  # a raised chin is dimpled
        _stroke(
            fine,
            at(1, curve((x, look.chin - 0.2), (x + 0.02, look.chin - 0.16), (x, look.chin - 0.12))),
            0.5 * units[17],
        )


def _crease_eye(fine: Image, soft: Image, look: Look, units: Units, at: Pen, side: float) -> None:
    """Draw bags, crow's feet and the shadow under the brow, in place."""
    x, size = look.eye_gap, 0.2 * look.eye_size
    low = 0.14 - 0.03 * units[6]
    _dent(
        soft,
        at(side, curve((x - size, low - 0.05), (x, low + 0.06), (x + size, low - 0.05))),
        0.22 + 0.4 * units[6],
    )
    _stroke(
        fine,
        at(side, curve((x - size, low - 0.05), (x, low + 0.04), (x + size, low - 0.06))),
        0.15 + 0.4 * units[6] + 0.3 * units[7],
    )
    for tilt in (-0.08, 0.0, 0.08):
        start = (x + 1.2 * size, 0.02 + 0.5 * tilt)
        _stroke(
            fine,
            at(side, curve(start, (start[0] + 0.06, start[1] + tilt / 2), (start[0] + 0.13, start[1] + 1.4 * tilt))),
            0.35 * units[6],
        )


def _crease_forehead(fine: Image, look: Look, units: Units, at: Pen) -> None:
    """Draw the lines of raised brows, in place: across for both parts, short for the inner ones alone."""
    reach = 0.28 + 0.30 * min(units[2], 1.0)
    strength = 0.38 * max(units[1] - 0.15, 0) + 0.38 * max(units[2] - 0.15, 0)
    for index in range(3):
        y = -look.brow_height - 0.24 - 0.10 * index - 0.06 * units[2]
        sag = 0.04 * (1 - min(units[2], 1.0))
        _stroke(fine, at(1, curve((-reach, y + sag), (0.0, y - 0.03), (reach, y + sag))), strength)


def _bulge(soft: Image, look: Look, units: Units, shift: Points) -> None:
    """Draw the cheeks that a smile lifts, in place."""
    lift = min(0.6 * units[6] + 0.4 * units[12] + 0.2 * units[9], 1.0)
    for side in (-1, 1):
        x, y = (to_canvas(np.array([[side * 0.54, 0.34 - 0.08 * units[6]]]) + shift)[0] // 4).tolist()
        size = (int(0.20 * UNIT * 4), int(0.13 * UNIT * 4))
        cv2.ellipse(soft, (x, y), size, -side * 20, 0, 360, int(_REST + 90 * lift), -1, cv2.LINE_AA, 4)
