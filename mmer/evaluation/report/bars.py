"""Bars with their intervals: systems, classes, speakers, groups, modalities."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import PercentFormatter

from mmer.evaluation.report.style import COLOURS, INK, MUTED, WARNING, WIDTH, figure_style, new_figure, short
from mmer.evaluation.report.words import in_percent, number, say_score

_BAR, _GAP, _REST = 0.15, 0.09, 0.62  # inches: a bar, the room between two rows, axis and its label
_LEGEND = 0.2  # inches, of a line of the legend


class Bar(NamedTuple):
    """A score with its interval; None where nobody knows."""

    value: float | None
    low: float | None = None
    high: float | None = None


def draw_bars(
    score: str,
    rows: Sequence[str],
    series: Mapping[str, Sequence[Bar]],
    *,
    lines: Mapping[str, float | None] | None = None,
    worst: int | None = None,
    row_colours: Sequence[str] | None = None,
) -> Figure:
    """Draw a score of several rows as bars, with their numbers beside them.

    Args:
        score: Which score it is.
        rows: What the rows are called.
        series: Bars for each row, by the name of the system; a single one needs no legend.
        lines: Levels to compare with, by name, as ``chance``.
        worst: The row to mark as the worst.
        row_colours: Of the rows; None gives each series its own colour.
    """
    several, known = len(series) > 1, {name: x for name, x in (lines or {}).items() if x is not None}
    legend = (len(series) if several else 0) + len(known)
    height = _REST + len(rows) * (len(series) * _BAR + _GAP) + legend * _LEGEND
    with figure_style():
        figure, (axes,) = new_figure(WIDTH, height)
        thick = _BAR / (len(series) * _BAR + _GAP)
        for i, bars in enumerate(series.values()):
            places = [row + (i - (len(series) - 1) / 2) * thick for row in range(len(rows))]
            own = list(row_colours or [COLOURS[i % len(COLOURS)]] * len(rows))
            if worst is not None:
                own[worst] = WARNING
            _draw_series(axes, score, places, bars, thick, own)
        axes.set_yticks(range(len(rows)), [short(name) for name in rows])
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.tick_params(axis="y", length=0)
        _set_axis(axes, score)
        handles = [Patch(color=COLOURS[i % len(COLOURS)], label=short(n)) for i, n in enumerate(series) if several]
        figure.legend(handles=[*handles, *_draw_lines(axes, score, known)], loc="outside lower left")
    return figure


def _draw_series(
    axes: Axes, score: str, places: Sequence[float], bars: Sequence[Bar], thick: float, colours: Sequence[str]
) -> None:
    axes.barh(places, [bar.value or 0 for bar in bars], height=0.86 * thick, color=list(colours))
    for place, bar in zip(places, bars, strict=True):
        if bar.low is not None and bar.high is not None:
            axes.plot([bar.low, bar.high], [place, place], color=INK, linewidth=1.1, solid_capstyle="butt")
        axes.annotate(
            number(score, bar.value).removesuffix("%"),
            (1.015, place),
            xycoords=axes.get_yaxis_transform(),
            va="center",
            size=8,
        )


def _draw_lines(axes: Axes, score: str, lines: Mapping[str, float]) -> list[Line2D]:
    """Draw levels to compare with, and return them for the legend."""
    styles = ("--", ":", "-.")
    return [
        axes.axvline(x, color=INK, linestyle=style, linewidth=1, label=f"{name} {number(score, x)}")
        for (name, x), style in zip(lines.items(), styles, strict=False)
    ]


def _set_axis(axes: Axes, score: str) -> None:
    axes.set_xlabel(say_score(score))
    axes.set_axisbelow(True)
    axes.grid(axis="x")
    axes.spines["left"].set_color(MUTED)
    if in_percent(score):
        axes.set_xlim(0, 1)
        axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
