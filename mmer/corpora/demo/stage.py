"""The layers of a clip that stand still: light, hair, wall, clothes and the camera's noise."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from mmer.corpora.demo.geometry import CANVAS, HEIGHT, ORIGIN, UNIT, WIDTH, Image, to_canvas
from mmer.corpora.demo.look import Look


@dataclass(frozen=True, slots=True)
class Stage:
    """The layers that stand still during one clip.

    Attributes:
        wall: Background, long hair, neck and clothes [HEIGHT WIDTH 3].
        shade: Light on the resting face [h w] at half the canvas's size, 0..255.
        albedo: Blush, beard and freckles [h w 3] on the canvas, 255 where there are none.
        palette: Colour of the skin under every light [256 1 3].
        hair: Hair on the canvas [h w 3].
        fringe: Where hair covers the head [h w], 0 or 255.
        crown: Where the head layer is covered by hair outside the face [h w], 0 or 255.
        ears: Where ears stick out [h w], 0 or 255; all 0 under long hair.
        grain: Camera noise [2 HEIGHT, 2 WIDTH, 3], of which each frame takes a window.
    """

    wall: Image
    shade: Image
    albedo: Image
    palette: Image
    hair: Image
    fringe: Image
    crown: Image
    ears: Image
    grain: NDArray[np.int16]


def set_stage(look: Look, rng: np.random.Generator) -> Stage:
    """Draw what stands still during a clip: light, wall, hair, clothes and the camera's noise."""
    light = np.array([rng.uniform(-0.75, 0.75), rng.uniform(-0.65, -0.1), 1.0])
    light /= np.linalg.norm(light)
    shade = _shade(look, light, rng.uniform(0.36, 0.5))
    hair = _hair_texture(look, light, rng)
    fringe = _fringe(look, rng)
    crown = cv2.max(_fill(CANVAS, _cap(look)), fringe)
    ears = np.zeros(CANVAS, np.uint8)
    if not look.female:
        cv2.fillPoly(ears, [to_canvas(ear) for ear in _ears(look)], 255, cv2.LINE_AA, 4)
    sigma = rng.uniform(1.5, 4.0)
    grain = (sigma * rng.standard_normal((HEIGHT + 64, WIDTH + 64, 3), dtype=np.float32)).astype(np.int16)
    wall = _wall(look, light, hair, rng)
    return Stage(wall, shade, _albedo(look, rng), _palette(look, rng), hair, fringe, crown, ears, grain)


def _fill(shape: tuple[int, int], points: NDArray[np.float64]) -> Image:
    """Return a mask [h w] of a polygon in face units."""
    mask = np.zeros(shape, np.uint8)
    cv2.fillPoly(mask, [to_canvas(points)], 255, cv2.LINE_AA, 4)
    return mask


