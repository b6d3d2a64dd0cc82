from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from mmer.evaluation.measure import measure
from mmer.evaluation.predictions import Predictions
from mmer.evaluation.system import System
from mmer.evaluation.table import format_table

LABEL = np.array([0, 1] * 20)
ANSWERS = Predictions(
    ("no", "yes"),
    tuple(str(i) for i in range(40)),
    tuple(str(i % 10) for i in range(40)),
    LABEL,
    np.eye(2)[np.where(np.arange(40) < 30, LABEL, 1 - LABEL)],
)


def metrics(predictions: Predictions = ANSWERS, name: str = "my_model & co", **about: Any) -> dict[str, Any]:
    return measure([System(name, predictions, about)], resamples=100)


def test_a_markdown_table_has_a_row_a_system_and_chance() -> None:
    found = metrics()
    low, high = (f"{100 * found['systems'][0]['scores']['accuracy'][end]:.1f}" for end in ("low", "high"))
    lines = format_table(found, "markdown", ("accuracy", "macro_f1")).splitlines()
    assert lines[:2] == ["| System | Clips | Accuracy | Macro F1 |", "| --- | ---: | ---: | ---: |"]
    assert lines[2].startswith(f"| my\\_model & co | 40 | 75.0 [{low}, {high}] | 75.0 [")
    assert lines[3] == "| Chance |  | 50.0 |  |"


def test_a_latex_table_needs_no_package_and_escapes_names() -> None:
    lines = format_table(metrics(), "latex").splitlines()
    assert lines[0] == r"\begin{tabular}{lrrrr}"
    assert lines[1:4] == [r"\hline", r"System & Clips & Accuracy & UAR & Macro F1 \\", r"\hline"]
    assert lines[4].startswith(r"my\_model \& co & 40 & 75.0 [")
    assert lines[-3:] == [r"Chance &  & 50.0 & 50.0 &  \\", r"\hline", r"\end{tabular}"]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"leaks": ["clips at random"]}, "(leaky split)"),
        ({"corpus": {"synthetic": True}}, "(synthetic)"),
        ({"part": "validation"}, "(validation part)"),
        ({"part": "train", "leaks": ["x"]}, "(leaky split, train part)"),
        ({"part": "test", "corpus": {"synthetic": False}}, ""),
    ],
)
def test_a_row_says_what_makes_it_less_than_a_result(changes: dict[str, Any], said: str) -> None:
    name = format_table(metrics(name="it", **changes), "markdown").splitlines()[2].split(" | ")[0]
    assert name == f"| it {said}".strip()


def test_losses_are_no_percent_and_what_nobody_knows_is_a_dash() -> None:
    found = metrics(replace(ANSWERS, label=np.zeros(40, np.int64)).take(np.arange(1)))
    row = format_table(found, "markdown", ("brier", "auroc", "top2")).splitlines()[2]
    assert row.endswith("| 1 | 0.000 | - | 100.0 |")
