"""A contact sheet: one row of frames for every clip, with the boxes in which its face was found."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import matplotlib
import numpy as np
from numpy.typing import NDArray
from PIL import Image as pillow
from PIL import ImageDraw, ImageFont

from mmer.atomic import replacing
from mmer.errors import ConfigError
from mmer.media.video import Image

_TILE = (256, 192)  # pixels, width and height, of the room for a frame
_GAP = 6
_TITLE = 24  # pixels, the height of a row's title
_LEAST = 400  # pixels, the width of a sheet
_PAPER, _INK, _FOUND, _MISSING = (224, 224, 224), "black", (0, 210, 60), (230, 32, 32)


@dataclass(frozen=True, slots=True)
class SheetRow:
    """A clip on a contact sheet.

    Args:
        title: What is written above it.
        images: Some of its frames, upright.
        boxes: The face in each of them: centre x, y, side and roll, [4]; None or NaN where there is none.
    """

    title: str
    images: Sequence[Image]
    boxes: Sequence[NDArray[np.float32] | None]


def check_name(path: Path) -> None:
    """Refuse a place where no PNG can be written.

    Raises:
        ConfigError: It does not end in ``.png``, or is a folder.
    """
    if path.suffix.lower() != ".png":
        raise ConfigError(f"a contact sheet is a PNG file, and {path.name} does not end in .png")
    if path.is_dir():
        raise ConfigError(f"a contact sheet is a PNG file, and {path} is a folder; name a file in it")


def draw_sheet(rows: Iterable[SheetRow], path: Path) -> None:
    """Draw a contact sheet.

    Args:
        rows: The clips, at least one; each is let go of as soon as it is drawn.
        path: The PNG file.

    Raises:
        ConfigError: The file's name does not end in ``.png``, or is that of a folder.
    """
    check_name(path)
    strips = [_strip(row) for row in rows]
    width = max(_LEAST, *(strip.width for strip in strips))
    sheet = pillow.new("RGB", (width, sum(strip.height for strip in strips)), _PAPER)
    top = 0
    for strip in strips:
        sheet.paste(strip, (0, top))
        top += strip.height
    with replacing(path) as temporary:
        sheet.save(temporary, format="PNG")


def _strip(row: SheetRow) -> pillow.Image:
    """Draw one clip: its title, and its frames side by side."""
    tiles = [_tile(image, box) for image, box in zip(row.images, row.boxes, strict=True)]
    title = " ".join(row.title.encode("utf-8", "backslashreplace").decode().split())  # a file's name may be no Unicode
    width = max(sum(tile.width + _GAP for tile in tiles), round(_font().getlength(title))) + 2 * _GAP
    height = _TITLE + max((tile.height for tile in tiles), default=0) + 2 * _GAP
    strip = pillow.new("RGB", (width, height), _PAPER)
    ImageDraw.Draw(strip).text((_GAP, _GAP), title, _INK, _font())
    left = _GAP
    for tile in tiles:
        strip.paste(tile, (left, _TITLE + _GAP))
        left += tile.width + _GAP
    return strip


def _tile(image: Image, box: NDArray[np.float32] | None) -> pillow.Image:
    """Scale a frame into its room and draw its box, or say that there is none."""
    scale = min(_TILE[0] / image.shape[1], _TILE[1] / image.shape[0])
    size = tuple(max(1, round(scale * side)) for side in (image.shape[1], image.shape[0]))
    tile = pillow.fromarray(image).resize((size[0], size[1]), pillow.Resampling.BOX)
    draw = ImageDraw.Draw(tile)
    if box is None or np.isnan(box).any():
        draw.rectangle((0, 0, size[0] - 1, size[1] - 1), outline=_MISSING, width=4)
        draw.text((8, 5), "no face", _MISSING, _font(), stroke_width=2, stroke_fill=_PAPER)
    else:
        x, y, side = (scale * box[:3]).tolist()
        draw.polygon(_corners(x, y, side, float(box[3])), outline=_FOUND, width=3)
    return tile


def _corners(x: float, y: float, side: float, roll: float) -> list[tuple[float, float]]:
    half, across, down = side / 2, math.cos(roll), math.sin(roll)
    ways = ((-half, -half), (half, -half), (half, half), (-half, half))
    return [(x + u * across - v * down, y + u * down + v * across) for u, v in ways]


@cache
def _font() -> ImageFont.FreeTypeFont:
    """Return a font that knows more letters than Pillow's own, which has none beyond ASCII."""
    path = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"
    return ImageFont.truetype(path, 17, layout_engine=ImageFont.Layout.BASIC)  # the other is not everywhere
