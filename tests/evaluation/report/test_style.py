"""What holds for every figure: it can be read on both grounds, and it takes its warning along."""

from __future__ import annotations

import re
from importlib.resources import files
from itertools import product

import numpy as np
import pytest
from matplotlib.colors import to_rgb

from mmer.evaluation.report.confusion import TURN
from mmer.evaluation.report.style import (
    CELL,
    COLOURS,
    INK,
    MUTED,
    ON_CELL,
    WARNING,
    draw_png,
    draw_svg,
    figure_style,
    inline_svg,
    mark,
    new_figure,
    short,
)

CSS = (files("mmer.evaluation.report") / "page.css").read_text(encoding="utf-8")


def palette(ground: str) -> dict[str, str]:
    """Return the colours of the page on light or on dark ground."""
    light, dark = (
        dict(re.findall(r"--([\w-]+): (#\w{6})", block)) for block in re.findall(r":root \{(.*?)\}", CSS, re.S)
    )
    return light if ground == "light" else {**light, **dark}


def luminance(colour: tuple[float, float, float]) -> float:
    """Return the relative luminance of WCAG 2."""
    linear = [x / 12.92 if x <= 0.03928 else ((x + 0.055) / 1.055) ** 2.4 for x in colour]
    return float(np.dot((0.2126, 0.7152, 0.0722), linear))


def contrast(one: tuple[float, float, float] | str, other: tuple[float, float, float] | str) -> float:
    dark, light = sorted(luminance(to_rgb(colour)) for colour in (one, other))
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("ground", ["light", "dark"])
def test_everything_can_be_read_on_light_and_on_dark_ground(ground: str) -> None:
    colours = palette(ground)
    for name in ("ink", "soft", "link", "warning"):
        assert contrast(colours[name], colours["ground"]) >= 4.5, name
    assert contrast(colours["ink"], colours["strong"]) >= 4.5
    assert contrast("#ffffff", colours["banner"]) >= 4.5
    for colour in (*COLOURS, MUTED):
        assert contrast(colour, colours["ground"]) >= 3, colour


@pytest.mark.parametrize("ground", ["light", "dark"])
def test_what_a_cell_holds_can_be_read_however_full_it_is(ground: str) -> None:
    colours = palette(ground)
    full, empty = np.array(to_rgb(colours["cell"])), np.array(to_rgb(colours["ground"]))
    for share in np.linspace(0, 1, 101):
        cell = tuple(share * full + (1 - share) * empty)
        assert contrast(colours["on-cell" if share > TURN else "ink"], cell) >= 3, share


def test_a_page_has_its_own_ink() -> None:
    figure, (axes,) = new_figure(2.0, 1.0)
    with figure_style():
        axes.text(0, 0, "a")
        axes.text(0, 0, "b", color=ON_CELL)
        axes.bar([1], [1], color=CELL)
    mark(figure, ["LEAKY"])
    svg = inline_svg(draw_svg(figure, "x"), 'a "title" <b>')
    assert svg.startswith('<svg role="img" aria-label="a &quot;title&quot; &lt;b&gt;" style="min-width:134px;')
    for colour, own in ((INK, "currentColor"), (WARNING, "var(--warning)"), (CELL, "var(--cell)")):
        assert colour not in svg
        assert own in svg
    assert "var(--on-cell)" in svg


@pytest.mark.parametrize("title", ["", "why"])
def test_a_warning_makes_a_figure_higher_and_covers_nothing(title: str) -> None:
    figure, (axes,) = new_figure(3.0, 2.0)
    if title:
        figure.suptitle(title)
    mark(figure, ["LEAKY SPLIT", "SYNTHETIC"])
    svg = draw_svg(figure, "x")
    assert float(figure.get_figheight()) == pytest.approx(2.36)
    boxes = [axes.get_tightbbox(), *(text.get_window_extent() for text in figure.texts)]
    for one, other in product(boxes, boxes):
        assert one is other or one is None or other is None or not one.overlaps(other)
    assert "LEAKY SPLIT" in svg
    assert "SYNTHETIC" in svg


def test_figures_are_the_same_to_the_byte_each_time() -> None:
    def draw() -> tuple[str, bytes]:
        figure, every = new_figure(3.0, 3.0, 2, 2, heights=(1.0, 2.0))
        for axes in every:
            axes.plot([0, 0.3], [0, 1], "o", label="x")
        figure.legend(loc="outside lower left")
        written = draw_svg(figure, "x"), draw_png(figure)
        places = [x for axes in every for x in axes.get_position(original=True).bounds]
        assert places == [pytest.approx(round(x, 6), abs=1e-12) for x in places]  # the solver's last digits differ
        return written

    assert draw() == draw()


def test_names_fit_and_stay_apart() -> None:
    names = (
        "a",
        "_hidden",
        "statement: Dogs are sitting by the door",
        "statement: Kids are talking by the door",
        "a\tb",
    )
    shown = [short(name) for name in names]
    assert max(len(name) for name in shown) <= 26
    assert len(set(shown)) == len(names)
    assert shown[:2] == ["a", " _hidden"]
    assert shown[4] == "a?b"
