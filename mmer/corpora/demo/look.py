"""What an actor looks like."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_SKINS = np.array([[246, 208, 186], [232, 186, 156], [214, 164, 128], [188, 134, 100], [154, 108, 80]], dtype=float)
_HAIRS = ((38, 28, 24), (70, 46, 30), (112, 74, 42), (178, 136, 80), (140, 62, 34), (110, 106, 104))
_IRISES = ((84, 54, 32), (58, 92, 122), (72, 104, 70), (104, 118, 124), (62, 40, 28))
_SHIRTS = ((62, 82, 120), (120, 58, 62), (66, 104, 84), (92, 90, 98), (168, 150, 118), (52, 52, 60), (150, 104, 140))


@dataclass(frozen=True, slots=True)
class Look:
    """An actor's face at rest; lengths in face units, colours RGB.

    Attributes:
        female: Whether the hair is long and the jaw soft.
        width: Half the face's width.
        chin: How far the chin lies below the origin.
        square: Squareness of the jaw, 0..1.
        eye_size: Size of the eyes, as a factor.
        eye_gap: Distance of an eye's centre from the middle.
        eye_slant: How far the outer corner lies above the inner one.
        brow_height: How far the brows lie above the origin.
        brow_thick: Thickness of a brow.
        brow_arch: Height of a brow's arch.
        nose_width: Half the nose's width.
        nose_length: How far the nostrils lie below the origin.
        mouth_width: Half the mouth's width.
        mouth_height: How far the mouth lies below the origin.
        lip_thick: Thickness of the lips, as a factor.
        fringe: How far the hair comes down the forehead, 0..1.
        parting: Where the hair parts, -1..1.
        stubble: Darkness of a beard's shadow, 0..1.
        skin: Colour of the skin.
        lips: Colour of the lips.
        hair: Colour of the hair.
        iris: Colour of the eyes.
        shirt: Colour of the clothes.
        wall: Colour of the background.
    """

    female: bool
    width: float
    chin: float
    square: float
    eye_size: float
    eye_gap: float
    eye_slant: float
    brow_height: float
    brow_thick: float
    brow_arch: float
    nose_width: float
    nose_length: float
    mouth_width: float
    mouth_height: float
    lip_thick: float
    fringe: float
    parting: float
    stubble: float
    skin: tuple[int, int, int]
    lips: tuple[int, int, int]
    hair: tuple[int, int, int]
    iris: tuple[int, int, int]
    shirt: tuple[int, int, int]
    wall: tuple[int, int, int]


def cast_look(actor: int, seed: int) -> Look:
    """Give an actor a face; odd actors are male and even ones female, as in RAVDESS."""
    rng = np.random.default_rng([seed, 6, actor])
    female = actor % 2 == 0
    tone = rng.uniform(0, len(_SKINS) - 1.01)
    low = int(tone)
    skin = _SKINS[low] + (tone - low) * (_SKINS[low + 1] - _SKINS[low]) + rng.normal(0, 5, 3)
    dark = tone > 2.2
    hair = np.array(_HAIRS[rng.integers(0, 2 if dark else len(_HAIRS))]) + rng.normal(0, 6, 3)
    red = np.array([0.80, 0.50, 0.52]) if female else np.array([0.82, 0.62, 0.60])
    wall = np.array([rng.uniform(95, 200)] * 3) + rng.normal(0, 18, 3)
    return Look(
        female=female,
        width=rng.uniform(0.86, 0.95) if female else rng.uniform(0.90, 1.01),
        chin=rng.uniform(1.12, 1.21) if female else rng.uniform(1.18, 1.30),
        square=rng.uniform(0.05, 0.4) if female else rng.uniform(0.35, 0.95),
        eye_size=rng.uniform(1.0, 1.18) if female else rng.uniform(0.9, 1.05),
        eye_gap=rng.uniform(0.39, 0.45),
        eye_slant=rng.uniform(-0.01, 0.035),
        brow_height=rng.uniform(0.24, 0.30),
        brow_thick=rng.uniform(0.055, 0.075) if female else rng.uniform(0.08, 0.11),
        brow_arch=rng.uniform(0.05, 0.09) if female else rng.uniform(0.01, 0.05),
        nose_width=rng.uniform(0.17, 0.21) if female else rng.uniform(0.20, 0.25),
        nose_length=rng.uniform(0.40, 0.48),
        mouth_width=rng.uniform(0.31, 0.38),
        mouth_height=rng.uniform(0.70, 0.76),
        lip_thick=rng.uniform(1.0, 1.35) if female else rng.uniform(0.72, 1.05),
        fringe=rng.uniform(0.0, 1.0),
        parting=rng.uniform(-0.8, 0.8),
        stubble=0.0 if female else float(rng.choice([0.0, 0.0, 0.12, 0.28])),
        skin=_rgb(skin),
        lips=_rgb(skin * red + (14, 0, 4)),
        hair=_rgb(hair),
        iris=_IRISES[rng.integers(2) * 4 if dark else rng.integers(len(_IRISES))],
        shirt=_SHIRTS[rng.integers(len(_SHIRTS))],
        wall=_rgb(wall),
    )


def _rgb(colour: NDArray[np.float64]) -> tuple[int, int, int]:
    """Round and limit a colour."""
    red, green, blue = np.clip(np.round(colour), 0, 255).astype(int).tolist()
    return red, green, blue
