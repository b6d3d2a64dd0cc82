"""Draw a talking face: action units, head pose, gaze and blinks to pictures."""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np
from numpy.typing import NDArray

from mmer.corpora.demo.geometry import (
    CANVAS,
    HEIGHT,
    ORIGIN,
    UNIT,
    WIDTH,
    Image,
    Pen,
    Points,
    Units,
    curve,
    lids,
    lip_lines,
    outline,
    to_canvas,
)
from mmer.corpora.demo.look import Look
from mmer.corpora.demo.script import UNITS, Performance
from mmer.corpora.demo.skin import draw_skin
from mmer.corpora.demo.stage import Stage, set_stage

_LEFT = 60  # no head reaches the pixels left of this, nor as far from the right edge


def draw_clip(look: Look, performance: Performance, rng: np.random.Generator) -> Iterator[Image]:
    """Yield a clip's pictures, RGB [HEIGHT WIDTH 3].

    Args:
        look: The actor's face.
        performance: What it does.
        rng: Draws the light, the framing and the camera's noise of this clip.
    """
    stage = set_stage(look, rng)
    zoom, right, down = rng.uniform(0.93, 1.06), rng.uniform(-0.03, 0.03), rng.uniform(-0.015, 0.02)
    for row, head, gaze, blink in zip(
        performance.units, performance.head, performance.gaze, performance.blink, strict=True
    ):
        units = dict(zip(UNITS, row.tolist(), strict=True))
        pose = head + np.array([right, down, 0.0, zoom - 1, 0.0, 0.0])
        canvas, mask = _draw_head(look, stage, units, pose[4:], gaze, float(blink))
        yield _shoot(stage, canvas, mask, pose, rng)


def _shoot(stage: Stage, canvas: Image, mask: Image, pose: NDArray[np.float64], rng: np.random.Generator) -> Image:
    """Place the head before the wall and add the camera's noise."""
    scale = 0.5 * (1 + pose[3])
    turn = cv2.getRotationMatrix2D((ORIGIN[0], ORIGIN[1] + UNIT), -pose[2], scale)
    turn[:, 2] += np.array([WIDTH / 2, 0.49 * HEIGHT + UNIT / 2]) - np.array([ORIGIN[0], ORIGIN[1] + UNIT])
    turn[:, 2] += pose[:2] * HEIGHT - (_LEFT, 0)
    size = (WIDTH - 2 * _LEFT, HEIGHT)
    head = cv2.warpAffine(canvas, turn, size, flags=cv2.INTER_LINEAR)
    cover = cv2.warpAffine(mask, turn, size, flags=cv2.INTER_LINEAR) * np.float32(1 / 255)
    picture = stage.wall.copy()
    part = picture[:, _LEFT:-_LEFT]
    part[:] = cv2.blendLinear(head, part, cover, 1 - cover)
    top, left = rng.integers(0, 64, 2)
    return np.asarray(cv2.add(picture, stage.grain[top : top + HEIGHT, left : left + WIDTH], dtype=cv2.CV_8U))


def _draw_head(
    look: Look, stage: Stage, units: Units, shift: Points, gaze: Points, blink: float
) -> tuple[Image, Image]:
    """Draw the head on the canvas, its parts slid by its turn; return it with the mask [h w] of what it covers."""
    drop = 0.20 * units[26] + 0.02 * units[25]
    canvas = draw_skin(look, stage, units, shift, drop)
    face = np.zeros(CANVAS, np.uint8)
    cv2.fillPoly(face, [to_canvas(outline(look, drop))], 255, cv2.LINE_AA, 4)
    face = cv2.max(face, stage.ears)
    cv2.copyTo(stage.hair, cv2.max(cv2.subtract(stage.crown, face), stage.fringe), canvas)
    _draw_nose(canvas, look, units, shift)
    _draw_mouth(canvas, look, units, shift)
    for side in (-1, 1):
        _draw_eye(canvas, look, units, shift, gaze, blink, side)
        _draw_brow(canvas, look, units, shift, side)
    return canvas, cv2.max(face, stage.crown)


def _fill(image: Image, points: Points, colour: tuple[float, ...]) -> None:
    """Fill a polygon in face units, in place."""
    cv2.fillPoly(image, [to_canvas(points)], colour, cv2.LINE_AA, 4)


