"""How figures look and how they are written: as files for papers, and inside a page that may be light or dark."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from html import escape
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

INK = "#1c2530"
"""Colour of text and lines; inside a page it becomes the page's own."""

WARNING = "#b3261e"
"""Colour of what must not be overlooked; inside a page it becomes the page's own."""

CELL = "#1f4e8c"
"""Colour of a cell that is full; inside a page that is dark it is light."""

ON_CELL = "#fefefe"
"""Colour of what is written on it."""

MUTED = "#808890"
"""Colour of what stands behind: grids, levels, runs that are one of many."""

COLOURS = ("#4477aa", "#d9691e", "#228833", "#b84a8a", "#2a9db8", "#a8881c", "#7a62c4", "#e05c6e")
"""Of classes and systems, in order: Paul Tol's bright scheme, moved to where white and black ground both show it."""

WIDTH = 4.2
"""Of a figure, in inches: a phone shows it at about its own size, and a column of a paper is not much less."""

_STYLE: Any = {
    "svg.fonttype": "none",  # text stays text: small, and it can be searched
    "text.parse_math": False,  # a name may hold a dollar sign
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],  # comes with matplotlib, and few are wider: what a page has instead fits
    "font.size": 9,
    "axes.titlesize": 9,
    "legend.fontsize": 8,
    "text.color": INK,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.7,
    "grid.color": MUTED,
    "grid.alpha": 0.3,
    "grid.linewidth": 0.6,
    "legend.frameon": False,
}

_OWN = {INK: "currentColor", WARNING: "var(--warning)", CELL: "var(--cell)", ON_CELL: "var(--on-cell)"}
"""What a page has in place of a colour."""

_DPI = 160
_DIGITS = 6  # of a place as a share of the figure
_LEAST = 0.7  # of its own width, below which a figure is scrolled sideways rather than shrunk
_MARK = 0.18  # inches, the height of a warning over a figure
_LONGEST, _TAIL = 26, 9  # characters of a name in a figure, and of its end where its middle is left out


@contextmanager
def figure_style() -> Iterator[None]:
    """Draw in the style of the report; matplotlib asks for it when something is drawn, not when it is written."""
    with rc_context(_STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font", UserWarning)  # a page has other fonts
        yield


def new_figure(
    width: float, height: float, rows: int = 1, columns: int = 1, *, heights: Sequence[float] | None = None
) -> tuple[Figure, list[Axes]]:
    """Return an empty figure and its axes from left to right and from top to bottom.

    Args:
        width: Its width, in inches.
        height: Its height, in inches.
        rows: Axes from top to bottom.
        columns: Axes from left to right.
        heights: How high the rows are, one to the other; None makes them equal.
    """
    with figure_style():
        figure = Figure(figsize=(width, height), layout="constrained")
        grid = figure.subplots(rows, columns, squeeze=False, height_ratios=heights)
    return figure, [axes for row in grid for axes in row]


def short(name: str) -> str:
    """Return a name as it fits into a figure: without its middle where it is long, and all of it to be seen."""
    name = "".join(letter if letter.isprintable() else "?" for letter in name).strip()
    if len(name) > _LONGEST:
        name = f"{name[: _LONGEST - _TAIL - 1]}…{name[-_TAIL:]}"
    return f" {name}" if name.startswith("_") else name  # matplotlib hides what begins so


def mark(figure: Figure, words: Sequence[str]) -> None:
    """Write warnings over a figure, or under one that has a title, a line for each; it says so wherever it goes."""
    width, height = (float(x) for x in figure.get_size_inches())
    room = _MARK * len(words)
    whole, below = height + room, bool(figure.get_suptitle())
    figure.set_size_inches(width, whole)
    figure.set_layout_engine("constrained", rect=(0, below * room / whole, 1, height / whole))
    with figure_style():
        for i, line in enumerate(words):
            place = ((room if below else whole) - _MARK * (i + 0.5)) / whole
            figure.text(0.01, place, line, color=WARNING, weight="bold", size=8, va="center")


def draw_svg(figure: Figure, name: str) -> str:
    """Return a figure as SVG, the same to the byte each time.

    Args:
        figure: The figure.
        name: Makes its identifiers its own, for several figures share a page.
    """
    buffer = io.StringIO()
    with figure_style(), rc_context({"svg.hashsalt": name}):
        _settle(figure)
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None}, transparent=True)
    return buffer.getvalue()


def draw_png(figure: Figure) -> bytes:
    """Return a figure as PNG on white, at 160 dots per inch."""
    buffer = io.BytesIO()
    with figure_style():
        _settle(figure)
        figure.savefig(buffer, format="png", dpi=_DPI, metadata={"Software": None}, facecolor="white")
    return buffer.getvalue()


def inline_svg(svg: str, title: str) -> str:
    """Return an SVG for a page: as wide as its place, in the page's own ink, with a name for who cannot see it."""
    body = svg[svg.index("<svg") :]
    for colour, own in _OWN.items():
        body = body.replace(colour, own)
    for waste in (r"<metadata>.*?</metadata>", r"<style[^>]*>.*?</style>", r"<!--.*?-->", r' id="[\w.]+_\d+"'):
        body = re.sub(waste, "", body, flags=re.DOTALL)  # a page has its own style, and each identifier once
    body = re.sub(r" ?font-family: [^;\"]+;?", "", body)
    width, height = (float(x) for x in re.findall(r'(?:width|height)="([\d.]+)pt"', body)[:2])
    pixels = width * 4 / 3
    size = f'style="min-width:{_LEAST * pixels:.0f}px;max-width:{pixels:.0f}px" viewBox="0 0 {width:g} {height:g}"'
    return re.sub("<svg [^>]*>", lambda _: f'<svg role="img" aria-label="{escape(title)}" {size}>', body, count=1)


def _settle(figure: Figure) -> None:
    """Lay a figure out once and for all; the solver's last digits differ from run to run, so they are cut off."""
    engine = figure.get_layout_engine()
    if engine is None:
        return
    engine.execute(figure)
    figure.set_layout_engine(None)
    for axes in figure.axes:
        left, bottom, width, height = (round(x, _DIGITS) for x in axes.get_position(original=True).bounds)
        axes.set_position((left, bottom, width, height))
