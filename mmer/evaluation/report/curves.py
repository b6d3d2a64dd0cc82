"""Curves: ROC and precision over recall, reliability, degradation, training."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator, PercentFormatter
from numpy.typing import NDArray

from mmer.evaluation.predictions import Predictions
from mmer.evaluation.ranking import pr_curve, roc_curve
from mmer.evaluation.report.style import COLOURS, INK, MUTED, WIDTH, figure_style, new_figure, short
from mmer.evaluation.report.words import in_percent, number, say_short

Curve = Literal["roc", "pr"]
"""Which curve: hits over false alarms, or precision over recall."""

_Stroke = Literal["-", "--", "-.", ":"]

EVERY = "all together"
"""What the curve of all classes is called: each pair of a clip and a class is one yes or no."""

_AXES = {"roc": ("false positive rate", "true positive rate"), "pr": ("recall", "precision")}
_TOGETHER = 8  # classes of a single system up to which their curves share one panel
_COLUMNS, _PANEL = 3, 1.42  # panels in a row; inches, the height of one
_FINE = 400  # steps of a curve over its panel, beyond which nobody sees them
_LEGEND = 0.2  # inches, of a line of the legend
_STYLES: tuple[_Stroke, ...] = ("-", "--", "-.", ":")  # of systems, for who cannot tell their colours apart


class _Line(NamedTuple):
    """A curve of one class against the others, and the area under it."""

    x: NDArray[np.float64]
    y: NDArray[np.float64]
    area: float


def draw_curves(kind: Curve, systems: Mapping[str, tuple[Predictions, Mapping[str, float | None]]]) -> Figure:
    """Draw a curve for each class and for all together, with the areas.

    The classes of a single system share a panel; of several systems each class has its own, with all systems in it.

    Args:
        kind: Which curve.
        systems: The answers and the area of each class and of all together, by the name of the system.
    """
    lines = {name: _trace(kind, answers, areas) for name, (answers, areas) in systems.items()}
    classes = list(dict.fromkeys(name for found in lines.values() for name in found))
    if not classes or (len(lines) == 1 and len(classes) <= _TOGETHER + 1):
        return _draw_together(kind, next(iter(lines.values())))
    return _draw_apart(kind, classes, lines)


def _trace(kind: Curve, answers: Predictions, areas: Mapping[str, float | None]) -> dict[str, _Line]:
    """Return the curve of each class that some clips have and others have not, and of all classes together."""
    found, draw = {}, roc_curve if kind == "roc" else pr_curve
    for index, name in [*enumerate(answers.names), (None, EVERY)]:
        x, y = draw(answers, index)
        area = areas[name]
        if len(x) and area is not None:
            found[name] = _Line(*_thin(x, y), area)
    return found


def _thin(x: NDArray[np.float64], y: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return a curve without the points that fall onto the one before."""
    places = np.round(np.stack([x, y]) * _FINE)
    keep = np.concatenate([[True], np.any(np.diff(places), axis=0)])
    keep[-1] = True
    return x[keep], y[keep]