def _mix(colour: tuple[int, ...], other: tuple[int, ...], share: float) -> tuple[float, ...]:
    """Mix two colours."""
    return tuple(a + (b - a) * share for a, b in zip(colour, other, strict=True))


def _draw_nose(canvas: Image, look: Look, units: Units, shift: Points) -> None:
    """Draw nostrils and wings, in place; the rest of the nose is light and shadow."""
    at = Pen(shift)
    y = look.nose_length - 0.05 * units[9] - 0.02 * units[10]
    w = look.nose_width * (1 + 0.12 * units[9] + 0.05 * units[12])
    dark = _mix(look.skin, (40, 10, 10), 0.72)
    for side in (-1, 1):
        upper = curve((0.25 * w, y), (0.55 * w, y - 0.05), (0.85 * w, y - 0.01))
        lower = curve((0.85 * w, y - 0.01), (0.6 * w, y + 0.02), (0.25 * w, y))
        _fill(canvas, at(side, np.concatenate([upper, lower])), dark)
        wing = at(side, curve((w, y - 0.13), (1.28 * w, y - 0.03), (0.95 * w, y + 0.01)))
        cv2.polylines(canvas, [to_canvas(wing)], False, _mix(look.skin, (60, 20, 15), 0.5), 2, cv2.LINE_AA, 4)


def _draw_eye(canvas: Image, look: Look, units: Units, shift: Points, gaze: Points, blink: float, side: float) -> None:
    """Draw one eye, in place: ball, iris and highlight seen through the opening of the lids."""
    at = Pen(shift)
    upper, lower = lids(look, units, blink)
    crease = upper + np.array([0.0, -0.045 * (1 - 0.5 * units[5])])
    _fill(canvas, at(side, np.concatenate([crease, lower[::-1]])), _mix(look.skin, (60, 20, 10), 0.28))
    opening = at(side, np.concatenate([upper, lower[::-1]]))
    pixels = to_canvas(opening) // 16
    (left, top), (right, bottom) = pixels.min(axis=0) - 2, pixels.max(axis=0) + 3
    patch = canvas[top:bottom, left:right]
    offset = np.array([left, top])
    centre = at(side, np.array([[look.eye_gap, 0.0]]))[0]
    ball = _eyeball(patch.shape, look, centre, gaze, offset, lid=float(upper[:, 1].min() + shift[1]))
    mask = np.zeros(patch.shape[:2], np.uint8)
    cv2.fillPoly(mask, [to_canvas(opening) - offset * 16], 255, cv2.LINE_AA, 4)
    cv2.copyTo(ball, mask, patch)
    lash = (28, 18, 16)
    edge = np.concatenate([upper, upper[::-1] + np.array([0.0, -0.022 if look.female else -0.014])])
    _fill(canvas, at(side, edge), lash)
    if look.female:
        tip = np.array([upper[-1] + (-0.05, -0.01), upper[-1] + (0.045, -0.045), upper[-1] + (0.0, 0.005)])
        _fill(canvas, at(side, tip), lash)
    cv2.polylines(canvas, [to_canvas(at(side, lower))], False, _mix(look.skin, (70, 30, 25), 0.5), 1, cv2.LINE_AA, 4)


def _eyeball(shape: tuple[int, ...], look: Look, centre: Points, gaze: Points, offset: Points, lid: float) -> Image:
    """Draw an eyeball on a patch of the canvas that begins at ``offset`` pixels."""
    tone = float(np.mean(look.skin))
    dim = min(max((214 - 1.28 * tone) / (214 - tone), 0.30), 0.80)  # much whiter than the skin, and Haar sees no eye
    white, shade = _mix((222, 214, 208), look.skin, dim), _mix((120, 108, 106), look.skin, 0.30)
    ball = np.full((*shape[:2], 3), white, np.uint8)
    shadow = to_canvas(np.array([[centre[0] - 0.4, lid - 0.1], [centre[0] + 0.4, lid + 0.065]])) // 16 - offset
    cv2.rectangle(ball, shadow[0].tolist(), shadow[1].tolist(), shade, -1)
    iris = centre + np.array([0.055, 0.03]) * gaze + np.array([0.0, -0.012])
    x, y = (to_canvas(iris[None])[0] - offset * 16).tolist()
    radius = 0.088 * UNIT * 16
    for share, colour in ((1.0, _mix(look.iris, (0, 0, 0), 0.55)), (0.82, look.iris), (0.45, (12, 10, 10))):
        cv2.circle(ball, (x, y), int(radius * share), colour, -1, cv2.LINE_AA, 4)
    glint = (x - int(0.35 * radius), y - int(0.4 * radius))
    cv2.circle(ball, glint, int(0.22 * radius), (250, 250, 250), -1, cv2.LINE_AA, 4)
    return ball


