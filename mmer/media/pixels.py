"""FER2013's own table: a grey face of 48 x 48 pixels in every line, as numbers with spaces between them."""

from __future__ import annotations

import os
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate
from pathlib import Path

SIDE = 48
"""Height and width of the faces, in pixels."""

_COLUMNS = ("emotion", "pixels", "Usage")


@dataclass(frozen=True, slots=True)
class PixelRow:
    """One line of the table.

    Args:
        number: Which row it is; the line after the header is 1.
        emotion: The code of its emotion, as it is written there.
        usage: The part of the data set that it belongs to, as it is written there.
        pixels: Its pixels, as they are written there.
    """

    number: int
    emotion: str
    usage: str
    pixels: bytes

    def fault(self) -> str | None:
        """Say what a glance finds wrong with the pixels; their values are checked when they are read."""
        count = self.pixels.count(b" ") + 1 if self.pixels else 0
        return None if count == SIDE * SIDE else f"row {self.number} has {count} pixels, not {SIDE * SIDE}"

    def image(self) -> bytes:
        """Return the face row by row, a byte for every pixel.

        Raises:
            ValueError: The pixels are not 48 x 48 whole numbers from 0 to 255.
        """
        fault = self.fault()
        if fault is not None:
            raise ValueError(fault)
        cells = self.pixels.split(b" ")
        for cell in set(cells):
            if not cell.isdigit() or int(cell) > 255:
                raise ValueError(f"row {self.number} has the pixel {cell.decode(errors='replace')!r}, not 0 to 255")
        return bytes(map(int, cells))


def iterate_rows(path: Path) -> Iterator[PixelRow]:
    """Yield every row of a table.

    Raises:
        ValueError: It has no columns ``emotion``, ``pixels`` and ``Usage``.
    """
    with path.open("rb") as file:
        places = _places(file.readline())
        for number, line in enumerate(file, start=1):
            if line.strip():
                yield _row(number, line, places)


def read_row(path: Path, number: int) -> PixelRow:
    """Return one row of a table; where its lines begin is looked up once.

    Raises:
        ValueError: It has no such columns.
        IndexError: It has no such row.
    """
    state = path.stat()
    begins = _line_begins(path, state.st_size, state.st_mtime_ns, os.getpid())
    if not 1 <= number < len(begins):
        raise IndexError(f"the table has the rows 1 to {len(begins) - 1}")
    with path.open("rb") as file:
        places = _places(file.readline())
        file.seek(begins[number])
        return _row(number, file.readline(), places)


@lru_cache(maxsize=4)
def _line_begins(path: Path, size: int, changed: int, process: int) -> array[int]:
    """Return where every line begins, in bytes; size and time are there to notice another file of that name."""
    with path.open("rb") as file:
        return array("q", accumulate(map(len, file), initial=0))[:-1]


def _places(header: bytes) -> tuple[int, ...]:
    """Return which cell of a line holds the emotion, the pixels and the usage."""
    names = [cell.decode("utf-8", errors="replace") for cell in _cells(header.removeprefix(b"\xef\xbb\xbf"))]
    if not set(_COLUMNS) <= set(names):
        shown = ", ".join(names)[:100] or "none"
        raise ValueError(f"it has the columns {shown}; it needs {', '.join(_COLUMNS)}")
    return tuple(names.index(name) for name in _COLUMNS)


def _row(number: int, line: bytes, places: tuple[int, ...]) -> PixelRow:
    cells = _cells(line)
    emotion, pixels, usage = (cells[place] if place < len(cells) else b"" for place in places)
    return PixelRow(number, emotion.decode(errors="replace"), usage.decode(errors="replace"), pixels)


def _cells(line: bytes) -> list[bytes]:
    """Split a line; no cell of this table holds a comma, and some copies quote the pixels."""
    return [cell.strip(b' "\r\n') for cell in line.split(b",")]
