"""Confusion matrices."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from mmer.evaluation.report.style import CELL, INK, ON_CELL, WIDTH, figure_style, new_figure, short

TURN = 0.68  # share from which the cell's own ink is easier to read than the page's, on either ground
_ROOMY = 10  # classes up to which a cell holds its count too
_CELL = 0.3  # inches, of a cell where there are more


def draw_confusion(confusion: Sequence[Sequence[int]], labels: Sequence[str]) -> Figure:
    """Draw a confusion matrix: of each cell its share of the true class in percent, and how many clips it holds.

    Args:
        confusion: Counts, [true][predicted].
        labels: The class names.
    """
    counts = np.array(confusion)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    roomy = len(labels) <= _ROOMY
    width = WIDTH if roomy else 1.4 + _CELL * len(labels)
    with figure_style():
        figure, (axes,) = new_figure(width, width)
        axes.pcolormesh(np.concatenate([np.broadcast_to(to_rgb(CELL), (*shares.shape, 3)), shares[..., None]], axis=2))
        for (row, column), count in np.ndenumerate(counts):
            if count:
                _write_cell(axes, row, column, float(shares[row, column]), int(count) if roomy else None)
        ticks, names = np.arange(len(labels)) + 0.5, [short(name) for name in labels]
        axes.set(xlabel="predicted", ylabel="true", aspect="equal")
        axes.set_xticks(ticks, names, rotation=40, ha="right", rotation_mode="anchor")
        axes.set_yticks(ticks, names)
        axes.set_ylim(len(labels), 0)
        axes.tick_params(length=0)
        for side in ("top", "right"):
            axes.spines[side].set_visible(True)
    return figure


def _write_cell(axes: Axes, row: int, column: int, share: float, count: int | None) -> None:
    colour = ON_CELL if share > TURN else INK
    size, height, side = (8, 0.5, "center") if count is None else (9, 0.55, "bottom")
    written = [
        axes.text(column + 0.5, row + height, f"{100 * share:.0f}", size=size, va=side, ha="center", color=colour)
    ]
    if count is not None:
        written.append(axes.text(column + 0.5, row + 0.6, str(count), size=6.5, va="top", ha="center", color=colour))
    for text in written:
        text.set_in_layout(False)  # it lies inside the axes, and measuring each takes time
