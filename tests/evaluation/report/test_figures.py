"""What figures show, asked of the figures themselves: drawing is quick, writing is not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Annotation

from mmer.evaluation.measure import measure
from mmer.evaluation.report.bars import Bar, draw_bars
from mmer.evaluation.report.confusion import draw_confusion
from mmer.evaluation.report.curves import EVERY, draw_curves, draw_degradation, draw_reliability, draw_training
from mmer.evaluation.report.figures import draw_figures, file_names
from mmer.evaluation.report.style import WARNING, draw_svg
from mmer.evaluation.system import System

MANY = tuple(f"emotion {i}" for i in range(28))


def words(figure: Figure) -> list[str]:
    """Return all that is written into the axes of a figure."""
    return [text.get_text() for axes in figure.axes for text in axes.texts]


def areas(names: tuple[str, ...], value: float | None = 0.5) -> dict[str, float | None]:
    return dict.fromkeys((*names, EVERY), value)


def test_files_have_plain_names_that_differ_on_every_disk() -> None:
    names = ["../a b", "a b", "A-B", "<b>", "", "顔", "a"]
    found = file_names(names)
    assert list(found) == names
    assert list(found.values()) == ["a-b", "a-b-2", "A-B-3", "b", "system", "system-2", "a"]


def test_a_confusion_matrix_holds_shares_and_counts() -> None:
    figure = draw_confusion([[3, 1], [0, 0]], ["no", "yes"])
    assert words(figure) == ["75", "3", "25", "1"]
    (axes,) = figure.axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ["no", "yes"]
    assert axes.get_ylim() == (2, 0)  # the first true class on top


def test_many_classes_get_a_wider_matrix_without_counts() -> None:
    figure = draw_confusion((np.eye(28, dtype=int) * 7).tolist(), MANY)
    assert words(figure) == ["100"] * 28
    assert figure.get_figwidth() > 8


def test_curves_of_few_classes_share_a_panel_with_their_areas(answers: Any) -> None:
    found = answers()
    figure = draw_curves("roc", {"a": (found, {**areas(found.names), EVERY: 0.25})})
    (axes,) = figure.axes
    assert len(axes.lines) == len(found.names) + 2  # all together, and the diagonal
    assert axes.get_legend_handles_labels()[1][-1] == f"{EVERY} 0.250"


def test_a_class_without_clips_has_no_curve(answers: Any) -> None:
    found = answers(names=("a", "b", "c"))
    found = found.where(found.label != 1)
    figure = draw_curves("pr", {"x": (found, {**areas(found.names), "b": None})})
    labels = figure.axes[0].get_legend_handles_labels()[1]
    assert [label.split()[0] for label in labels] == ["a", "c", "all"]


def test_answers_of_a_single_class_have_the_curve_of_all_together(answers: Any) -> None:
    found = answers()
    found = found.where(found.label == 0)
    figure = draw_curves("roc", {"x": (found, {**areas(found.names, None), EVERY: 0.7})})
    assert figure.axes[0].get_legend_handles_labels()[1] == [f"{EVERY} 0.700"]


@pytest.mark.parametrize("systems", ["x", "xy"])
def test_answers_without_any_curve_have_no_legend(answers: Any, systems: str) -> None:
    nothing = (answers(names=("a",)), {"a": None, EVERY: None})
    figure = draw_curves("roc", dict.fromkeys(systems, nothing))
    assert len(figure.axes) == 1
    assert not figure.legends


@pytest.mark.parametrize("systems", [1, 2])
def test_many_classes_or_systems_get_a_panel_each(answers: Any, systems: int) -> None:
    found = {f"system {i}": (answers(i, names=MANY), areas(MANY)) for i in range(systems)}
    figure = draw_curves("roc", found)
    shown = [axes for axes in figure.axes if axes.get_title()]
    assert [axes.get_title() for axes in shown] == [*MANY, EVERY]
    assert {len(axes.lines) for axes in shown} == {systems + 1}
    assert {len(axes.texts) for axes in shown} == {systems}
    assert len(figure.legends) == (systems > 1)


def test_curves_end_where_they_should_and_are_thin_enough_for_a_page(answers: Any) -> None:
    figure = draw_curves("roc", {"x": (answers(seeds=40), areas(answers().names))})
    for line in figure.axes[0].lines:
        x, y = line.get_data()
        assert (x[0], y[0]) == (0, 0)
        assert (x[-1], y[-1]) == (1, 1)
        assert len(np.asarray(x)) < 1200


def test_bars_show_numbers_intervals_and_levels() -> None:
    bars = [Bar(0.5, 0.4, 0.6), Bar(None)]
    figure = draw_bars("uar", ["a", "b"], {"x": bars}, lines={"chance": 0.25, "nothing": None}, worst=0)
    (axes,) = figure.axes
    assert words(figure) == ["50.0", "—"]
    assert [list(line.get_xdata()) for line in axes.lines] == [[0.4, 0.6], [0.25, 0.25]]
    assert [handle.get_text() for handle in figure.legends[0].get_texts()] == ["chance 25.0%"]
    assert axes.patches[0].get_facecolor()[:3] == pytest.approx((0.702, 0.149, 0.118), abs=0.001)
    assert WARNING == "#b3261e"


def test_empty_bins_have_no_bar() -> None:
    full = {"low": 0.5, "high": 1.0, "n": 3, "confidence": 0.8, "accuracy": 0.6}
    empty = {"low": 0.0, "high": 0.5, "n": 0, "confidence": None, "accuracy": None}
    top, below = draw_reliability([empty, full]).axes
    assert [bar.get_height() for bar in top.patches] == [0.6]
    assert [bar.get_height() for bar in below.patches] == [0, 3]


def test_harm_is_drawn_from_none_to_the_most() -> None:
    figure = draw_degradation("uar", "audio noise", "dB SNR", {"x": [(None, 0.6), (10.0, None), (0.0, 0.2)]}, 0.125)
    (axes,) = figure.axes
    assert [label.get_text() for label in axes.get_xticklabels()] == ["none", "10", "0"]
    np.testing.assert_equal(axes.lines[0].get_ydata(), [0.6, np.nan, 0.2])
    assert axes.get_xlabel() == "audio noise, dB SNR"


def test_a_training_is_drawn_with_what_was_logged() -> None:
    run = {"name": "a", "epochs": [0, 1, 2], "train/loss": [3.0, 2.0, 1.0], "val/loss": [None, 2.5, 2.0]}
    figure = draw_training([run], "uar", 1)
    (axes,) = figure.axes
    assert [len(line.get_xdata()) for line in axes.lines] == [3, 2, 2]
    assert axes.get_legend_handles_labels()[1] == ["training", "validation", "chosen"]
    runs = [{**run, "val/uar": [0.1, 0.2, 0.3], "lr-AdamW": [1.0, 0.5, 0.1]}] * 3
    loss, score, rate = draw_training(runs, "uar", None).axes
    assert [len(axes.lines) for axes in (loss, score, rate)] == [6, 3, 3]
    assert loss.get_legend_handles_labels()[1] == ["training", "validation"]  # once for all runs


def test_of_many_speakers_the_worst_are_shown(answers: Any) -> None:
    found = answers(seeds=8)
    speakers = tuple(f"person {i // 12}" for i in range(len(found)))
    found = type(found)(found.names, tuple(map(str, range(len(found)))), speakers, found.label, found.probabilities)
    systems = [System("x", found, {})]
    metrics = measure(systems, resamples=5)
    (figure,) = (each.figure for each in draw_figures(metrics, systems) if each.name == "speakers")
    accuracies = sorted(part["accuracy"] for part in metrics["systems"][0]["groups"]["speaker"].values())
    assert len(accuracies) == 48
    assert words(figure) == [f"{100 * value:.1f}" for value in accuracies[:40]]


@pytest.mark.parametrize("name", ["$x_1$ and $", "_hidden", "顔 ünd & <b>", "two\nlines", "x" * 200])
def test_any_name_can_be_drawn(name: str) -> None:
    figure = draw_bars("uar", [name], {name: [Bar(0.5)], "other": [Bar(0.1)]})
    assert draw_svg(figure, "x").count("<text") > 3
    assert isinstance(figure.axes[0].texts[0], Annotation)
