"""Scores as a table for a paper or a page."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

TableStyle = Literal["markdown", "latex"]

_HEADS = {
    "accuracy": "Accuracy",
    "uar": "UAR",
    "macro_f1": "Macro F1",
    "weighted_f1": "Weighted F1",
    "top2": "Top-2",
    "auroc": "AUROC",
    "average_precision": "Average precision",
    "ece": "ECE",
    "brier": "Brier",
    "log_loss": "Log loss",
}
_PLAIN = ("brier", "log_loss")  # no shares, so no percent
_SPECIAL = {
    "markdown": {"\\": "\\\\", "|": "\\|", "*": "\\*", "_": "\\_", "<": "&lt;"},
    "latex": {
        "\\": r"\textbackslash{}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        **{sign: f"\\{sign}" for sign in "&%$#_{}"},
    },
}


def format_table(
    metrics: Mapping[str, Any], style: TableStyle, scores: Sequence[str] = ("accuracy", "uar", "macro_f1")
) -> str:
    """Return the systems of metrics.json as a table, in percent with their 95% intervals, chance in the last line.

    A name says what makes a score less than a result: a leaky split, synthetic clips, a part that is no test.

    Args:
        metrics: What ``measure`` returns.
        style: Markdown, or a LaTeX ``tabular`` that needs no package.
        scores: Which scores, in which order.
    """
    head = ["System", "Clips", *(_HEADS[name] for name in scores)]
    rows = [[_name(system), str(system["scores"]["n"]), *_cells(system, scores)] for system in metrics["systems"]]
    chance = f"{100 * metrics['chance']:.1f}"
    last = ["Chance", "", *(chance if name in ("accuracy", "uar") else "" for name in scores)]
    table = [[_escape(cell, style) for cell in row] for row in (head, *rows, last)]
    return "\n".join(_markdown(table) if style == "markdown" else _latex(table))


def _name(system: Mapping[str, Any]) -> str:
    corpus = system["corpus"] or {}
    warnings = {
        "leaky split": bool(system["leaks"]),
        "synthetic": corpus.get("synthetic", False),
        f"{system['part']} part": system["part"] not in (None, "test"),
    }
    said = ", ".join(warning for warning, due in warnings.items() if due)
    return f"{system['name']} ({said})" if said else str(system["name"])


def _cells(system: Mapping[str, Any], scores: Sequence[str]) -> Iterator[str]:
    for name in scores:
        factor, digits = (1, 3) if name in _PLAIN else (100, 1)
        value, low, high = (
            "-" if x is None else f"{factor * x:.{digits}f}"
            for x in (system["scores"][name][end] for end in ("value", "low", "high"))
        )
        yield value if "-" in (low, high) else f"{value} [{low}, {high}]"


def _escape(text: str, style: TableStyle) -> str:
    return "".join(_SPECIAL[style].get(sign, sign) for sign in text)


def _markdown(table: Sequence[Sequence[str]]) -> Iterator[str]:
    width = len(table[0])
    for row in (table[0], ["---", *["---:"] * (width - 1)], *table[1:]):
        yield f"| {' | '.join(row)} |"


def _latex(table: Sequence[Sequence[str]]) -> Iterator[str]:
    lines = [f"{' & '.join(row)} \\\\" for row in table]
    yield f"\\begin{{tabular}}{{l{'r' * (len(table[0]) - 1)}}}"
    yield from ("\\hline", lines[0], "\\hline", *lines[1:-1], "\\hline", lines[-1], "\\hline")
    yield "\\end{tabular}"
