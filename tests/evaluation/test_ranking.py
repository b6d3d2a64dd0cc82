"""Curves and areas, against scikit-learn and against a plain count."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn import metrics as reference
from torchmetrics.functional.classification import binary_precision_recall_curve, binary_roc

from mmer.evaluation import ranking
from mmer.evaluation.predictions import Predictions
from mmer.evaluation.ranking import Ranking, areas, pr_curve, roc_curve


def make(clips: int = 60, classes: int = 4, seed: int = 0) -> Predictions:
    """Make answers with many ties."""
    rng = np.random.default_rng(seed)
    probabilities = rng.multinomial(8, np.full(classes, 1 / classes), clips) / 8
    keys = tuple(str(i) for i in range(clips))
    return Predictions(tuple("abcdef"[:classes]), keys, keys, rng.integers(classes, size=clips), probabilities)


@pytest.mark.parametrize("index", [0, 3, None])
def test_curves_enclose_scikit_learn_s_areas(index: int | None) -> None:
    predictions = make()
    auroc, precise = areas(predictions, index)
    false, true = roc_curve(predictions, index)
    assert (false[0], true[0], false[-1], true[-1]) == (0, 0, 1, 1)
    assert np.trapezoid(true, false) == pytest.approx(auroc, abs=1e-12)
    recall, precision = pr_curve(predictions, index)
    assert (recall[0], recall[-1], precision[-1]) == (1, 0, 1)
    assert -np.sum(np.diff(recall) * precision[:-1]) == pytest.approx(precise, abs=1e-12)


def test_curves_go_through_scikit_learn_s_points() -> None:
    predictions = make()
    of, by = predictions.label == 1, predictions.probabilities[:, 1]
    expected = reference.roc_curve(of, by, drop_intermediate=False)[:2]
    np.testing.assert_allclose(roc_curve(predictions, 1), expected, atol=1e-12)
    precision, recall, _ = reference.precision_recall_curve(of, by)
    np.testing.assert_allclose(pr_curve(predictions, 1), (recall, precision), atol=1e-12)


def test_curves_go_through_torchmetrics_points() -> None:
    predictions = make()
    of, by = torch.tensor(predictions.label == 1).long(), torch.tensor(predictions.probabilities[:, 1])
    np.testing.assert_allclose(roc_curve(predictions, 1), torch.stack(binary_roc(by, of)[:2]), atol=1e-6)
    precision, recall, _ = binary_precision_recall_curve(by, of)
    np.testing.assert_allclose(pr_curve(predictions, 1), torch.stack([recall, precision]), atol=1e-6)


def test_a_class_without_clips_has_no_curve() -> None:
    predictions = make()
    nobody = predictions.where(predictions.label != 2)
    assert [len(x) for x in (*roc_curve(nobody, 2), *pr_curve(nobody, 2))] == [0, 0, 0, 0]
    only = predictions.where(predictions.label == 2)
    assert [len(x) for x in roc_curve(only, 2)] == [0, 0]
    assert set(pr_curve(only, 2)[1]) == {1}


@pytest.mark.parametrize("few", [0, 1000], ids=["running sums", "matrices"])
def test_weighed_areas_are_those_of_repeated_clips(few: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranking, "_FEW", few)
    rng = np.random.default_rng(1)
    score, positive, unit = rng.integers(6, size=50) / 5, rng.random(50) < 0.3, rng.integers(7, size=50)
    weight = rng.integers(0, 3, (40, 7))
    auroc, precise = Ranking(score, positive, unit, 7).areas(weight.astype(float))
    for row, w in enumerate(weight):
        again = np.repeat(np.arange(50), w[unit])
        assert auroc[row] == pytest.approx(reference.roc_auc_score(positive[again], score[again]), abs=1e-12)
        expected = reference.average_precision_score(positive[again], score[again])
        assert precise[row] == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("few", [0, 1000], ids=["running sums", "matrices"])
def test_a_resample_without_the_class_or_without_others_has_no_area(few: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranking, "_FEW", few)
    found = Ranking(np.array([0.9, 0.1]), np.array([True, False]), np.array([0, 1]), 2)
    auroc, precise = found.areas(np.array([[1.0, 1.0], [2.0, 0.0], [0.0, 2.0]]))
    np.testing.assert_array_equal(auroc, [1, np.nan, np.nan])
    np.testing.assert_array_equal(precise, [1, 1, np.nan])
