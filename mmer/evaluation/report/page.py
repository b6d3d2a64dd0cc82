"""The page of a report, and the files of its figures."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from jinja2 import Environment, PackageLoader, StrictUndefined

from mmer.atomic import replacing
from mmer.corpora.manifest import reading_order
from mmer.evaluation.report import curves, facts, words
from mmer.evaluation.report.figures import Picture, draw_figures
from mmer.evaluation.report.style import WIDTH, draw_png, draw_svg, inline_svg, mark
from mmer.evaluation.system import System

FIGURES = "figures"
"""The folder of the figures' files, beside the page."""

_GENERATOR = '<meta name="generator" content="mmer">'
_LINK = re.compile(rf'href="{FIGURES}/([A-Za-z0-9_.-]+\.(?:svg|png))"')


class _Shown(NamedTuple):
    """A figure on the page."""

    name: str
    title: str
    svg: str
    wide: bool


def write_report(output: Path, metrics: dict[str, Any], systems: Sequence[System]) -> None:
    """Write index.html and, beside it, each of its figures as SVG and PNG.

    Figures that an earlier report left there and this one does not have are removed; nothing else is.

    Args:
        output: The folder.
        metrics: The content of metrics.json.
        systems: What it was measured on.
    """
    page, shown = output / "index.html", defaultdict[str, list[_Shown]](list)
    stale = _written_before(page)
    (output / FIGURES).mkdir(parents=True, exist_ok=True)
    for picture in draw_figures(metrics, systems):
        svg = _write_figure(output / FIGURES, picture)
        wide = bool(picture.figure.get_figwidth() > WIDTH)
        shown[picture.section].append(_Shown(picture.name, picture.title, svg, wide))
        stale -= {f"{picture.name}.svg", f"{picture.name}.png"}
    _replace(page, _render(metrics, shown).encode())
    for name in stale:
        (output / FIGURES / name).unlink(missing_ok=True)


def _written_before(page: Path) -> set[str]:
    """Return the files of the figures that an earlier report in the same place had."""
    before = page.read_text(encoding="utf-8", errors="replace") if page.is_file() else ""
    return set(_LINK.findall(before)) if _GENERATOR in before else set()


def _write_figure(folder: Path, picture: Picture) -> str:
    """Write a figure as SVG and PNG, and return it for the page."""
    if picture.warnings:
        mark(picture.figure, picture.warnings)
    svg = draw_svg(picture.figure, picture.name)
    _replace(folder / f"{picture.name}.svg", svg.encode())
    _replace(folder / f"{picture.name}.png", draw_png(picture.figure))
    return inline_svg(svg, picture.title)


def _render(metrics: dict[str, Any], shown: dict[str, list[_Shown]]) -> str:
    environment = Environment(
        loader=PackageLoader("mmer.evaluation.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals.update(words_of=words, describe=facts.describe, ordered=_ordered, level_of=curves.say_level)
    systems, first = metrics["systems"], list(dict.fromkeys([metrics["metric"], "uar", "accuracy", "macro_f1"]))
    return environment.get_template("page.html.jinja").render(
        metrics=metrics,
        systems=systems,
        several=len(systems) > 1,
        seeded=any(system["seeds_scores"] for system in systems),
        figures=shown,
        generator=_GENERATOR,
        first=first,
        compared=list(metrics["comparison"]["pairs"][0]["differences"]) if metrics["comparison"] else [],
        scores=list(dict.fromkeys([*first, *words.SCORES])),
        title=facts.write_title(metrics),
        facts=facts.list_facts(metrics),
        banners=facts.list_banners(metrics),
        marks={system["name"]: list(words.warnings_of(system)) for system in systems},
        levels=facts.list_levels(metrics),
        interval_note=facts.explain_intervals(metrics),
        sections=facts.list_sections(metrics, shown),
        every=curves.EVERY,
    )


def _ordered(values: Iterable[str]) -> list[str]:
    return sorted(values, key=reading_order)


def _replace(path: Path, data: bytes) -> None:
    with replacing(path) as temporary:
        temporary.write_bytes(data)
