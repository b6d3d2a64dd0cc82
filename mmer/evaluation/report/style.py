"""How figures look and how they are written: as files for papers, and inside a page that may be light or dark."""

from __future__ import annotations

import io
import re
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

INK = "#1c2530"
"""Colour of text and lines; inside a page it becomes the page's own."""

COLOURS = ("#4477aa", "#ee6677", "#228833", "#ccbb44", "#66ccee", "#aa3377", "#bbbbbb", "#ee7733")
"""Of classes and systems, in order: Paul Tol's bright scheme, for colour-blind readers too, and one more."""

_STYLE: Any = {
    "svg.fonttype": "none",  # text stays text: small, and it can be searched
    "font.family": "sans-serif",
    "font.size": 9,
    "text.color": INK,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
}


def new_figure(width: float, height: float, rows: int = 1, columns: int = 1) -> tuple[Figure, list[Axes]]:
    """Return an empty figure of a size in inches, and its axes from left to right and from top to bottom."""
    with rc_context(_STYLE):
        figure = Figure(figsize=(width, height), layout="constrained")
        grid = figure.subplots(rows, columns, squeeze=False)
    return figure, [axes for row in grid for axes in row]


def draw_svg(figure: Figure, name: str) -> str:
    """Return a figure as SVG, the same to the byte each time.

    Args:
        figure: The figure.
        name: Makes its identifiers its own, for several figures share a page.
    """
    buffer = io.StringIO()
    with rc_context({**_STYLE, "svg.hashsalt": name}):
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None}, transparent=True)
    return buffer.getvalue()


def draw_png(figure: Figure) -> bytes:
    """Return a figure as PNG on white, at 200 dots per inch."""
    buffer = io.BytesIO()
    with rc_context(_STYLE):
        figure.savefig(buffer, format="png", dpi=200, metadata={"Software": None})
    return buffer.getvalue()


def inline_svg(svg: str, title: str) -> str:
    """Return an SVG for a page: as wide as its place, in the page's own ink, with a name for who cannot see it."""
    body = svg[svg.index("<svg") :].replace(INK, "currentColor")
    width, height = (float(x) for x in re.findall(r'(?:width|height)="([\d.]+)pt"', body)[:2])
    size = f'style="max-width:{width * 4 / 3:.0f}px" viewBox="0 0 {width:g} {height:g}"'
    spaces = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
    return re.sub("<svg [^>]*>", f'<svg role="img" aria-label="{title}" {size} {spaces}>', body, count=1)
