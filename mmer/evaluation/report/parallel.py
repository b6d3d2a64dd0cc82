"""Parallel coordinates: what each of many trials was set to, and what it was worth."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator

from mmer.evaluation.report.style import INK, MUTED, WARNING, WIDTH, figure_style, new_figure, short

_HEIGHT = 3.4  # inches
_APART, _LETTER = 1.05, 0.087  # inches between two axes, and of a letter of their names
_COLOURS = "viridis"
_PALEST = 0.92  # of the colours' scale; what comes after is too light on white
_SMOOTH = 24  # pieces of a line from one axis to the next
_CLOSE = 0.1  # of an axis, below which a tick would touch its end's
_ROOM = 0.05  # beside the only score that there is


@dataclass(frozen=True, slots=True)
class Axis:
    """One parameter.

    Args:
        name: What it is called.
        low: The least that it can be.
        high: The most.
        log: Whether each tenfold is as long as the next.
        whole: Whether it is a whole number.
        words: What it can be, where that is no number but one of these: 0, 1, ...
    """

    name: str
    low: float
    high: float
    log: bool = False
    whole: bool = False
    words: tuple[str, ...] = ()

    def place(self, value: float) -> float:
        """Return where a value is, from 0 at the bottom to 1 at the top."""
        if self.high == self.low:
            return 0.5
        if self.log:
            return math.log(value / self.low) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)

    def ticks(self) -> list[tuple[float, str]]:
        """Return the places that are marked, and what stands there."""
        if self.words:
            return [(self.place(float(number)), short(word)) for number, word in enumerate(self.words)]
        ends = [(0.0, _number(self.low)), (1.0, _number(self.high))]
        locator = LogLocator(subs=(1.0,)) if self.log else MaxNLocator(4, integer=self.whole)
        inner = [float(x) for x in locator.tick_values(self.low, self.high) if self.low < x < self.high]
        marked = [(self.place(x), _number(x)) for x in inner]
        free = [tick for tick in marked if _CLOSE < tick[0] < 1 - _CLOSE]
        return [ends[0], *free, ends[1]]


@dataclass(frozen=True, slots=True)
class Line:
    """One trial.

    Args:
        values: What it was set to, an axis each.
        score: What it was worth.
        whole: Whether it was trained to its end.
        best: Whether it is the best.
    """

    values: Sequence[float]
    score: float
    whole: bool = True
    best: bool = False


def draw_parallel(
    axes: Sequence[Axis], lines: Sequence[Line], metric: str, chance: float | None, *, high_is_good: bool = True
) -> Figure:
    """Draw each trial as a line through its settings to its score.

    Args:
        axes: The parameters, from left to right.
        lines: The trials; some of them whole.
        metric: What is at the right.
        chance: What guessing scores.
        high_is_good: Whether much of the metric is good.
    """
    low, high = (end(line.score for line in lines) for end in (min, max))
    worst, top = (end(line.score for line in lines if line.whole) for end in (min, max))
    score = Axis(metric, low, high) if high > low else Axis(metric, low - _ROOM, high + _ROOM)
    every = [*axes, score]
    with figure_style():
        apart = max(_APART, _LETTER * max(len(short(axis.name)) for axis in every))
        figure, (panel,) = new_figure(max(WIDTH, apart * len(every) + 0.7), _HEIGHT)
        for line in sorted(lines, key=lambda line: (line.whole, line.best, line.score * (1 if high_is_good else -1))):
            places = [axis.place(value) for axis, value in zip(every, [*line.values, line.score], strict=True)]
            _stroke(panel, places, line, (line.score - worst) / ((top - worst) or 1.0), high_is_good)
        for number, axis in enumerate(every):
            _rule(panel, number, axis)
        if chance is not None and score.low < chance < score.high:
            panel.plot(len(axes) + 0.04, score.place(chance), marker="<", color=WARNING, markersize=5, clip_on=False)
            panel.annotate("chance", (len(axes) + 0.1, score.place(chance)), color=WARNING, size=7, va="center")
        panel.set(xlim=(-0.25, len(axes) + 0.45), ylim=(-0.04, 1.12))
        panel.set_axis_off()
        _explain(figure, lines)
    return figure


def _stroke(panel: Axes, places: Sequence[float], line: Line, share: float, high_is_good: bool) -> None:
    """Draw a line, level where it meets an axis, so that it can be followed through."""
    good = share if high_is_good else 1 - share
    colour = colormaps[_COLOURS](_PALEST * (1 - good)) if line.whole else MUTED
    points = []
    for number, (here, there) in enumerate(pairwise(places)):
        for step in range(_SMOOTH + 1):
            t = step / _SMOOTH
            points.append((number + t, here + (there - here) * (3 - 2 * t) * t * t))
    width = 2.6 if line.best else 1.1 if line.whole else 0.8
    style = "solid" if line.whole else (0, (3, 2))
    panel.add_collection(LineCollection([points], colors=[colour], linewidths=width, linestyles=[style]))


def _rule(panel: Axes, number: int, axis: Axis) -> None:
    panel.plot([number, number], [0, 1], color=INK, linewidth=0.8, zorder=3)
    panel.text(number, 1.07, short(axis.name), ha="center", size=8, weight="bold")
    for place, words in axis.ticks():
        panel.plot([number - 0.02, number], [place, place], color=INK, linewidth=0.8, zorder=3)
        panel.text(
            number - 0.04,
            place,
            words,
            ha="right",
            va="center",
            size=7,
            zorder=4,
            bbox={"boxstyle": "square,pad=0.1", "facecolor": "white", "edgecolor": "none", "alpha": 0.75},
        )


def _explain(figure: Figure, lines: Sequence[Line]) -> None:
    words = ["dark: the best, thick", "light: the worst"]
    if not all(line.whole for line in lines):
        words.append("dashed: ended early")
    figure.supxlabel("; ".join(words), size=7.5, color=INK)


def _number(value: float) -> str:
    """Return a number as an axis has room for it."""
    if value and not 1e-3 <= abs(value) < 1e4:
        mantissa, _, exponent = f"{value:.1e}".partition("e")
        return f"{mantissa.removesuffix('.0')}e{int(exponent)}"
    return f"{value:.3g}"
