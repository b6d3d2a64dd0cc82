"""Which figures a report has."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from matplotlib.figure import Figure

from mmer.corpora.manifest import reading_order
from mmer.evaluation.report.bars import Bar, draw_bars
from mmer.evaluation.report.confusion import draw_confusion
from mmer.evaluation.report.curves import EVERY, Curve, draw_curves, draw_degradation, draw_reliability, draw_training
from mmer.evaluation.report.explanations import draw_explanation
from mmer.evaluation.report.style import COLOURS
from mmer.evaluation.report.words import chance_level, say_score, warn_of
from mmer.evaluation.system import System

COMPARED = ("macro_f1", "accuracy", "uar")
"""The scores in which systems are drawn side by side."""

MOST_SPEAKERS = 40
"""Speakers whom a figure shows; of more it shows the worst."""


class Picture(NamedTuple):
    """A figure of the report.

    Args:
        section: Where it stands on the page.
        name: Its file's name, without a suffix.
        title: What it shows.
        figure: The figure.
        warnings: What it must say of itself.
    """

    section: str
    name: str
    title: str
    figure: Figure
    warnings: list[str]


Metrics = Mapping[str, Any]


def draw_figures(metrics: Metrics, systems: Sequence[System]) -> Iterator[Picture]:
    """Draw every figure of a report, one after the other, in the order of the page.

    Args:
        metrics: The content of metrics.json.
        systems: What it was measured on.
    """
    answers = {system.name: system for system in systems}
    parts = file_names([each["name"] for each in metrics["systems"]])
    yield from _of_all(metrics, answers)
    for each in metrics["systems"]:
        tail, ending = (f"-{parts[each['name']]}", f" of {each['name']}") if len(parts) > 1 else ("", "")
        for section, name, title, figure in _of_one(metrics, each, answers[each["name"]]):
            yield Picture(section, name + tail, title + ending, figure, warn_of([each]))


def file_names(names: Sequence[str]) -> dict[str, str]:
    """Return a file's name for each name, all different."""
    found: dict[str, str] = {}
    for name in names:
        plain = re.sub(r"[^A-Za-z0-9_.]+", "-", name).strip("-.") or "system"
        taken = {each.lower() for each in found.values()}
        found[name] = next(x for i in range(1, len(names) + 1) if (x := plain + f"-{i}" * (i > 1)).lower() not in taken)
    return found


def levels(metrics: Metrics, score: str) -> dict[str, float | None]:
    """Return what a guess scores on the clips of the best system."""
    return {"chance": chance_level(score, [each["support"] for each in metrics["systems"][0]["per_class"].values()])}


def _of_all(metrics: Metrics, answers: Mapping[str, System]) -> Iterator[Picture]:
    """Draw the figures in which all systems stand side by side."""
    found, warnings = metrics["systems"], warn_of(metrics["systems"])
    names = [each["name"] for each in found]
    if len(found) > 1:
        for score in COMPARED:
            bars = [_bar(each["scores"][score]) for each in found]
            colours = [COLOURS[i % len(COLOURS)] for i in range(len(found))]
            figure = draw_bars(score, names, {score: bars}, lines=levels(metrics, score), row_colours=colours)
            yield Picture("comparison", f"comparison-{score}", say_score(score), figure, warnings)
    recall = {each["name"]: [Bar(part["f1"]) for part in each["per_class"].values()] for each in found}
    figure = draw_bars("f1", metrics["labels"], recall)
    yield Picture("classes", "classes", "F1 of each class", figure, warnings)
    curves: dict[Curve, str] = {"roc": "ROC curves", "pr": "Precision over recall"}
    for kind, words in curves.items():
        figure = draw_curves(
            kind, {each["name"]: (answers[each["name"]].predictions, _areas(each, kind)) for each in found}
        )
        yield Picture("curves", kind, f"{words}, one class against the others", figure, warnings)
    if groups := list(dict.fromkeys(group for each in found for group in _others(each["groups"]))):
        figure = _draw_groups(metrics, groups)
        yield Picture("groups", "groups", f"{say_score(metrics['metric'])} of groups of clips", figure, warnings)
    for harm, figure in _degradations(metrics):
        yield Picture("degradations", f"degraded-{file_names([harm])[harm]}", f"Under {_say(harm)}", figure, warnings)


def _areas(each: Metrics, kind: Curve) -> dict[str, float | None]:
    """Return the area under each curve of a system, of all classes together as of one more."""
    score = "auroc" if kind == "roc" else "average_precision"
    return {name: part[score] for name, part in each["per_class"].items()} | {EVERY: each["global"][score]}