def _draw_together(kind: Curve, lines: Mapping[str, _Line]) -> Figure:
    with figure_style():
        figure, (axes,) = new_figure(WIDTH, 3.5 + _LEGEND * (len(lines) + 1) // 2)
        for (name, line), colour in zip(lines.items(), _inks(lines), strict=True):
            _plot(axes, kind, line, colour, "-", width=2.0 if name == EVERY else 1.2)
            axes.lines[-1].set_label(f"{short(name)} {number('auroc', line.area)}")
        _set_square(axes, kind)
        axes.set(xlabel=_AXES[kind][0], ylabel=_AXES[kind][1])
        if lines:
            figure.legend(loc="outside lower center", ncols=2)
    return figure


def _inks(names: Iterator[str] | Mapping[str, _Line]) -> list[str]:
    return [INK if name == EVERY else COLOURS[i % len(COLOURS)] for i, name in enumerate(names)]


def _draw_apart(kind: Curve, classes: Sequence[str], lines: Mapping[str, Mapping[str, _Line]]) -> Figure:
    rows, several = -(-len(classes) // _COLUMNS), len(lines) > 1
    height = rows * _PANEL + 0.35 + _LEGEND * len(lines) * several
    with figure_style():
        figure, panels = new_figure(WIDTH, height, rows, _COLUMNS)
        for axes, name in zip(panels, classes, strict=False):
            found = {i: each[name] for i, each in enumerate(lines.values()) if name in each}
            for i, line in found.items():
                _plot(axes, kind, line, COLOURS[i % len(COLOURS)], _STYLES[i % len(_STYLES)], width=1.2)
            _write_areas(axes, kind, {COLOURS[i % len(COLOURS)] if several else INK: x.area for i, x in found.items()})
            _set_square(axes, kind)
            axes.set_title(short(name), size=8, pad=3)
            axes.set_xticks([0, 1], ["0", "1"], size=7)
            axes.set_yticks([0, 1], ["0", "1"], size=7)
        for axes in panels[len(classes) :]:
            axes.set_axis_off()
        figure.supxlabel(_AXES[kind][0], size=8)
        figure.supylabel(_AXES[kind][1], size=8)
        if several:
            figure.legend(handles=_keys(lines), loc="outside upper center")
    return figure


def _write_areas(axes: Axes, kind: Curve, areas: Mapping[str, float]) -> None:
    """Write areas, by their colour, into the corner that the curves leave free."""
    high = np.mean(list(areas.values())) > 0.5
    right, below = (True, True) if kind == "roc" else (not high, high)
    for i, (colour, area) in enumerate(areas.items()):
        x, y = (0.97 if right else 0.05), (0.05 + 0.15 * (len(areas) - 1 - i) if below else 0.85 - 0.15 * i)
        axes.text(x, y, f"{area:.3f}", color=colour, size=7.5, ha="right" if right else "left", weight="bold")


def _keys(names: Mapping[str, Any]) -> list[Line2D]:
    """Return the systems' lines for a legend."""
    return [
        Line2D([], [], color=COLOURS[i % len(COLOURS)], linestyle=_STYLES[i % len(_STYLES)], label=short(name))
        for i, name in enumerate(names)
    ]


def _plot(axes: Axes, kind: Curve, line: _Line, colour: str, style: _Stroke, width: float) -> None:
    steps: Any = "steps-post" if kind == "pr" else "default"  # average precision is the area under the steps
    axes.plot(line.x, line.y, color=colour, linestyle=style, linewidth=width, drawstyle=steps)


def _set_square(axes: Axes, kind: Curve) -> None:
    if kind == "roc":
        axes.plot([0, 1], [0, 1], color=MUTED, linestyle=":", linewidth=1, zorder=0)
    axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.02))


def draw_reliability(bins: Sequence[Mapping[str, Any]]) -> Figure:
    """Draw how often a system is right when it says how sure it is, over how often it says so.

    Args:
        bins: ``reliability`` of metrics.json.
    """
    low, n = np.array([each["low"] for each in bins]), np.array([each["n"] for each in bins])
    width = np.array([each["high"] for each in bins]) - low
    full = [each for each in bins if each["n"]]
    with figure_style():
        figure, (axes, counts) = new_figure(WIDTH, 3.9, 2, 1, heights=(3.0, 1.0))
        axes.bar(
            [each["low"] for each in full],
            [each["accuracy"] for each in full],
            width[n > 0],
            align="edge",
            color=COLOURS[0],
            edgecolor=MUTED,
            linewidth=0.5,
        )
        axes.plot([0, 1], [0, 1], color=INK, linestyle="--", linewidth=1, label="as often as it says")
        means = [each["confidence"] for each in full]
        axes.plot(means, [each["accuracy"] for each in full], "o", color=INK, markersize=3, label="mean of a bin")
        figure.legend(loc="outside upper left", ncols=2)
        axes.set(xlim=(0, 1), ylim=(0, 1), ylabel="right")
        counts.bar(low, n, width, align="edge", color=MUTED)
        counts.set(xlim=(0, 1), xlabel="probability of the answer", ylabel="clips")
        counts.yaxis.set_major_locator(MaxNLocator(2, integer=True))
        for each in (axes.xaxis, axes.yaxis, counts.xaxis):
            each.set_major_formatter(PercentFormatter(1, decimals=0))
        axes.tick_params(labelbottom=False)
    return figure