def _draw_brow(canvas: Image, look: Look, units: Units, shift: Points, side: float) -> None:
    """Draw one brow, in place."""
    y = -look.brow_height - look.brow_thick / 2
    inner = (0.17 - 0.07 * units[4], y + 0.015 - 0.17 * units[1] + 0.15 * units[4] + 0.07 * units[9])
    middle = (0.40, y - 2 * look.brow_arch - 0.10 * units[1] - 0.20 * units[2] + 0.11 * units[4] + 0.05 * units[9])
    outer = (0.68 + 0.01 * units[2], y + 0.03 - 0.15 * units[2] + 0.02 * units[4] + 0.03 * units[1])
    line = curve(inner, middle, outer)
    thick = look.brow_thick * np.linspace(1.0, 0.3, len(line)) ** 0.8
    thick[0] *= 0.75
    half = np.stack([np.zeros(len(line)), thick / 2], axis=1)
    brow = Pen(shift)(side, np.concatenate([line - half, (line + half)[::-1]]))
    _fill(canvas, brow, _mix(look.hair, look.skin, 0.22))


def _draw_mouth(canvas: Image, look: Look, units: Units, shift: Points) -> None:
    """Draw lips and, where they part, teeth and tongue, in place."""
    at = Pen(shift)
    upper_out, upper_in, lower_in, lower_out = (at(1, line) for line in lip_lines(look, units))
    _fill(canvas, np.concatenate([upper_out, upper_in[::-1]]), _mix(look.lips, (60, 10, 20), 0.22))
    _fill(canvas, np.concatenate([lower_in, lower_out[::-1]]), look.lips)
    shine = lower_in[8:17] * 0.45 + lower_out[8:17] * 0.55
    cv2.polylines(canvas, [to_canvas(shine)], False, _mix(look.lips, (255, 235, 230), 0.30), 3, cv2.LINE_AA, 4)
    _draw_inside(canvas, upper_in, lower_in)
    cv2.polylines(canvas, [to_canvas(upper_in)], False, (72, 24, 28), 2, cv2.LINE_AA, 4)


def _draw_inside(canvas: Image, upper: Points, lower: Points) -> None:
    """Draw the inside of the mouth between the lips' inner edges, in place."""
    opening = np.concatenate([upper, lower[::-1]])
    gap = float((lower[:, 1] - upper[:, 1]).max())
    pixels = to_canvas(opening) // 16
    (left, top), (right, bottom) = pixels.min(axis=0) - 2, pixels.max(axis=0) + 3
    patch = canvas[top:bottom, left:right]
    offset = np.array([left, top]) * 16
    inside = np.full_like(patch, (58, 18, 22))
    tongue = to_canvas(np.array([[opening[:, 0].mean(), lower[:, 1].max() + 0.02]]))[0] - offset
    size = (int(0.2 * UNIT * 16), int(0.3 * gap * UNIT * 16))
    cv2.ellipse(inside, tongue.tolist(), size, 0, 0, 360, (150, 66, 70), -1, cv2.LINE_AA, 4)
    depth = min(0.10, 0.62 * gap)
    teeth = np.concatenate([upper[2:-2], upper[2:-2][::-1] + np.array([0.0, depth])])
    cv2.fillPoly(inside, [to_canvas(teeth) - offset], (238, 232, 222), cv2.LINE_AA, 4)
    mask = np.zeros(patch.shape[:2], np.uint8)
    cv2.fillPoly(mask, [to_canvas(opening) - offset], 255, cv2.LINE_AA, 4)
    cv2.copyTo(inside, mask, patch)
