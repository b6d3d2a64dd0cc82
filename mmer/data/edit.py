"""Changes to the frames of a clip, gathered first and then made in as few passes over the pixels as can be."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

Frames = NDArray[np.uint8]
"""The pixels of a clip, [t h w 3], RGB."""

CurveName = Literal["posterize", "solarize", "auto_contrast", "equalize"]
"""A change of every colour by itself, as a table of 256 values."""

_LUMA = np.array([0.299, 0.587, 0.114])  # of red, green and blue, as in torchvision's and OpenCV's grey
_STATISTICS = 56  # rows, and columns, of each frame that are enough to know a clip's colours


class Edit:
    """Changes to all frames of a clip alike.

    All light is one matrix over the colours and all movement one over the places: torchvision's transforms make a pass,
    in floating point, for each. Light comes first, then what needs a pass of its own, then movement; so what comes in
    from outside the frame is black.

    Args:
        frames: The clip; it is not changed itself.
    """

    def __init__(self, frames: Frames) -> None:
        self._frames = np.ascontiguousarray(frames)
        self._place = np.eye(3)
        self._colour = np.eye(4)
        self._passes: list[Callable[[Frames], Frames]] = []

    def light(self, brightness: float = 1.0, contrast: float = 1.0, saturation: float = 1.0) -> None:
        """Multiply the brightness, then the contrast around the clip's mean grey, then the saturation."""
        self._colour = np.diag([brightness, brightness, brightness, 1]) @ self._colour
        if contrast != 1:
            mean = cv2.mean(_sample(self._frames))[:3]
            grey = float(_LUMA @ (self._colour @ [*mean, 1])[:3])
            self._blend(contrast, np.zeros((3, 3)), grey)
        self._blend(saturation, np.tile(_LUMA, (3, 1)), 0.0)

    def move(self, matrix: ArrayLike) -> None:
        """Move every pixel from (x, y) to ``matrix @ (x, y, 1)``."""
        self._place = np.vstack([matrix, [0, 0, 1]]) @ self._place

    def turn(self, degrees: float, scale: float = 1.0) -> None:
        """Turn counterclockwise and scale about the middle of the frame."""
        height, width = self._frames.shape[1:3]
        self.move(cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), degrees, scale))

    def mirror(self) -> None:
        """Exchange left and right, before any movement."""

        def mirrored(frames: Frames) -> Frames:
            return np.asarray(cv2.flip(_flat(frames), 1), np.uint8).reshape(frames.shape)

        self._passes.append(mirrored)

    def sharpen(self, factor: float) -> None:
        """Blend with the smoothed frame: 0 is smooth, 1 no change, 2 sharp."""
        kernel = (1 - factor) * np.array([[1, 1, 1], [1, 5, 1], [1, 1, 1]]) / 13
        kernel[1, 1] += factor

        def sharpened(frames: Frames) -> Frames:
            return np.stack([cv2.filter2D(frame, -1, kernel) for frame in frames])

        self._passes.append(sharpened)

    def curve(self, name: CurveName, strength: float = 0.0) -> None:
        """Change each colour by a table.

        Args:
            name: ``posterize`` keeps 8 to 4 bits, ``solarize`` inverts what is brighter than white to black,
                ``auto_contrast`` stretches what is there to black and white, ``equalize`` makes all values as frequent.
            strength: 0 to 1, for the first two.
        """

        def curved(frames: Frames) -> Frames:
            table = np.stack([_table(name, strength, _sample(frames)[..., i]) for i in range(3)], axis=-1)
            changed = cv2.LUT(_flat(frames), table.reshape(256, 1, 3).astype(np.uint8))
            return np.asarray(changed, np.uint8).reshape(frames.shape)

        self._passes.append(curved)

    def done(self) -> Frames:
        """Return the clip with all changes."""
        frames = self._lit(self._frames)
        for change in self._passes:
            frames = change(frames)
        return self._moved(frames)

    def _blend(self, share: float, matrix: NDArray[np.float64], offset: float) -> None:
        """Take so much of the colours, and the rest of a matrix of theirs and an offset."""
        step = np.eye(4)
        step[:3, :3] = share * np.eye(3) + (1 - share) * matrix
        step[:3, 3] = (1 - share) * offset
        self._colour = step @ self._colour

    def _lit(self, frames: Frames) -> Frames:
        if np.array_equal(self._colour, np.eye(4)):
            return frames
        lit = np.empty_like(frames)
        cv2.transform(_flat(frames), self._colour[:3], dst=_flat(lit))
        return lit

    def _moved(self, frames: Frames) -> Frames:
        if np.array_equal(self._place, np.eye(3)):
            return frames
        moved, (height, width) = np.empty_like(frames), frames.shape[1:3]
        for frame, target in zip(frames, moved, strict=True):
            cv2.warpAffine(frame, self._place[:2], (width, height), dst=target)
        return moved


def _flat(frames: Frames) -> NDArray[np.uint8]:
    """Return all frames as one picture, one below the other, [t*h w 3]."""
    return frames.reshape(-1, *frames.shape[2:])


def _sample(frames: Frames) -> NDArray[np.uint8]:
    """Return pixels that are enough to know a clip's colours, as one picture."""
    step = max(1, frames.shape[1] // _STATISTICS)
    return _flat(frames[:, ::step, ::step])


def _table(name: CurveName, strength: float, values: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Return the new values of 0 to 255; those of the last two depend on the values that there are."""
    x = np.arange(256)
    match name:
        case "posterize":
            bits = 8 - round(4 * strength)
            return x & (0xFF << (8 - bits))
        case "solarize":
            return np.where(x < 255 * (1 - strength), x, 255 - x)
        case "auto_contrast":
            low, high = int(values.min()), int(values.max())
            return np.clip((x - low) * 255 // (high - low), 0, 255) if high > low else x
        case "equalize":
            counts = np.bincount(values.ravel(), minlength=256)
            step = (counts.sum() - counts[np.flatnonzero(counts)[-1]]) // 255
            return np.clip((np.cumsum(counts) - counts + step // 2) // step, 0, 255) if step else x
