"""Scores, against scikit-learn and torchmetrics; intervals, against what they must be."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sklearn import metrics as reference
from torchmetrics.classification import MulticlassAccuracy, MulticlassF1Score

from mmer.evaluation.metrics import (
    SCORES,
    accuracy,
    bootstrap,
    confusion_matrix,
    f1,
    macro_f1,
    precision,
    recall,
    summarise,
    uar,
)
from mmer.evaluation.predictions import Predictions

Labels = NDArray[np.int64]
EXACT = 1e-9


def cases(count: int = 320) -> Iterator[tuple[Labels, Labels, int]]:
    """Yield random true and predicted classes: few or many, balanced or not, with classes that never occur."""
    rng = np.random.default_rng(0)
    for _ in range(count):
        classes, clips = int(rng.integers(1, 10)), int(rng.integers(1, 60))
        label, guess = (rng.choice(classes, clips, p=rng.dirichlet(np.full(classes, 0.5))) for _ in range(2))
        predicted = np.where(rng.random(clips) < rng.random(), label, guess)
        yield label.astype(np.int64), predicted.astype(np.int64), classes


CASES = list(cases())


def test_the_cases_hold_empty_classes_single_classes_and_single_clips() -> None:
    assert sum(len(set(label)) < classes for label, _, classes in CASES) > 50
    assert sum(len(set(label)) == 1 for label, _, _ in CASES) > 20
    assert sum(bool(set(predicted) - set(label)) for label, predicted, _ in CASES) > 50
    assert sum(len(label) == 1 for label, _, _ in CASES) > 1


@pytest.mark.filterwarnings("ignore:y_pred contains classes not in y_true:UserWarning")
@pytest.mark.filterwarnings("ignore:A single label was found:UserWarning")
def test_scores_are_scikit_learn_s() -> None:
    for label, predicted, classes in CASES:
        found = confusion_matrix(label, predicted, classes)
        names = range(classes)
        np.testing.assert_array_equal(found, reference.confusion_matrix(label, predicted, labels=names))
        p, r, f, _ = reference.precision_recall_fscore_support(label, predicted, labels=names, zero_division=0)
        pairs = (
            (accuracy(found), reference.accuracy_score(label, predicted)),
            (uar(found), reference.balanced_accuracy_score(label, predicted)),
            (macro_f1(found), reference.f1_score(label, predicted, average="macro", zero_division=0)),
            (precision(found), p),
            (recall(found), r),
            (f1(found), f),
        )
        for ours, theirs in pairs:
            np.testing.assert_allclose(ours, theirs, rtol=0, atol=EXACT)


def test_scores_are_torchmetrics_where_it_means_the_same() -> None:
    """It also counts a class as missed that was predicted and never occurs; so only where every class occurs."""
    complete = [case for case in CASES if case[2] > 1 and len(set(case[0])) == case[2]]
    assert len(complete) > 50
    for label, predicted, classes in complete:
        found, pair = confusion_matrix(label, predicted, classes), (torch.tensor(predicted), torch.tensor(label))
        assert float(accuracy(found)) == pytest.approx(MulticlassAccuracy(classes, average="micro")(*pair).item())
        assert float(uar(found)) == pytest.approx(MulticlassAccuracy(classes, average="macro")(*pair).item())
        assert float(macro_f1(found)) == pytest.approx(MulticlassF1Score(classes, average="macro")(*pair).item())


def test_many_matrices_are_scored_at_once_as_each_alone() -> None:
    stack = np.random.default_rng(0).integers(0, 5, (20, 4, 4))
    for score in (*SCORES.values(), precision, recall, f1):
        np.testing.assert_allclose(score(stack), np.stack([score(one) for one in stack]), rtol=0, atol=EXACT)


def test_no_clips_score_zero_and_warn_nobody() -> None:
    with warnings.catch_warnings(action="error"):
        assert [float(score(np.zeros((3, 3)))) for score in SCORES.values()] == [0, 0, 0]


# --- intervals


def make(right: NDArray[np.bool_], speakers: NDArray[np.int64], classes: int = 2) -> Predictions:
    """Make answers that are right or wrong, with labels in turn."""
    label = np.arange(len(right)) % classes
    predicted = np.where(right, label, (label + 1) % classes)
    probabilities = np.full((len(right), classes), 0.1)
    probabilities[np.arange(len(right)), predicted] = 0.9
    names = tuple("abcdefgh"[:classes])
    keys = tuple(f"clip {i}" for i in range(len(right)))
    return Predictions(names, keys, tuple(f"{s:03}" for s in speakers), label.astype(np.int64), probabilities)


def draw(speakers: int, clips: int, share: float = 0.7, classes: int = 4) -> Predictions:
    right = np.random.default_rng(1).random(speakers * clips) < share
    return make(right, np.arange(speakers).repeat(clips), classes)


@pytest.mark.parametrize(("speakers", "clips"), [(4, 60), (24, 10), (1, 100)])
def test_an_interval_holds_the_score_itself(speakers: int, clips: int) -> None:
    predictions = draw(speakers, clips)
    scores, intervals = summarise(predictions), bootstrap(predictions)
    for name in SCORES:
        assert intervals[name].low < scores[name] < intervals[name].high
        assert scores["interval"][name] == [intervals[name].low, intervals[name].high]


def test_a_perfect_classifier_has_no_interval_to_speak_of() -> None:
    for interval in bootstrap(draw(6, 12, share=1.1)).values():
        assert (interval.low, interval.high) == (1, 1)


@pytest.mark.parametrize("share", [0.5, 0.9])
def test_with_one_clip_a_speaker_the_interval_is_that_of_a_proportion(share: float) -> None:
    clips = 500
    right = np.arange(clips) < share * clips
    interval = bootstrap(make(right, np.arange(clips)))["accuracy"]
    half = 1.96 * np.sqrt(share * (1 - share) / clips)
    assert interval.low == pytest.approx(share - half, abs=0.005)
    assert interval.high == pytest.approx(share + half, abs=0.005)


def test_more_clips_of_the_same_speakers_say_nothing_new() -> None:
    right = np.random.default_rng(2).random(40) < 0.7
    once = bootstrap(make(right, np.arange(40)))
    often = bootstrap(make(right.repeat(8), np.arange(40).repeat(8)))
    assert once["accuracy"] == often["accuracy"]


def test_an_interval_over_speakers_is_wider_where_clips_of_one_resemble_each_other() -> None:
    right = np.arange(10).repeat(30) % 2 == 0  # every speaker is all right or all wrong
    speakers = bootstrap(make(right, np.arange(10).repeat(30)))["accuracy"]
    clips = bootstrap(make(right, np.arange(300)))["accuracy"]
    assert speakers.high - speakers.low > 3 * (clips.high - clips.low)


def test_a_single_speaker_s_clips_are_drawn_instead() -> None:
    right = np.random.default_rng(3).random(50) < 0.7
    assert bootstrap(make(right, np.zeros(50, np.int64))) == bootstrap(make(right, np.arange(50)))
    assert summarise(make(right, np.zeros(50, np.int64)))["interval"]["unit"] == "clip"
    assert summarise(make(right, np.arange(50) % 2))["interval"]["unit"] == "speaker"


def test_a_clip_of_nobody_knows_whom_is_drawn_alone() -> None:
    right = np.random.default_rng(4).random(60) < 0.7
    known = make(right, np.arange(60) // 20)
    some = replace(known, speaker=tuple(name if i < 20 else "" for i, name in enumerate(known.speaker)))
    alone = replace(known, speaker=tuple(name if i < 20 else f"nobody {i}" for i, name in enumerate(known.speaker)))
    assert bootstrap(some)["accuracy"].low == pytest.approx(bootstrap(alone)["accuracy"].low, abs=0.03)
    assert bootstrap(some) != bootstrap(replace(some, speaker=tuple(name or "one" for name in some.speaker)))


def test_many_clips_are_drawn_in_shares_that_add_up(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = bootstrap(draw(20, 10))
    monkeypatch.setattr("mmer.evaluation.metrics._DRAWS", 333)
    assert bootstrap(draw(20, 10)) == whole


def test_an_interval_is_decided_by_its_seed() -> None:
    predictions = draw(10, 10)
    assert bootstrap(predictions) == bootstrap(predictions, seed=0)
    assert bootstrap(predictions) != bootstrap(predictions, seed=1)


def test_a_summary_is_plain_data_in_the_order_of_the_classes() -> None:
    predictions = make(np.array([True, True, False, True]), np.arange(4), classes=3)  # labels 0 1 2 0, answers 0 1 0 0
    summary = summarise(predictions)
    assert (summary["n"], summary["accuracy"], summary["uar"]) == (4, 0.75, pytest.approx(2 / 3))
    assert summary["confusion"] == [[2, 0, 0], [0, 1, 0], [1, 0, 0]]
    assert list(summary["per_class"]) == ["a", "b", "c"]
    assert summary["per_class"]["a"] == {
        "precision": pytest.approx(2 / 3),
        "recall": 1.0,
        "f1": pytest.approx(0.8),
        "support": 2,
    }
    assert summary["per_class"]["c"] == {"precision": 0.0, "recall": 0.0, "f1": 0.0, "support": 1}
