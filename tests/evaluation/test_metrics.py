"""Scores, against scikit-learn and torchmetrics."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sklearn import metrics as reference
from torchmetrics.classification import MulticlassAccuracy, MulticlassF1Score
from torchmetrics.functional.classification import multiclass_auroc, multiclass_calibration_error

from mmer.evaluation.metrics import (
    EVERY_SCORE,
    SCORES,
    accuracy,
    confusion_matrix,
    count_answers,
    f1,
    macro_f1,
    precision,
    recall,
    reliability,
    score,
    score_classes,
    uar,
)
from mmer.evaluation.predictions import Predictions
from mmer.evaluation.ranking import areas

Probabilities = NDArray[np.float64]
EXACT = 1e-9


def cases(count: int = 1000) -> Iterator[Predictions]:
    """Yield random answers: few or many, classes that never occur or are never predicted, ties, answers given apart."""
    rng = np.random.default_rng(0)
    for _ in range(count):
        classes, clips = int(rng.integers(1, 10)), int(rng.integers(1, 60))
        label = rng.choice(classes, clips, p=rng.dirichlet(np.full(classes, 0.5))).astype(np.int64)
        surer = np.eye(classes)[label] * rng.random()
        match rng.integers(4):
            case 0:
                probabilities = rng.dirichlet(np.full(classes, 0.5), clips) + surer
            case 1:
                probabilities = rng.multinomial(4, np.full(classes, 1 / classes), clips) + 4 * (surer > 0.5)
            case 2:
                probabilities = np.eye(classes)[np.where(rng.random(clips) < 0.5, label, rng.integers(classes))]
            case _:
                probabilities = np.full((clips, classes), 1.0)
        probabilities = probabilities / probabilities.sum(axis=1, keepdims=True)
        given = rng.integers(classes, size=clips) if rng.random() < 0.3 else None
        yield make(label, probabilities, given)


def make(label: Sequence[int] | NDArray[np.int64], probabilities: Probabilities, given: object = None) -> Predictions:
    clips, classes = probabilities.shape
    return Predictions(
        tuple("abcdefghi"[:classes]),
        tuple(f"clip {i}" for i in range(clips)),
        ("",) * clips,
        np.array(label),
        probabilities,
        None if given is None else np.array(given),
    )


CASES = list(cases())
QUICK = CASES[:150]
SINGLE = [x for x in CASES[150:] if len(x) == 1]

some_and_more = pytest.mark.parametrize(
    "chosen", [CASES[:40], pytest.param(CASES[40:150] + SINGLE, marks=pytest.mark.slow)], ids=["some", "more"]
)


def test_the_cases_hold_whatever_happens() -> None:
    def times(what: Sequence[bool]) -> int:
        return sum(what)

    assert times([len(set(x.label)) < len(x.names) for x in QUICK]) > 40
    assert times([len(set(x.label)) == 1 for x in QUICK]) > 15
    assert times([len(x) == 1 for x in CASES]) > 5
    assert times([bool(set(x.predicted) - set(x.label)) for x in QUICK]) > 30
    assert times([x.given is not None and (x.given != x.probabilities.argmax(axis=1)).any() for x in QUICK]) > 20
    assert times([len(set(x.probabilities.ravel())) < x.probabilities.size / 2 for x in QUICK]) > 60


def expect(x: Predictions) -> dict[str, float]:
    """Return the scores as scikit-learn has them."""
    names, truth = range(len(x.names)), np.eye(len(x.names))[x.label]
    several = len(x.names) > 1
    auroc = [reference.roc_auc_score(truth[:, i], x.probabilities[:, i]) for i in names if 0 < truth[:, i].mean() < 1]
    areas = [reference.average_precision_score(truth[:, i], x.probabilities[:, i]) for i in names if truth[:, i].any()]
    return {
        "accuracy": reference.accuracy_score(x.label, x.predicted),
        "uar": reference.balanced_accuracy_score(x.label, x.predicted),
        "macro_f1": reference.f1_score(x.label, x.predicted, average="macro", zero_division=0),
        "weighted_f1": reference.f1_score(x.label, x.predicted, average="weighted", zero_division=0),
        "top2": reference.top_k_accuracy_score(x.label, x.probabilities, k=2, labels=names) if len(names) > 2 else 1.0,
        "auroc": np.mean(auroc) if auroc else np.nan,
        "average_precision": np.mean(areas),
        "ece": expected_calibration_error(x),
        "brier": ((x.probabilities - truth) ** 2).sum(axis=1).mean(),
        "log_loss": reference.log_loss(x.label, x.probabilities, labels=names) if several else 0.0,
    }


def expected_calibration_error(x: Predictions) -> float:
    """Return it as its paper says it, bin by bin."""
    sure = np.array([x.probabilities[i, p] for i, p in enumerate(x.predicted)])
    right = x.predicted == x.label
    total = 0.0
    for i in range(15):
        inside = (sure <= (i + 1) / 15) & ((sure > i / 15) | (i == 0))
        if inside.any():
            total += inside.mean() * abs(right[inside].mean() - sure[inside].mean())
    return total


@pytest.mark.filterwarnings("ignore:y_pred contains classes not in y_true:UserWarning")
@pytest.mark.filterwarnings("ignore:A single label was found:UserWarning")
@some_and_more
def test_scores_are_scikit_learn_s(chosen: list[Predictions]) -> None:
    for x in chosen:
        found, names = score(x), range(len(x.names))
        assert list(found) == list(EVERY_SCORE)
        for name, value in expect(x).items():
            assert found[name] == pytest.approx(value, abs=EXACT, nan_ok=True), name
        counts = count_answers(x)
        np.testing.assert_array_equal(counts, reference.confusion_matrix(x.label, x.predicted, labels=names))
        p, r, f, n = reference.precision_recall_fscore_support(x.label, x.predicted, labels=names, zero_division=0)
        np.testing.assert_allclose([precision(counts), recall(counts), f1(counts)], [p, r, f], rtol=0, atol=EXACT)
        assert [one["support"] for one in score_classes(x).values()] == n.tolist()


@some_and_more
def test_areas_of_a_class_and_of_all_pairs_are_scikit_learn_s(chosen: list[Predictions]) -> None:
    for x in chosen:
        truth = np.eye(len(x.names))[x.label]
        for i in (*range(len(x.names)), None):
            of, by = (truth, x.probabilities) if i is None else (truth[:, i], x.probabilities[:, i])
            auroc, average_precision = areas(x, i)
            if 0 < of.mean() < 1:
                assert auroc == pytest.approx(reference.roc_auc_score(of.ravel(), by.ravel()), abs=EXACT)
            else:
                assert np.isnan(auroc)
            if of.any():
                expected = reference.average_precision_score(of.ravel(), by.ravel())
                assert average_precision == pytest.approx(expected, abs=EXACT)
            else:
                assert np.isnan(average_precision)


def test_brier_is_scikit_learn_s() -> None:
    for x in (case for case in QUICK if len(case.names) > 1):
        expected = (
            reference.brier_score_loss(
                x.label, x.probabilities, labels=range(len(x.names)), scale_by_half=False, pos_label=None
            )
            if len(x.names) > 2
            else 2 * reference.brier_score_loss(x.label, x.probabilities[:, 1], pos_label=1)
        )
        assert score(x)["brier"] == pytest.approx(expected, abs=EXACT)


def test_scores_are_torchmetrics_where_it_means_the_same() -> None:
    """It also counts a class as missed that was predicted and never occurs; so only where every class occurs."""
    complete = [x for x in CASES if len(x.names) > 1 and len(set(x.label)) == len(x.names)]
    assert len(complete) > 100
    for x in complete[:100]:
        classes, pair = len(x.names), (torch.tensor(x.predicted), torch.tensor(x.label))
        found = score(x)
        assert found["accuracy"] == pytest.approx(MulticlassAccuracy(classes, average="micro")(*pair).item())
        assert found["uar"] == pytest.approx(MulticlassAccuracy(classes, average="macro")(*pair).item())
        assert found["macro_f1"] == pytest.approx(MulticlassF1Score(classes, average="macro")(*pair).item())
        pair = (torch.tensor(x.probabilities), torch.tensor(x.label))
        assert found["auroc"] == pytest.approx(multiclass_auroc(*pair, num_classes=classes).item(), abs=1e-6)


def test_ece_is_torchmetrics_within_the_bins() -> None:
    """On an edge it takes the next bin."""
    rng = np.random.default_rng(0)
    for _ in range(50):
        x = make(rng.integers(4, size=40), rng.dirichlet(np.full(4, 0.5), 40))
        pair = (torch.tensor(x.probabilities), torch.tensor(x.label))
        expected = multiclass_calibration_error(*pair, num_classes=4, n_bins=15, norm="l1").item()
        assert score(x)["ece"] == pytest.approx(expected, abs=1e-6)


def test_scores_of_a_case_worked_out_by_hand() -> None:
    x = make([0, 0, 1, 2], np.array([[0.6, 0.3, 0.1], [0.2, 0.5, 0.3], [0.1, 0.8, 0.1], [0.5, 0.2, 0.3]]))
    found = score(x)
    assert found["accuracy"] == 0.5  # right, wrong, right, wrong
    assert found["uar"] == 0.5  # (1/2 + 1 + 0) / 3
    assert found["top2"] == 0.75  # the second clip's class is its third
    assert found["brier"] == pytest.approx((0.26 + 0.98 + 0.06 + 0.78) / 4)
    assert found["log_loss"] == pytest.approx(-np.log([0.6, 0.2, 0.8, 0.3]).mean())
    assert found["ece"] == pytest.approx((abs(0.6 - 1) + abs(0.5 + 0.5 - 0) + abs(0.8 - 1)) / 4)
    assert found["auroc"] == pytest.approx((0.75 + 1 + 5 / 6) / 3)


def test_many_matrices_are_scored_at_once_as_each_alone() -> None:
    stack = np.random.default_rng(0).integers(0, 5, (20, 4, 4))
    for each in (*SCORES.values(), precision, recall, f1):
        np.testing.assert_allclose(each(stack), np.stack([each(one) for one in stack]), rtol=0, atol=EXACT)


def test_no_clips_score_zero_and_warn_nobody() -> None:
    with warnings.catch_warnings(action="error"):
        assert [float(each(np.zeros((3, 3)))) for each in SCORES.values()] == [0, 0, 0]


def test_a_confusion_matrix_has_the_truth_in_its_rows() -> None:
    counts = confusion_matrix(np.array([0, 0, 1]), np.array([1, 1, 0]), 3)
    assert counts.tolist() == [[0, 2, 0], [1, 0, 0], [0, 0, 0]]
    assert (float(accuracy(counts)), float(uar(counts)), float(macro_f1(counts))) == (0, 0, 0)


def test_a_bin_of_the_reliability_holds_its_upper_edge_and_says_nothing_when_empty() -> None:
    sure = np.array([0.6, 0.61, 0.66, 1.0])
    x = make([0, 0, 1, 0], np.stack([sure, 1 - sure], axis=1))
    bins = reliability(x)
    assert len(bins) == 15
    assert [one["n"] for one in bins] == [0] * 8 + [1, 2] + [0] * 4 + [1]
    assert (bins[8]["confidence"], bins[8]["accuracy"]) == (0.6, 1)
    assert (bins[9]["confidence"], bins[9]["accuracy"]) == (pytest.approx(0.635), 0.5)
    assert np.isnan([bins[0]["confidence"], bins[0]["accuracy"]]).all()


def test_a_system_is_as_sure_as_of_what_it_says() -> None:
    x = make([0, 1], np.array([[0.8, 0.2], [0.7, 0.3]]), given=[0, 1])
    assert score(x)["accuracy"] == 1
    assert score(x)["ece"] == pytest.approx((0.2 + 0.7) / 2)


def test_a_class_without_clips_has_no_area() -> None:
    classes = score_classes(make([0, 1, 0], np.array([[0.6, 0.3, 0.1], [0.2, 0.5, 0.3], [0.1, 0.1, 0.8]])))
    assert list(classes) == ["a", "b", "c"]
    assert (classes["a"]["auroc"], classes["a"]["support"], classes["a"]["predicted"]) == (0.5, 2, 1)
    assert np.isnan([classes["c"]["auroc"], classes["c"]["average_precision"]]).all()
    assert (classes["c"]["precision"], classes["c"]["support"], classes["c"]["predicted"]) == (0, 0, 1)
