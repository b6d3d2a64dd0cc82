"""Numbers as they are read."""

from __future__ import annotations

import numpy as np
import pytest

from mmer.evaluation.metrics import score
from mmer.evaluation.predictions import Predictions
from mmer.evaluation.report.words import (
    SCORES,
    UNKNOWN,
    chance_level,
    difference,
    interval,
    majority_level,
    number,
    p_value,
    say_score,
    say_short,
    spread,
    warn_of,
    warnings_of,
)

SUPPORT = (500, 300, 0, 200)


def test_shares_are_percent_and_areas_are_decimals() -> None:
    assert (number("uar", 0.6543), number("auroc", 0.6543), number("uar", None)) == ("65.4%", "0.654", UNKNOWN)
    assert interval("uar", {"low": 0.612, "high": 0.703}) == "61.2 to 70.3"
    assert interval("log_loss", {"low": 0.612, "high": 1.703}) == "0.612 to 1.703"
    assert interval("uar", {"low": None, "high": None}) == ""


def test_differences_have_their_sign() -> None:
    shown = [difference("uar", 0.0512), difference("uar", -0.01), difference("brier", -0.2), difference("uar", None)]
    assert shown == ["+5.1", "-1.0", "-0.200", UNKNOWN]


def test_a_mean_has_its_spread_where_it_has_one() -> None:
    assert spread("uar", {"value": 0.641, "sd": 0.032}) == "64.1 ± 3.2"
    assert spread("uar", {"value": 0.641, "sd": None}) == "64.1"
    assert spread("uar", {"value": None, "sd": None}) == UNKNOWN


def test_p_values_are_written_as_papers_do() -> None:
    assert [p_value(p) for p in (0.0004, 0.04, 1.0, None)] == ["p < 0.001", "p = 0.040", "p = 1.000", UNKNOWN]


def test_scores_are_said_in_words() -> None:
    assert say_score("uar") == "UAR (balanced accuracy)"
    assert say_short("uar") == "UAR"
    assert say_score("f1") == "F1"


def guess(predicted: np.ndarray) -> dict[str, float]:
    """Return the scores of some answers on clips of ``SUPPORT``, a hundred times over."""
    label = np.tile(np.repeat(np.arange(4), SUPPORT), 100)
    probabilities = np.full((len(label), 4), 0.1) + 0.6 * np.eye(4)[predicted]
    keys = tuple(str(i) for i in range(len(label)))
    return score(Predictions(("a", "b", "c", "d"), keys, ("",) * len(keys), label, probabilities))


def test_chance_is_what_a_guess_scores() -> None:
    scores = guess(np.random.default_rng(0).integers(4, size=100_000))
    for name in ("accuracy", "uar", "macro_f1", "weighted_f1", "auroc"):
        assert chance_level(name, SUPPORT) == pytest.approx(scores[name], abs=0.005), name
    assert chance_level("top2", SUPPORT) == 0.5
    assert chance_level("ece", SUPPORT) is None


def test_the_largest_class_scores_what_always_naming_it_does() -> None:
    scores = guess(np.zeros(100_000, np.int64))
    for name in ("accuracy", "uar", "macro_f1", "weighted_f1", "auroc"):
        assert majority_level(name, SUPPORT) == pytest.approx(scores[name]), name
    assert {name for name in SCORES if majority_level(name, SUPPORT) is None} == {
        *("top2", "average_precision", "ece", "brier", "log_loss"),
    }


def test_only_what_must_not_be_overlooked_is_a_warning() -> None:
    system = {"leaks": [], "corpus": None, "part": None}
    assert warnings_of(system) == {}
    assert warnings_of({**system, "part": "test", "corpus": {"synthetic": False}}) == {}
    leaky = {**system, "leaks": ["takes are shared", "so are speakers"]}
    (sentence,) = warnings_of(leaky).values()
    assert sentence.endswith("too high: takes are shared; so are speakers.")
    assert warn_of([system, leaky, leaky, {**system, "part": "validation"}]) == [
        "LEAKY SPLIT: these scores are too high",
        "NOT A TEST: validation clips",
    ]
