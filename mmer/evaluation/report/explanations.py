"""Why a model answered so, drawn over the frames and the waveform."""

from __future__ import annotations

from itertools import cycle
from typing import Any

import cv2
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from mmer.config import Modality
from mmer.evaluation.explanation import Explanation
from mmer.evaluation.report.style import COLOURS, INK, WIDTH, figure_style, short

_FOR, _AGAINST = COLOURS[1], COLOURS[0]

_STRONGEST = 0.85  # opacity of what mattered most: what lies beneath can still be seen

_LEAST = 0.01  # share of probability that is drawn in full colour at least: below a point all is rounding

_FACE, _STRIP = 96, 64  # pixels of a picture's side; a report holds many pictures

_COLUMNS = 240  # of a waveform

_LONGEST = 44  # characters of a key; its end tells clips apart

_HEIGHTS = {"bars": 1.2, "frames": 0.95, "audio": 0.6, "attention": 0.75}
"""Of the rows, in inches; that of the frames leaves them about as high as wide."""


def draw_explanation(explanation: Explanation) -> Figure:
    """Draw how much each modality, each part of the face and each moment mattered, and where the fusion's query looked.

    Orange spoke for the predicted class and blue against it: hidden, it makes the class less likely, or likelier.
    """
    has = {"frames": explanation.frames is not None, "audio": explanation.audio is not None}
    timed = [row for row in ("frames", "audio") if has[row]] + ["attention"] * bool(explanation.attention)
    rows: list[Any] = [["face" if has["frames"] else "bars", "bars"], *([row, row] for row in timed)]
    heights = [_HEIGHTS[row[1]] for row in rows]
    with figure_style():
        figure = Figure(figsize=(WIDTH, sum(heights) + 0.9), layout="constrained")
        axes = figure.subplot_mosaic(rows, height_ratios=heights, width_ratios=(1, 1.6))
        _write_title(figure, explanation)
        _draw_bars(axes["bars"], explanation)
        if explanation.frames is not None and explanation.face is not None:
            _draw_face(axes["face"], explanation.frames, explanation.face)
            _draw_frames(axes["frames"], explanation.frames, explanation)
        if explanation.audio is not None:
            _draw_audio(axes["audio"], explanation.audio, explanation)
        if explanation.attention:
            _draw_attention(axes["attention"], explanation)
        for row in timed:
            _lay_time(axes[row], explanation, last=row == timed[-1])
    return figure


def _write_title(figure: Figure, explanation: Explanation) -> None:
    """Write the answer, the truth and the clip's name."""
    name, label = explanation.predicted, explanation.label
    answer = f"{short(name)} {100 * explanation.probabilities[name]:.1f}%"
    truth = "" if label is None else " (right)" if label == name else f" (wrong: it is {short(label)})"
    key = "".join(letter if letter.isprintable() else "?" for letter in explanation.key)
    key = key if len(key) <= _LONGEST else f"…{key[1 - _LONGEST :]}"
    meaning = "orange spoke for it, blue against it"
    figure.suptitle(f"{answer}{truth}\n{key}\n{meaning}", x=0.02, ha="left", size=8)


def _draw_bars(axes: Axes, explanation: Explanation) -> None:
    """Draw how much each modality mattered, in points."""
    names, values = list(explanation.modalities), [100 * value for value in explanation.modalities.values()]
    axes.barh(names, values, color=[_FOR if value > 0 else _AGAINST for value in values], height=0.55)
    axes.set_ylim(max(len(names), 2) - 0.5, -0.5)
    axes.axvline(0, color=INK, linewidth=0.7)
    low, high = min(0.0, *values), max(0.0, *values)
    room = 0.35 * max(high - low, 1.0)  # for the numbers beside the bars
    axes.set_xlim(low - room * (low < 0), high + room)
    for row, value in enumerate(values):
        side, away = ("left", 3) if value > 0 else ("right", -3)
        axes.annotate(
            f"{value:+.1f}", (value, row), (away, 0), textcoords="offset points", ha=side, va="center", size=8
        )
    axes.set_title(f"hidden, {short(explanation.predicted)} falls by (points)", size=8, loc="left")
    axes.spines[["left", "bottom"]].set_visible(False)
    axes.tick_params(bottom=False, left=False, labelbottom=False)


