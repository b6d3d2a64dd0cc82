from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

from mmer.evaluation.predictions import Predictions

ANSWERS = Predictions(
    names=("no", "perhaps", "yes"),
    key=("a", "b", "c"),
    speaker=("1", "2", ""),
    label=np.array([0, 2, 1]),
    probabilities=np.array([[0.5, 0.2, 0.3], [0.4, 0.4, 0.2], [0.1, 0.2, 0.7]]),
)


def test_the_likeliest_class_is_predicted_and_the_first_of_equals() -> None:
    assert ANSWERS.predicted.tolist() == [0, 0, 2]


def test_where_keeps_all_that_belongs_to_a_clip() -> None:
    kept = ANSWERS.where(np.array([False, True, True]))
    assert (len(kept), kept.key, kept.speaker, kept.label.tolist()) == (2, ("b", "c"), ("2", ""), [2, 1])
    assert np.array_equal(kept.probabilities, ANSWERS.probabilities[1:])
    assert len(ANSWERS.where(np.zeros(3, bool))) == 0


def test_the_table_names_the_classes_and_has_a_line_a_clip(tmp_path: Path) -> None:
    ANSWERS.write(tmp_path / "predictions.csv")
    with (tmp_path / "predictions.csv").open(newline="", encoding="utf-8") as file:
        lines = list(csv.reader(file))
    assert lines[0] == ["key", "speaker", "label", "predicted", "no", "perhaps", "yes"]
    assert lines[2] == ["b", "2", "yes", "no", "0.400000", "0.400000", "0.200000"]
    assert len(lines) == 4
