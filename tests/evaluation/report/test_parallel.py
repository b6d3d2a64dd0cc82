"""Parallel coordinates: values stand where they belong, and can be read."""

from __future__ import annotations

import pytest

from mmer.evaluation.report.parallel import Axis, Line, draw_parallel
from mmer.evaluation.report.style import draw_png

RATE = Axis("lr", 1e-4, 1e-1, log=True)
DEPTH = Axis("depth", 1.0, 6.0, whole=True)
KIND = Axis("kind", 0.0, 2.0, words=("mean", "gated", "transformer"))


@pytest.mark.parametrize(
    ("axis", "value", "place"),
    [(RATE, 1e-4, 0.0), (RATE, 1e-2, 2 / 3), (DEPTH, 2.0, 0.2), (KIND, 1.0, 0.5), (Axis("x", 3.0, 3.0), 3.0, 0.5)],
)
def test_a_value_has_its_place(axis: Axis, value: float, place: float) -> None:
    assert axis.place(value) == pytest.approx(place)


def test_ticks_are_what_a_reader_expects() -> None:
    assert [words for _, words in RATE.ticks()] == ["1e-4", "0.001", "0.01", "0.1"]
    assert [words for _, words in KIND.ticks()] == ["mean", "gated", "transformer"]
    assert all("." not in words for _, words in DEPTH.ticks())
    for axis in (RATE, DEPTH, KIND):
        places = [place for place, _ in axis.ticks()]
        assert places == sorted(places)
        assert (places[0], places[-1]) == (0.0, 1.0)


def text_of(lines: list[Line], chance: float | None = None) -> list[str]:
    figure = draw_parallel([RATE, DEPTH, KIND], lines, "val/uar", chance)
    assert draw_png(figure).startswith(b"\x89PNG")
    (panel,) = figure.axes
    legend = figure.get_supxlabel()
    return [each.get_text() for each in panel.texts] + [legend]


def test_every_axis_is_named_and_what_was_ended_early_is_explained() -> None:
    lines = [Line([1e-3, 2.0, 0.0], 0.3), Line([1e-2, 3.0, 1.0], 0.6, best=True)]
    words = text_of(lines, chance=0.4)
    assert {"lr", "depth", "kind", "val/uar", "chance", "0.3", "0.6"} <= set(words)
    assert "dashed" not in words[-1]
    words = text_of([*lines, Line([1e-1, 6.0, 2.0], 0.1, whole=False)], chance=0.05)
    assert "dashed: ended early" in words[-1]
    assert "chance" not in words


def test_a_single_trial_can_be_drawn() -> None:
    assert "val/uar" in text_of([Line([1e-3, 2.0, 0.0], 0.3, best=True)])
