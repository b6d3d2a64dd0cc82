"""RandAugment: a few operations drawn from a list, all of one strength (Cubuk et al. 2020, arXiv:1909.13719)."""

from __future__ import annotations

from typing import Literal, get_args

import torch

from mmer.data.edit import Edit

Operation = Literal[
    "identity",
    "shear_x",
    "shear_y",
    "translate_x",
    "translate_y",
    "rotate",
    "brightness",
    "colour",
    "contrast",
    "sharpness",
    "posterize",
    "solarize",
    "auto_contrast",
    "equalize",
]
"""The paper's list, each as strong as in torchvision, whose own transform takes five times as long for a clip."""

OPERATIONS: tuple[Operation, ...] = get_args(Operation)

STRONGEST = 30
"""Magnitude of full strength."""


def rand_augment(edit: Edit, count: int, magnitude: int, width: int, height: int) -> None:
    """Draw some operations for a clip.

    Args:
        edit: The clip's changes.
        count: How many operations.
        magnitude: Their strength, 0 to 30.
        width: Width of the frames, in pixels.
        height: Their height.
    """
    for _ in range(count):
        operation = OPERATIONS[int(torch.randint(len(OPERATIONS), ()))]
        sign = 1 if torch.rand(()) < 0.5 else -1
        operate(edit, operation, magnitude / STRONGEST, sign, width, height)


def operate(edit: Edit, operation: Operation, strength: float, sign: int, width: int, height: int) -> None:
    """Add one operation to a clip's changes.

    Args:
        edit: The changes.
        operation: Which.
        strength: 0 to 1.
        sign: 1 or -1: to which side, or whether to more or less.
        width: Width of the frames, in pixels.
        height: Their height.
    """
    change = sign * strength
    match operation:
        case "identity":
            pass
        case "shear_x":
            edit.move([[1.0, -0.3 * change, 0.0], [0.0, 1.0, 0.0]])
        case "shear_y":
            edit.move([[1.0, 0.0, 0.0], [-0.3 * change, 1.0, 0.0]])
        case "translate_x":
            edit.move([[1.0, 0.0, 150 / 331 * change * width], [0.0, 1.0, 0.0]])
        case "translate_y":
            edit.move([[1.0, 0.0, 0.0], [0.0, 1.0, 150 / 331 * change * height]])
        case "rotate":
            edit.turn(30 * change)
        case "brightness":
            edit.light(brightness=1 + 0.9 * change)
        case "colour":
            edit.light(saturation=1 + 0.9 * change)
        case "contrast":
            edit.light(contrast=1 + 0.9 * change)
        case "sharpness":
            edit.sharpen(1 + 0.9 * change)
        case "posterize" | "solarize" | "auto_contrast" | "equalize":
            edit.curve(operation, strength)
