"""Intervals, against what they must be: a proportion's, a mean's, and scores of clips that are repeated for real."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import binom

from mmer.evaluation import intervals, ranking
from mmer.evaluation.intervals import Interval, Units, bootstrap, draw, percentiles
from mmer.evaluation.metrics import EVERY_SCORE, Tally, score
from mmer.evaluation.predictions import Predictions


def make(right: NDArray[np.bool_], speakers: NDArray[np.int64], classes: int = 2) -> Predictions:
    """Make answers that are right or wrong, with labels in turn."""
    label = np.arange(len(right)) % classes
    predicted = np.where(right, label, (label + 1) % classes)
    probabilities = np.full((len(right), classes), 0.1 / (classes - 1))
    probabilities[np.arange(len(right)), predicted] = 0.9
    names = tuple("abcdefgh"[:classes])
    keys = tuple(f"clip {i:04}" for i in range(len(right)))
    return Predictions(names, keys, tuple(f"{s:03}" for s in speakers), label.astype(np.int64), probabilities)


def draw_answers(speakers: int, clips: int, share: float = 0.7, classes: int = 4) -> Predictions:
    right = np.random.default_rng(1).random(speakers * clips) < share
    return make(right, np.arange(speakers).repeat(clips), classes)


def find(predictions: Predictions, *, resamples: int = 2000, seed: int = 0) -> dict[str, Interval]:
    found = bootstrap(predictions, Units.of(predictions), resamples=resamples, seed=seed)
    assert list(found) == list(EVERY_SCORE)
    return {name: interval for name, interval in found.items() if interval is not None}


# --- closed forms


@pytest.mark.parametrize(("right", "clips"), [(70, 100), (180, 200), (10, 20)])
def test_over_clips_accuracy_has_the_quantiles_of_the_binomial_distribution(right: int, clips: int) -> None:
    """A resample of n clips, each right with probability k / n, has Binomial(n, k / n) right ones."""
    interval = find(make(np.arange(clips) < right, np.zeros(clips, np.int64)), resamples=10_000)["accuracy"]
    expected = binom.ppf([0.025, 0.975], clips, right / clips) / clips
    assert [interval.low, interval.high] == pytest.approx(expected, abs=1.01 / clips)


def test_over_speakers_who_are_all_right_or_all_wrong_the_binomial_is_that_of_speakers() -> None:
    speakers, clips = 20, 15
    interval = find(make(np.arange(speakers * clips) < 14 * clips, np.arange(speakers).repeat(clips)))["accuracy"]
    low, high = binom.ppf([0.025, 0.975], 20, 0.7) / 20
    assert (low, high) == (0.5, 0.9)
    assert [interval.low, interval.high] == pytest.approx([low, high], abs=0.051)


def test_a_mean_over_clips_has_the_normal_interval_of_the_mean() -> None:
    """Of speakers with as many clips each, it is that of the mean of their means, with the variance over n."""
    speakers, clips = 100, 6
    rng = np.random.default_rng(5)
    sure = np.clip(rng.normal(0.6, 0.1, speakers).repeat(clips) + rng.normal(0, 0.05, speakers * clips), 0.01, 0.99)
    answers = replace(
        make(np.ones(speakers * clips, bool), np.arange(speakers).repeat(clips)),
        label=np.zeros(speakers * clips, np.int64),
        probabilities=np.stack([sure, 1 - sure], axis=1),
    )
    found = find(answers, resamples=10_000)
    for name, each in (("log_loss", -np.log(sure)), ("brier", 2 * (1 - sure) ** 2)):
        means = each.reshape(speakers, clips).mean(axis=1)
        half = 1.96 * means.std() / np.sqrt(speakers)
        assert found[name].low == pytest.approx(means.mean() - half, abs=0.1 * half)
        assert found[name].high == pytest.approx(means.mean() + half, abs=0.1 * half)


@pytest.mark.parametrize("few", [0, 1000], ids=["running sums", "matrices"])
@pytest.mark.parametrize("given", [False, True])
def test_a_resample_is_scored_as_its_clips_repeated(few: int, given: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranking, "_FEW", few)
    rng = np.random.default_rng(6)
    answers = replace(
        make(np.ones(40, bool), rng.integers(6, size=40), 4),
        label=rng.integers(3, size=40),
        probabilities=rng.multinomial(5, [0.25] * 4, 40) / 5,
        given=rng.integers(4, size=40) if given else None,
    )
    units = Units.of(answers)
    weights = next(draw(units.count, 40, resamples=30, seed=0))
    found = Tally(answers, units.index, units.count).scores(weights)
    for row, weight in enumerate(weights):
        again = answers.take(np.repeat(np.arange(40), weight.astype(int)[units.index]))
        for name, value in score(again).items():
            assert found[name][row] == pytest.approx(value, abs=1e-12, nan_ok=True), name


# --- what an interval is


@pytest.mark.parametrize(("speakers", "clips"), [(4, 60), (24, 12), (1, 100)])
def test_an_interval_holds_the_score_itself(speakers: int, clips: int) -> None:
    predictions = draw_answers(speakers, clips)
    scores, found = score(predictions), find(predictions)
    for name in EVERY_SCORE:
        assert found[name].low < scores[name] < found[name].high, name


def test_a_perfect_classifier_has_no_interval_to_speak_of() -> None:
    found = find(draw_answers(6, 12, share=1.1))
    for name in ("accuracy", "uar", "macro_f1", "weighted_f1", "top2", "auroc", "average_precision"):
        assert (found[name].low, found[name].high) == (1, 1)


def test_more_clips_of_the_same_speakers_say_nothing_new() -> None:
    right = np.random.default_rng(2).random(40) < 0.7
    once = find(make(right, np.arange(40)))
    often = find(make(right.repeat(8), np.arange(40).repeat(8)))
    assert once["accuracy"] == often["accuracy"]


def test_an_interval_over_speakers_is_wider_where_clips_of_one_resemble_each_other() -> None:
    right = np.arange(10).repeat(30) % 2 == 0  # every speaker is all right or all wrong
    speakers = find(make(right, np.arange(10).repeat(30)))["accuracy"]
    clips = find(make(right, np.arange(300)))["accuracy"]
    assert speakers.high - speakers.low > 3 * (clips.high - clips.low)


def test_a_single_speaker_s_clips_are_drawn_instead() -> None:
    right = np.random.default_rng(3).random(50) < 0.7
    one, each = make(right, np.zeros(50, np.int64)), make(right, np.arange(50))
    assert find(one) == find(each)
    assert [Units.of(x).kind for x in (one, each)] == ["clip", "speaker"]


def test_a_clip_of_nobody_knows_whom_is_drawn_alone() -> None:
    right = np.random.default_rng(4).random(60) < 0.7
    known = make(right, np.arange(60) // 20)
    some = replace(known, speaker=tuple(name if i < 40 else "" for i, name in enumerate(known.speaker)))
    assert (Units.of(some).count, Units.of(some).kind) == (22, "speaker")
    nobody = replace(known, speaker=("",) * 60)
    assert (Units.of(nobody).count, Units.of(nobody).kind) == (60, "clip")


def test_the_answers_of_several_seeds_about_a_clip_are_drawn_together() -> None:
    right = np.random.default_rng(3).random(50) < 0.7
    once = make(right, np.zeros(50, np.int64))
    twice = replace(once.take(np.tile(np.arange(50), 2)), seed=("0",) * 50 + ("1",) * 50)
    assert Units.of(twice).count == 50
    assert find(twice)["accuracy"] == find(once)["accuracy"]


def test_a_single_clip_has_no_interval() -> None:
    assert find(make(np.array([True]), np.array([0]))) == {}


def test_a_score_that_no_resample_has_has_no_interval_and_one_that_some_lack_has() -> None:
    answers = make(np.ones(6, bool), np.arange(6))
    assert "auroc" not in find(replace(answers, label=np.zeros(6, np.int64)))
    assert find(replace(answers, label=np.array([0, 0, 0, 0, 0, 1])))["auroc"].low < 1


def test_percentiles_leave_out_what_is_missing() -> None:
    values = np.append(np.arange(1001) / 1000, np.nan)
    interval = percentiles(values)
    assert interval is not None
    assert [interval.low, interval.high] == pytest.approx([0.025, 0.975])
    assert percentiles(np.array([np.nan])) is None


# --- draws


def test_as_many_units_are_drawn_as_there_are_each_as_often_as_another() -> None:
    (weights,) = draw(5, 1, resamples=4000, seed=0)
    assert weights.shape == (4000, 5)
    assert (weights.sum(axis=1) == 5).all()
    np.testing.assert_allclose(weights.mean(axis=0), 1, atol=0.05)
    np.testing.assert_allclose(weights.var(axis=0), 4 / 5, atol=0.08)  # of Binomial(5, 1/5)


def test_many_clips_are_drawn_in_shares_that_add_up(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = find(draw_answers(20, 10))
    monkeypatch.setattr(intervals, "_NUMBERS", 3333)
    assert len(list(draw(20, 200, resamples=2000, seed=0))) == 125
    assert find(draw_answers(20, 10)) == whole


def test_an_interval_is_decided_by_its_seed_and_not_by_the_order_of_the_clips() -> None:
    predictions = draw_answers(10, 10)
    assert find(predictions) == find(predictions, seed=0)
    assert find(predictions) != find(predictions, seed=1)
    turned = find(predictions.take(np.arange(100)[::-1]))
    for name, interval in find(predictions).items():
        assert [turned[name].low, turned[name].high] == pytest.approx([interval.low, interval.high])