def _draw_face(axes: Axes, frames: NDArray[np.uint8], face: NDArray[np.float64]) -> None:
    """Draw the middle frame, grey, under how much each of its parts mattered."""
    grey = cv2.cvtColor(_shrink(frames[len(frames) // 2], _FACE), cv2.COLOR_RGB2GRAY)
    axes.imshow(cv2.cvtColor(grey, cv2.COLOR_GRAY2RGB), extent=(0, 1, 1, 0), interpolation="none")
    count, scale = len(face), max(_LEAST, float(np.abs(face).max()))
    for (row, column), value in np.ndenumerate(face):
        place = (column / count, row / count)
        axes.add_patch(Rectangle(place, 1 / count, 1 / count, color=_shade(value, scale), linewidth=0))
    axes.set(xticks=[], yticks=[])
    axes.set_title(f"face, peak {_peak(face)}", size=8, loc="left")
    axes.spines[:].set_visible(False)


def _draw_frames(axes: Axes, frames: NDArray[np.uint8], explanation: Explanation) -> None:
    """Draw frames in a row over how much each moment of the picture mattered."""
    ends = np.linspace(*_span(explanation), len(frames) + 1)
    for frame, first, last in zip(frames, ends, ends[1:], strict=False):
        axes.imshow(
            _shrink(frame, _STRIP), extent=(first, last, 0.22, 1), aspect="auto", interpolation="none", zorder=1
        )
    _draw_moments(axes, explanation, "video", top=0.18)
    axes.set_ylim(0, 1)


def _draw_audio(axes: Axes, audio: NDArray[np.float32], explanation: Explanation) -> None:
    """Draw the waveform over how much each moment of the sound mattered."""
    columns = np.array_split(audio, min(_COLUMNS, len(audio)))
    low, high = np.array([column.min() for column in columns]), np.array([column.max() for column in columns])
    start = explanation.start
    times = np.linspace(start, start + len(audio) / explanation.sample_rate, len(columns))
    peak = max(float(np.abs(audio).max()), 1e-4)
    axes.fill_between(times, 0.5 + low / peak / 2, 0.5 + high / peak / 2, color=INK, linewidth=0.3, zorder=2)
    _draw_moments(axes, explanation, "audio", top=1.0)
    axes.set_ylim(0, 1)


def _draw_moments(axes: Axes, explanation: Explanation, modality: Modality, top: float) -> None:
    """Draw how much each moment of a modality mattered, as a band of colours."""
    values = explanation.moments[modality]
    scale = max(_LEAST, *(float(np.abs(part).max()) for part in explanation.moments.values()))
    ends = np.linspace(*_span(explanation), len(values) + 1)
    for value, first, last in zip(values, ends, ends[1:], strict=False):
        axes.add_patch(Rectangle((first, 0), last - first, top, color=_shade(value, scale), linewidth=0, zorder=0))
    axes.set_yticks([])
    axes.set_title(f"{modality}, peak {_peak(values)}", size=8, loc="left")


def _draw_attention(axes: Axes, explanation: Explanation) -> None:
    """Draw how much of the query's attention went to each second of each stream."""
    first, last = _span(explanation)
    for (name, shares), colour in zip(explanation.attention.items(), cycle(COLOURS[2:]), strict=False):
        ends = np.linspace(first, last, len(shares) + 1)
        label = f"{short(name)} {100 * shares.sum():.0f}%"
        axes.stairs(100 * shares * len(shares) / (last - first), ends, color=colour, label=label, baseline=None)
    axes.set_ylim(bottom=0)
    axes.set_ylabel("% a second", size=7)
    axes.set_title("attention", size=8, loc="left")
    axes.legend(loc="lower right", bbox_to_anchor=(1, 0.95), ncols=4, borderpad=0, handlelength=1, columnspacing=1)


def _lay_time(axes: Axes, explanation: Explanation, *, last: bool) -> None:
    """Lay the window's time under a row; the last one says it in seconds."""
    axes.set_xlim(*_span(explanation))
    axes.spines["left"].set_visible(False)
    axes.tick_params(labelbottom=last, left=False, labelsize=7)
    if last:
        axes.set_xlabel("seconds", size=8)


def _span(explanation: Explanation) -> tuple[float, float]:
    """Return where the window begins and ends; a single picture lasts a second."""
    return explanation.start, explanation.start + (explanation.seconds or 1.0)


def _peak(values: NDArray[np.float64]) -> str:
    """Return in points what is farthest from zero."""
    return f"{100 * values.flat[np.abs(values).argmax()]:+.1f}"


def _shade(value: float, scale: float) -> tuple[float, float, float, float]:
    """Return the colour of how much something mattered: the more, the less can be seen through it."""
    return to_rgba(_FOR if value > 0 else _AGAINST, _STRONGEST * min(abs(value) / scale, 1.0))


def _shrink(frame: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    small: NDArray[np.uint8] = cv2.resize(frame, (side, side), interpolation=cv2.INTER_AREA)
    return small