def _degradations(metrics: Metrics) -> Iterator[tuple[str, Figure]]:
    score = metrics["metric"] if metrics["metric"] in COMPARED else "uar"
    units = {each["kind"]: each["unit"] for system in metrics["systems"] for each in system["degradations"] or ()}
    for kind, unit in units.items():
        steps = {
            system["name"]: [(each["level"], each[score]) for each in system["degradations"] if each["kind"] == kind]
            for system in metrics["systems"]
            if system["degradations"]
        }
        chance = levels(metrics, score)["chance"]
        yield kind, draw_degradation(score, _say(kind), unit, {k: v for k, v in steps.items() if v}, chance)


def _of_one(metrics: Metrics, each: Metrics, system: System) -> Iterator[tuple[str, str, str, Figure]]:
    """Draw the figures of one system: section, name and title of each with it."""
    score = metrics["metric"]
    lines = levels(metrics, score)
    if each["folds"]:
        yield "folds", "folds", f"{say_score(score)} of each fold", _draw_folds(score, each["folds"], lines)
    yield "confusion", "confusion", "Confusion matrix", draw_confusion(each["confusion"], metrics["labels"])
    yield "calibration", "reliability", "Reliability diagram", draw_reliability(each["reliability"])
    if speakers := each["groups"].get("speaker"):
        title = (
            f"The {MOST_SPEAKERS} worst of {len(speakers)} speakers" if len(speakers) > MOST_SPEAKERS else "Speakers"
        )
        yield "speakers", "speakers", title, _draw_speakers(speakers, each, levels(metrics, "accuracy"))
    if each["modalities"]:
        bars = {each["name"]: [_bar(part[score]) for part in each["modalities"].values()]}
        figure = draw_bars(score, list(each["modalities"]), bars, lines=lines)
        yield "modalities", "modalities", "What is left without some modalities", figure
    if each["training"] and each["training"]["runs"]:
        runs = each["training"]["runs"]
        chosen = each["source"]["epoch"] if each["source"] and len(runs) == 1 else None
        yield "training", "training", "Course of the training", draw_training(runs, score, chosen)
    for i, explanation in enumerate(system.explanations, start=1):
        title = f"Why clip {explanation.key} was taken for {explanation.predicted}"
        yield "explanations", f"explanation-{i}", title, draw_explanation(explanation)


def _draw_folds(score: str, folds: Metrics, lines: Mapping[str, float | None]) -> Figure:
    found = {(part["fold"], part["seed"]): Bar(part[score]) for part in folds["each"]}
    rows, seeds = dict.fromkeys(fold for fold, _ in found), dict.fromkeys(seed for _, seed in found)
    bars = {f"seed {seed}": [found.get((fold, seed), Bar(None)) for fold in rows] for seed in seeds}
    lines = {"mean": folds["mean"][score]["value"], **lines}
    return draw_bars(score, [f"fold {fold}" for fold in rows], bars, lines=lines)


def _draw_speakers(speakers: Metrics, each: Metrics, lines: Mapping[str, float | None]) -> Figure:
    """Draw the accuracy of each speaker: by it the worst is found, for not everybody has clips of every class."""
    names = sorted(speakers, key=reading_order)
    if len(names) > MOST_SPEAKERS:
        names = sorted(names, key=lambda name: float(speakers[name]["accuracy"]))[:MOST_SPEAKERS]
    lines = {"all": each["scores"]["accuracy"]["value"], **lines}
    worst = each["worst_speaker"] and each["worst_speaker"]["speaker"]
    return draw_bars(
        "accuracy",
        names,
        {each["name"]: [Bar(speakers[name]["accuracy"]) for name in names]},
        lines=lines,
        worst=names.index(worst) if worst in names else None,
    )


def _draw_groups(metrics: Metrics, groups: Sequence[tuple[str, str]]) -> Figure:
    score, bars = metrics["metric"], {}
    for each in metrics["systems"]:
        found = [each["groups"].get(kind, {}).get(value) for kind, value in groups]
        bars[each["name"]] = [Bar(part and part[score]) for part in found]
    rows = [_say(f"{kind}: {value}") for kind, value in groups]
    return draw_bars(score, rows, bars, lines=levels(metrics, score))


def _others(groups: Metrics) -> Iterator[tuple[str, str]]:
    """Yield all groups but the speakers: by what clips are told apart, and the value."""
    for kind, values in groups.items():
        if kind != "speaker":
            yield from ((kind, value) for value in sorted(values, key=reading_order))


def _bar(score: Mapping[str, float | None]) -> Bar:
    return Bar(score["value"], score["low"], score["high"])


def _say(kind: str) -> str:
    return kind.replace("_", " ")