def draw_degradation(
    score: str,
    kind: str,
    unit: str,
    systems: Mapping[str, Sequence[tuple[float | None, float | None]]],
    chance: float | None,
) -> Figure:
    """Draw a score over the levels of one harm, from none to the most.

    Args:
        score: Which score.
        kind: What was done to the clips.
        unit: What the levels count.
        systems: Level and score of each step, by the name of the system; the level None is no harm.
        chance: What a guess scores.
    """
    levels = list(dict.fromkeys(level for steps in systems.values() for level, _ in steps))
    with figure_style():
        figure, (axes,) = new_figure(WIDTH, 2.4 + _LEGEND * (len(systems) if len(systems) > 1 else 0))
        for i, steps in enumerate(systems.values()):
            axes.plot(
                [levels.index(level) for level, _ in steps],
                [np.nan if value is None else value for _, value in steps],
                color=COLOURS[i % len(COLOURS)],
                linestyle=_STYLES[i % len(_STYLES)],
                marker="o",
                markersize=3.5,
            )
        if chance is not None:
            axes.axhline(chance, color=INK, linestyle="--", linewidth=1)
            axes.annotate(
                "chance",
                (0.01, chance),
                (0, 2),
                xycoords=axes.get_yaxis_transform(),
                size=8,
                textcoords="offset points",
            )
        axes.set_xticks(range(len(levels)), [say_level(level) for level in levels])
        axes.set(xlabel=f"{kind.replace('_', ' ')}, {unit}", ylabel=say_short(score), ylim=(0, 1))
        axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        axes.grid(axis="y")
        if len(systems) > 1:
            figure.legend(handles=_keys(systems), loc="outside lower center")
    return figure


def say_level(level: float | None) -> str:
    """Return how much harm was done in words."""
    return "none" if level is None else f"{level:g}"


def draw_training(runs: Sequence[Mapping[str, Any]], score: str, chosen: int | None) -> Figure:
    """Draw the course of a training: loss, the score and the learning rate over the epochs, a thin line for each run.

    Args:
        runs: ``training.runs`` of metrics.json.
        score: The score to show.
        chosen: The epoch of the checkpoint, where there is one run.
    """
    name = say_short(score)
    panels: dict[str, tuple[str, ...]] = {"loss": ("train/loss", "val/loss"), name: (f"train/{score}", f"val/{score}")}
    logged = dict.fromkeys(name for run in runs for name in run if name not in ("name", "epochs"))
    panels |= {"learning rate": tuple(name for name in logged if name.partition("-")[0] == "lr")}
    panels = {title: names for title, names in panels.items() if any(name in logged for name in names)}
    with figure_style():
        figure, every = new_figure(WIDTH, 0.5 + 1.55 * len(panels), len(panels), 1)
        for axes, (title, names) in zip(every, panels.items(), strict=True):
            _draw_runs(axes, runs, names)
            axes.set_ylabel(title)
            axes.grid(axis="y")
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
            if title == name and in_percent(score):
                axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
            if chosen is not None:
                axes.axvline(chosen, color=MUTED, linestyle=":", linewidth=1, label="chosen")
            if len(axes.get_legend_handles_labels()[0]) > 1:
                axes.legend()
        every[-1].set_xlabel("epoch")
    return figure


def _draw_runs(axes: Axes, runs: Sequence[Mapping[str, Any]], names: Sequence[str]) -> None:
    for i, name in enumerate(names):
        words = {"train": "training", "val": "validation"}.get(name.partition("/")[0], name)
        for run in (run for run in runs if name in run):
            known = [(x, y) for x, y in zip(run["epochs"], run[name], strict=True) if y is not None]
            axes.plot(
                [x for x, _ in known],
                [y for _, y in known],
                color=COLOURS[i],
                linestyle=_STYLES[i % len(_STYLES)],
                linewidth=1.5 if len(runs) == 1 else 0.8,
                marker="o" if len(known) == 1 else None,
                label=words,
            )
            words = "_" + words  # one line of the legend stands for all runs