def _grid(scale: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return x and y in face units of every pixel of the canvas divided by ``scale``."""
    rows, columns = CANVAS[0] // scale, CANVAS[1] // scale
    y, x = np.mgrid[0:rows, 0:columns].astype(np.float32)
    half = (scale - 1) / 2
    return (x * scale + half - ORIGIN[0]) / UNIT, (y * scale + half - ORIGIN[1]) / UNIT


def _bump(
    x: NDArray[np.float32], y: NDArray[np.float32], at: tuple[float, float], size: tuple[float, float]
) -> NDArray[np.float32]:
    """Return a smooth bump of height 1."""
    return np.asarray(np.exp(-(((x - at[0]) / size[0]) ** 2) - ((y - at[1]) / size[1]) ** 2), dtype=np.float32)


def _relief(look: Look) -> NDArray[np.float32]:
    """Return the height of the resting face [h w] in face units, at half the canvas's size."""
    x, y = _grid(2)
    side = np.abs(x)
    radius = (x / (look.width * 1.12)) ** 2 + ((y + 0.05) / 1.58) ** 2
    z = 0.9 * np.sqrt(np.maximum(1 - radius, 0.03))
    tip = look.nose_length - 0.08
    ridge = np.exp(-((x / (0.6 * look.nose_width)) ** 2)) / (1 + np.exp(-(y + 0.12) / 0.06))
    ridge /= 1 + np.exp((y - tip - 0.04) / 0.025)
    z += ridge * (0.05 + 0.14 * np.clip((y + 0.2) / (tip + 0.2), 0, 1))
    z += 0.07 * _bump(x, y, (0.0, tip), (0.55 * look.nose_width, 0.10))
    z += 0.07 * _bump(side, y, (0.75 * look.nose_width, tip + 0.03), (0.4 * look.nose_width, 0.07))
    z += 0.05 * _bump(side, y, (0.34, -look.brow_height + 0.02), (0.34, 0.09))
    z -= 0.10 * _bump(side, y, (look.eye_gap - 0.02, 0.0), (0.22, 0.13))
    z += 0.08 * _bump(side, y, (0.52, 0.32), (0.26, 0.24))
    z += 0.06 * _bump(x, y, (0.0, look.mouth_height), (0.38, 0.24))
    z += 0.09 * _bump(x, y, (0.0, look.chin - 0.13), (0.24, 0.13))
    z -= 0.03 * _bump(x, y, (0.0, look.mouth_height - 0.17), (0.05, 0.09))
    return np.asarray(z, dtype=np.float32)


def _shade(look: Look, light: NDArray[np.float64], ambient: float) -> Image:
    """Light the resting face: Lambert's law, a little gloss and the shadow of the nose; 0..255."""
    z = _relief(look) * (UNIT / 2)
    dx, dy = cv2.Sobel(z, cv2.CV_32F, 1, 0, scale=1 / 8), cv2.Sobel(z, cv2.CV_32F, 0, 1, scale=1 / 8)
    norm = np.sqrt(dx**2 + dy**2 + 1)
    lambert = np.maximum((-dx * light[0] - dy * light[1] + light[2]) / norm, 0)
    gloss = lambert**24
    x, y = _grid(2)
    cast = _bump(x, y, (-0.26 * light[0], look.nose_length - 0.02 - 0.12 * light[1]), (0.17, 0.10))
    socket = _bump(np.abs(x), y, (look.eye_gap - 0.04, -0.06), (0.26, 0.15))
    value = ambient + (0.80 - ambient) * lambert + 0.09 * gloss - 0.11 * cast - 0.16 * socket
    return np.asarray(np.clip(value, 0.05, 1.0) * 255, dtype=np.uint8)


def _bytes(values: NDArray[np.floating]) -> Image:
    """Limit values to 0..255 and make them bytes."""
    return np.asarray(np.clip(values, 0, 255), dtype=np.uint8)


def _palette(look: Look, rng: np.random.Generator) -> Image:
    """Return the skin's colour under every light: shadows turn red and deep, highlights pale."""
    light = np.linspace(0, 1, 256)[:, None]
    skin = np.array(look.skin) * rng.uniform(0.92, 1.05) * (1 + rng.normal(0, 0.02, 3))
    dark = skin * np.array([0.34, 0.24, 0.24])
    pale = skin + (255 - skin) * 0.62
    low = dark + (skin - dark) * np.clip(light / 0.76, 0, 1) ** 1.1
    colour = low + (pale - low) * np.clip((light - 0.76) / 0.24, 0, 1)
    return _bytes(colour)[:, None, :]


def _albedo(look: Look, rng: np.random.Generator) -> Image:
    """Return blush, beard and freckles on the canvas, at rest."""
    x, y = _grid(1)
    side = np.abs(x)
    blush = _bump(side, y, (0.56, 0.36), (0.26, 0.2)) + 0.6 * _bump(x, y, (0.0, look.nose_length - 0.1), (0.16, 0.12))
    cut = np.multiply.outer(blush, np.array([0.01, 0.10, 0.09], np.float32))
    if look.stubble:
        beard = 1 / (1 + np.exp(-(y - 0.55 - 0.22 * (1 - side / look.width)) / 0.05))
        beard *= rng.uniform(0.7, 1.0, CANVAS)
        cut += np.multiply.outer(look.stubble * beard, np.array([1.0, 0.95, 0.85]))
    cut += 0.015 * rng.standard_normal(CANVAS)[..., None]
    return _bytes((1 - cut) * 255)


def _skull(look: Look) -> NDArray[np.float64]:
    """Return the upper edge of the hair [p 2], from left to right."""
    angle = np.linspace(np.pi, 2 * np.pi, 40)
    volume = 0.10 if look.female else 0.05
    return np.stack(
        [
            np.sign(np.cos(angle)) * np.abs(np.cos(angle)) ** 0.85 * (look.width + volume),
            np.sin(angle) * (1.34 + volume),
        ],
        axis=1,
    )


def _cap(look: Look) -> NDArray[np.float64]:
    """Return the outline of the hair around the skull [p 2]."""
    reach, wide = (0.35, 0.11) if look.female else (-0.08, 0.05)
    right = np.array([[look.width + wide, reach], [look.width - 0.05, reach]])
    return np.concatenate([_skull(look), right, right[::-1] * (-1, 1)])


def _fringe(look: Look, rng: np.random.Generator) -> Image:
    """Return where hair covers the forehead and temples [h w]."""
    reach = look.width + (0.12 if look.female else 0.03)
    x = np.linspace(-reach, reach, 120)
    line = -1.02 + 0.18 * look.fringe + 0.20 * np.abs(x - look.parting * 0.6) / look.width
    strands = 0.012 * np.sin(x * 43 + rng.uniform(0, 6)) + 0.012 * np.sin(x * 97 + rng.uniform(0, 6))
    temple = np.clip((np.abs(x) - look.width * 0.82) / 0.18, 0, 1) ** 1.6 * (1.35 if look.female else 0.62)
    edge = np.stack([x, line + strands + temple], axis=1)
    return _fill(CANVAS, np.concatenate([edge, _skull(look)[::-1]]))


def _ears(look: Look) -> list[NDArray[np.float64]]:
    """Return the outlines of both ears [p 2]."""
    angle = np.linspace(0, 2 * np.pi, 24)
    right = np.stack([look.width + 0.01 + 0.10 * np.cos(angle), 0.12 + 0.20 * np.sin(angle)], axis=1)
    right[:, 0] += 0.05 * (0.12 - right[:, 1])
    return [right, right * (-1, 1)]


def _hair_texture(look: Look, light: NDArray[np.float64], rng: np.random.Generator) -> Image:
    """Return hair on the whole canvas: strands, a gloss band and the side of the light."""
    x, y = _grid(1)
    strands = cv2.GaussianBlur(rng.standard_normal(CANVAS, dtype=np.float32), (0, 0), sigmaX=0.8, sigmaY=9)
    strands /= strands.std()
    band = _bump(x * 0.4, y, (light[0] * 0.25, -1.12), (0.4, 0.16))
    gain = 0.86 + 0.13 * strands + 0.55 * band + 0.22 * light[0] * x
    return _bytes(gain[..., None] * (np.array(look.hair, np.float32) + 6))


def _wall(look: Look, light: NDArray[np.float64], hair: Image, rng: np.random.Generator) -> Image:
    """Draw the background, long hair, neck and clothes of a clip [HEIGHT WIDTH 3]."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH].astype(np.float32)
    fall = 1 + 0.18 * light[0] * (x / WIDTH - 0.5) - 0.18 * (y / HEIGHT - 0.5)
    fall += 0.10 * cv2.resize(
        rng.standard_normal((3, 4), dtype=np.float32), (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC
    )
    colour = np.array(look.wall, np.float32) * rng.uniform(0.85, 1.15)
    image = _bytes(fall[..., None] * colour)
    if look.female:
        _drape_hair(image, look, hair)
    _dress(image, look, light)
    return image


def _to_picture(points: list[tuple[float, float]]) -> NDArray[np.int32]:
    """Turn points in face units into fixed-point pixels of a picture whose head rests in the middle."""
    pixels = np.array(points) * (UNIT / 2) + np.array([WIDTH / 2, 0.49 * HEIGHT])
    return np.asarray(np.round(pixels * 16), dtype=np.int32)


def _paint(
    image: Image, points: list[tuple[float, float]], colour: tuple[int, int, int], gain: NDArray[np.float32]
) -> None:
    """Fill a polygon in place with a colour under a light [HEIGHT WIDTH]."""
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    cv2.fillPoly(mask, [_to_picture(points)], 255, cv2.LINE_AA, 4)
    cover = mask.astype(np.float32) / 255
    paint = _bytes(gain[..., None] * np.array(colour, np.float32))
    image[:] = cv2.blendLinear(paint, image, cover, 1 - cover)


def _drape_hair(image: Image, look: Look, hair: Image) -> None:
    """Paint the long hair that falls behind the neck, in place."""
    w = look.width
    right = [(0.5 * w, -0.9), (w - 0.02, -0.5), (w + 0.08, 0.0), (w + 0.16, 0.5), (w + 0.14, 1.3), (w - 0.1, 1.75)]
    points = right + [(-px, py) for px, py in reversed(right)]
    texture = cv2.resize(hair, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA)
    _paint(image, points, look.hair, 0.2 + 0.5 * texture.mean(axis=2) / (np.mean(look.hair) + 6))


def _dress(image: Image, look: Look, light: NDArray[np.float64]) -> None:
    """Paint neck, shoulders and collar, in place."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH].astype(np.float32)
    x, y = (x - WIDTH / 2) * 2 / UNIT, (y - 0.49 * HEIGHT) * 2 / UNIT
    n, wide = (0.42, 1.75) if look.female else (0.56, 2.05)
    under_chin = 0.24 * np.exp(-(((y - look.chin) / 0.28) ** 2))
    round_neck = 0.80 - 0.16 * np.abs(x / n) ** 2 + 0.25 * light[0] * x / n - under_chin
    skin = (look.skin[0], round(look.skin[1] * 0.95), round(look.skin[2] * 0.94))
    _paint(image, [(-n, 0.6), (n, 0.6), (n + 0.2, 2.4), (-n - 0.2, 2.4)], skin, np.maximum(round_neck, 0.25))
    left = [(-2.9, 2.6), (-wide, 1.86), (-n - 0.25, 1.52), (-n + 0.03, 1.40)]
    collar = [(-n * 0.55, 1.66), (0.0, 1.86 if look.female else 1.74), (n * 0.55, 1.66)]
    right = [(-px, py) for px, py in reversed(left)]
    folds = 0.95 + 0.28 * light[0] * x / 2 - 0.25 * (y - 1.6) + 0.05 * np.sin(x * 5 + y * 3)
    _paint(image, left + collar + right, look.shirt, folds)
