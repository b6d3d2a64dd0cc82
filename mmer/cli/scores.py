"""Scores on the screen."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, TextIO, get_args

from mmer.cli.parser import positive, red
from mmer.corpora.manifest import listed

ScoresFormat = Literal["table", "json", "markdown", "latex"]

_PEOPLE = 30  # scored speakers that are named
_PAIRS = 15  # paired tests that are shown; the report has all
_COLUMNS = {"accuracy": "accuracy", "uar": "UAR", "macro_f1": "macro F1"}


def add_resamples(parser: argparse._ActionsContainer) -> None:
    """Add ``--resamples``."""
    parser.add_argument("--resamples", type=positive, default=10_000, help="of the bootstrap")


def add_scores_format(parser: argparse._ActionsContainer, what: str = "the scores") -> None:
    """Add ``--format``, as :func:`show` takes it."""
    parser.add_argument(
        "--format",
        choices=get_args(ScoresFormat),
        default="table",
        help=f"how to print {what}; json is metrics.json, and nothing else is printed",
    )


def show(metrics: Mapping[str, Any], output: Path, how: ScoresFormat) -> None:
    """Print what metrics.json says: for people, as JSON, or as a table for a paper, whose warnings go elsewhere."""
    if how == "json":
        print(json.dumps(metrics, indent=2))
        return
    if how == "table":
        _warn(metrics, sys.stdout)
        print("\n".join(_lines(metrics)))
        print(f"report: {output / 'index.html'}")
        return
    from mmer.evaluation.table import format_table

    _warn(metrics, sys.stderr)
    print(format_table(metrics, how))


def _warn(metrics: Mapping[str, Any], stream: TextIO) -> None:
    """Say in red what makes a score less than a result; of several systems, of which."""
    several = len(metrics["systems"]) > 1
    for system in metrics["systems"]:
        whose = f"{system['name']}: " if several else ""
        if system["corpus"] and system["corpus"]["synthetic"]:
            print(red(f"{whose}SYNTHETIC demo corpus: a test bed, not a result", stream), file=stream)
        if system["leaks"]:
            leaks = "; ".join(system["leaks"])
            print(red(f"{whose}LEAKY split, the scores are too high: {leaks}", stream), file=stream)
        if system["part"] not in (None, "test"):
            what = f"the {system['part']} part took part in making the checkpoint"
            print(red(f"{whose}NOT A TEST: {what}", stream), file=stream)


def _lines(metrics: Mapping[str, Any]) -> Iterator[str]:
    several = len(metrics["systems"]) > 1
    for system in metrics["systems"]:
        whose = f"{system['name']}: " if several else ""
        yield from (f"{whose}note: {note}" for note in system["notes"])
        yield f"{whose}{_who(system)}"
    width = max([14, *(len(system["name"]) + 2 for system in metrics["systems"])])
    heads = "".join(f"{head:>9}  {'95% interval':<14}" for head in _COLUMNS.values())
    what = "system" if several or not metrics["systems"][0]["modalities"] else "read"
    yield f"{what:<{width}}{'clips':>7}{heads}".rstrip()
    for system in metrics["systems"]:
        rows = {} if several else system["modalities"]
        yield from (_row(name, scores, width) for name, scores in (rows or {system["name"]: system["scores"]}).items())
    if not several:
        yield from _folds(metrics["systems"][0], width)
    yield f"{'chance':<{width + 7}}{_percent(metrics['chance']):>9}{'':<16}{_percent(metrics['chance']):>9}"
    majority = {system["scores"]["majority"] for system in metrics["systems"]}
    yield from (f"{'largest class':<{width + 7}}{_percent(level):>9}" for level in sorted(majority))
    for system in metrics["systems"]:
        if worst := system["worst_speaker"]:
            whose = f" of {system['name']}" if several else ""
            right = _percent(worst["accuracy"])
            yield f"worst speaker{whose}: {worst['speaker']}, accuracy {right} of {worst['n']} clips"
    yield from _comparison(metrics)


def _who(system: Mapping[str, Any]) -> str:
    """Say who was scored, and by which protocol."""
    people = listed(system["speakers"]["scored"], _PEOPLE)
    part = f"{system['part']} " if system["part"] else ""
    return f"{system['protocol'] or 'answers of a table'}, {part}{f'speakers {people}' if people else 'clips'}"


def _row(name: str, scores: Mapping[str, Any], width: int) -> str:
    cells = []
    for score in _COLUMNS:
        found = scores[score]
        interval = "" if found["low"] is None else f"{100 * found['low']:.1f} to {100 * found['high']:.1f}"
        cells.append(f"{_percent(found['value']):>9}  {interval:<14}")
    return f"{name:<{width}}{scores['n']:>7}{''.join(cells)}".rstrip()


def _folds(system: Mapping[str, Any], width: int) -> Iterator[str]:
    """Yield the mean over folds, and what an epoch that was chosen on the test itself would pretend."""
    if system["folds"]:
        cells = ""
        for score in _COLUMNS:
            mean = system["folds"]["mean"][score]
            spread = "" if mean["sd"] is None else f"sd {100 * mean['sd']:.1f}"
            cells += f"{_percent(mean['value']):>9}  {spread:<14}"
        name = f"mean of {len(system['folds']['each'])} folds"
        yield f"{name:<{width + 7}}{cells}".rstrip()
    if system["oracle"]:
        yield f"{_row('oracle', system['oracle']['scores'], width)}  (best epoch on the test itself: not honest)"


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.1f}%"


def _comparison(metrics: Mapping[str, Any]) -> Iterator[str]:
    """Yield a line for each pair of systems: by how much the first is better, and how sure that is."""
    comparison = metrics["comparison"]
    if comparison is None:
        return
    yield f"paired on {comparison['clips']} clips, p by Holm:"
    for pair in comparison["pairs"][:_PAIRS]:
        score = metrics["metric"] if metrics["metric"] in pair["differences"] else "uar"
        found = pair["differences"][score]
        yield (
            f"  {pair['a']} - {pair['b']}: {score} {100 * found['value']:+.1f} points "
            f"({100 * found['low']:+.1f} to {100 * found['high']:+.1f}), p {_p(found['p_holm'])}; "
            f"McNemar {pair['mcnemar']['only_a']}:{pair['mcnemar']['only_b']}, p {_p(pair['mcnemar']['p_holm'])}"
        )
    if len(comparison["pairs"]) > _PAIRS:
        yield f"  and {len(comparison['pairs']) - _PAIRS} pairs more, in the report"


def _p(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"{value:.3f}"
