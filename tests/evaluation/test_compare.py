"""Comparisons, against numbers worked out by hand or by scipy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import binom

from mmer.errors import PredictionsError
from mmer.evaluation.compare import compare, holm
from mmer.evaluation.metrics import score
from mmer.evaluation.predictions import Predictions

CLIPS, SPEAKERS = 120, 12
LABEL = np.random.default_rng(0).integers(3, size=CLIPS)


def make(right: NDArray[np.bool_], keys: Sequence[str] | None = None, sure: float = 0.8) -> Predictions:
    """Make answers that are right or wrong, as sure of each."""
    label = LABEL[: len(right)]
    predicted = np.where(right, label, (label + 1) % 3)
    probabilities = np.full((len(right), 3), (1 - sure) / 2)
    probabilities[np.arange(len(right)), predicted] = sure
    speakers = tuple(str(i % SPEAKERS) for i in range(len(right)))
    return Predictions(
        ("a", "b", "c"), tuple(keys or (f"clip {i:03}" for i in range(len(right)))), speakers, label, probabilities
    )


def random(share: float, seed: int) -> Predictions:
    return make(np.random.default_rng(seed).random(CLIPS) < share)


def run(resamples: int = 2000, **answers: Predictions) -> dict[str, Any]:
    return compare(answers, resamples=resamples)


def difference(found: Mapping[str, Any], name: str = "accuracy") -> Mapping[str, Any]:
    (pair,) = found["pairs"]
    return pair["differences"][name]


def test_a_difference_is_that_of_the_scores() -> None:
    a, b = random(0.8, 1), random(0.5, 2)
    found = run(a=a, b=b)
    for name in ("accuracy", "uar", "macro_f1"):
        one = difference(found, name)
        assert one["value"] == pytest.approx(score(a)[name] - score(b)[name])
        assert one["low"] < one["value"] < one["high"]
        assert one["p"] < 0.01
    assert (found["clips"], found["unit"], found["left_out"]) == (CLIPS, "speaker", {"a": 0, "b": 0})


def test_a_system_does_not_differ_from_itself() -> None:
    found = run(a=random(0.7, 1), b=random(0.7, 1))
    assert difference(found) == {"value": 0, "low": 0, "high": 0, "p": 1, "p_holm": 1}
    assert found["pairs"][0]["mcnemar"] == {"only_a": 0, "only_b": 0, "p": 1, "p_holm": 1}
    assert found["disagreements"] == []


def test_the_same_speakers_are_drawn_for_both() -> None:
    """Of systems that differ by one clip of every speaker each resample differs by as much."""
    a = make(np.ones(CLIPS, bool))
    b = make(np.arange(CLIPS) >= SPEAKERS)
    one = difference(run(a=a, b=b))
    assert (one["low"], one["high"]) == (pytest.approx(0.1), pytest.approx(0.1))
    assert one["p"] == pytest.approx(2 / 2001)


def test_p_is_that_of_the_binomial_distribution_where_speakers_are_all_better_or_all_worse() -> None:
    """Of 12 speakers 9 are better by all their clips and 3 worse; a resample has Binomial(12, 3/4) better ones."""
    better = np.arange(CLIPS) % SPEAKERS < 9
    found = difference(run(a=make(better), b=make(~better), resamples=10_000))
    assert found["p"] == pytest.approx(2 * binom.cdf(6, 12, 0.75), abs=0.015)
    quantiles = 2 * binom.ppf([0.025, 0.975], 12, 0.75) / 12 - 1
    assert [found["low"], found["high"]] == pytest.approx(quantiles, abs=1e-9)


def test_turned_round_the_test_is_the_same() -> None:
    one = difference(run(a=random(0.7, 1), b=random(0.6, 2)))
    two = difference(run(b=random(0.6, 2), a=random(0.7, 1)))
    assert two["value"] == -one["value"]
    assert [two["low"], two["high"]] == pytest.approx([-one["high"], -one["low"]])
    assert two["p"] == one["p"]


def test_mcnemar_counts_the_clips_that_one_got_right() -> None:
    a, b = np.ones(CLIPS, bool), np.ones(CLIPS, bool)
    a[:2] = False
    b[2:12] = False
    (pair,) = run(a=make(a), b=make(b))["pairs"]
    assert (pair["mcnemar"]["only_a"], pair["mcnemar"]["only_b"]) == (10, 2)
    assert pair["mcnemar"]["p"] == pytest.approx(2 * (1 + 12 + 66) / 2**12)


def test_holm_multiplies_by_what_is_left_and_never_falls() -> None:
    assert holm([0.04, 0.01, 0.03, 0.005]) == pytest.approx([0.06, 0.03, 0.06, 0.02])
    assert holm([0.9, 0.6]) == [1, 1]
    assert holm([0.2]) == [0.2]


def test_each_family_of_tests_is_corrected_over_all_pairs() -> None:
    found = run(a=random(0.8, 1), b=random(0.7, 2), c=random(0.4, 3))
    assert [(pair["a"], pair["b"]) for pair in found["pairs"]] == [("a", "b"), ("a", "c"), ("b", "c")]
    families = [[pair["differences"][name] for pair in found["pairs"]] for name in ("accuracy", "uar", "macro_f1")]
    for family in (*families, [pair["mcnemar"] for pair in found["pairs"]]):
        assert [test["p_holm"] for test in family] == holm([test["p"] for test in family])


# --- which clips


def test_only_common_clips_count_whatever_their_order() -> None:
    a, b = random(0.8, 1), random(0.6, 2)
    part = b.take(np.random.default_rng(0).permutation(CLIPS)[:100])
    found = run(a=a, b=part)
    assert (found["clips"], found["left_out"]) == (100, {"a": 20, "b": 0})
    kept = a.where(np.isin(a.key, part.key))
    assert difference(found)["value"] == pytest.approx(score(kept)["accuracy"] - score(part)["accuracy"])
    assert run(a=kept, b=part.take(np.argsort(part.key)))["pairs"] == found["pairs"]


def test_nothing_in_common_is_refused() -> None:
    a = make(np.ones(3, bool), keys=("x", "y", "z"))
    with pytest.raises(PredictionsError) as caught:
        run(one=a, other=random(0.5, 1))
    assert str(caught.value) == (
        "one, other have no clip in common, so they cannot be compared; evaluate them apart, or give them the same keys"
    )


def test_another_truth_is_refused() -> None:
    a, b = random(0.8, 1), random(0.8, 1)
    label = b.label.copy()
    label[[5, 7]] = (label[[5, 7]] + 1) % 3
    names = [a.names[x] for x in (a.label[5], label[5])]
    with pytest.raises(PredictionsError) as caught:
        run(one=a, other=replace(b, label=label))
    assert str(caught.value) == (
        f"clip clip 005 is {names[0]} for one and {names[1]} for other (2 clips differ); "
        "compare answers to the same truth"
    )


def test_speakers_are_those_of_who_knows_them() -> None:
    a, b = random(0.8, 1), random(0.6, 2)
    nameless, other = replace(a, speaker=("",) * CLIPS), replace(b, speaker=tuple(f"x:{s}" for s in b.speaker))
    assert run(a=nameless, b=b)["pairs"] == run(a=a, b=b)["pairs"]
    assert run(a=nameless, b=replace(b, speaker=("",) * CLIPS))["unit"] == "clip"
    assert run(a=a, b=other)["pairs"] == run(a=a, b=b)["pairs"]


# --- seeds


def seeded(*answers: Predictions) -> Predictions:
    every = range(len(answers))
    first = answers[0]
    return replace(
        first.take(np.tile(np.arange(CLIPS), len(answers))),
        probabilities=np.concatenate([each.probabilities for each in answers]),
        seed=tuple(str(i) for i in every for _ in range(CLIPS)),
    )


def test_systems_may_have_different_seeds_and_are_scored_over_all_of_theirs() -> None:
    one, two, three, other = (random(0.7, i) for i in range(4))
    found = difference(run(a=seeded(one, two, three), b=other))
    mean = np.mean([score(each)["accuracy"] for each in (one, two, three)])
    assert found["value"] == pytest.approx(mean - score(other)["accuracy"])


def test_more_seeds_of_the_same_answers_change_nothing() -> None:
    a, b = random(0.7, 1), random(0.5, 2)
    once, often = run(a=a, b=b), run(a=seeded(a, a, a), b=seeded(b, b))
    assert once["pairs"][0]["mcnemar"] == often["pairs"][0]["mcnemar"]
    assert [one["key"] for one in once["disagreements"]] == [one["key"] for one in often["disagreements"]]
    for name in ("accuracy", "uar", "macro_f1"):
        assert difference(once, name) == pytest.approx(difference(often, name))


def test_a_clip_counts_as_right_where_more_than_half_of_the_seeds_are() -> None:
    yes, no = np.ones(CLIPS, bool), np.zeros(CLIPS, bool)
    half, most = seeded(make(yes), make(no)), seeded(make(yes), make(yes), make(no))
    (pair,) = run(a=most, b=half)["pairs"]
    assert (pair["mcnemar"]["only_a"], pair["mcnemar"]["only_b"]) == (CLIPS, 0)


def test_a_clip_that_a_seed_lacks_is_left_out() -> None:
    answers = seeded(random(0.7, 1), random(0.7, 2))
    found = run(a=answers.take(np.arange(1, 2 * CLIPS)), b=random(0.5, 3))
    assert (found["clips"], found["left_out"]) == (CLIPS - 1, {"a": 1, "b": 1})


# --- disagreements


def test_clips_are_named_on_whose_truth_systems_spread_most() -> None:
    right = np.ones(CLIPS, bool)
    wrong = right.copy()
    wrong[[3, 4]] = False
    a, b = make(right), make(wrong, sure=0.9)
    doubt = b.probabilities.copy()
    doubt[4] = np.roll([0.36, 0.32, 0.32], int(b.predicted[4]))
    found = run(a=a, b=replace(b, probabilities=doubt))["disagreements"]
    assert [one["key"] for one in found] == ["clip 003", "clip 004"]
    name = "abc"[LABEL[3]]
    assert found[0] == {
        "key": "clip 003",
        "speaker": "3",
        "label": name,
        "answers": {
            "a": {"predicted": name, "probability": pytest.approx(0.8)},
            "b": {"predicted": "abc"[(LABEL[3] + 1) % 3], "probability": pytest.approx(0.05)},
        },
    }


def test_at_most_twenty_disagreements_are_named() -> None:
    found = run(a=make(np.ones(CLIPS, bool)), b=make(np.zeros(CLIPS, bool)))
    assert [one["key"] for one in found["disagreements"]] == [f"clip {i:03}" for i in range(20)]
