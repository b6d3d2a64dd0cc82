"""Fits that must find what was put in, and thresholds that can be counted by hand."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import softmax

from mmer.calibration import Calibration
from mmer.errors import ConfigError
from mmer.evaluation.calibrate import choose_threshold, correct, fit_calibration, hold_out
from mmer.evaluation.predictions import Predictions


def answers(probabilities: np.ndarray, label: np.ndarray, speaker: tuple[str, ...] = ()) -> Predictions:
    count = len(label)
    names = tuple(f"class{i}" for i in range(probabilities.shape[1]))
    speaker = speaker or tuple(str(i % 3) for i in range(count))
    return Predictions(names, tuple(f"clip{i}" for i in range(count)), speaker, label.astype(np.int64), probabilities)


def drawn(count: int, classes: int = 4) -> tuple[np.ndarray, np.ndarray]:
    """Return logits, and labels drawn by the very probabilities that these stand for."""
    logits = np.random.default_rng(0).normal(0, 2, (count, classes))
    return logits, draw_labels(softmax(logits, axis=1))


def draw_labels(probabilities: np.ndarray) -> np.ndarray:
    return (probabilities.cumsum(axis=1) < np.random.default_rng(1).random((len(probabilities), 1))).sum(axis=1)


def log_loss(predictions: Predictions) -> float:
    return float(-np.log(predictions.probabilities[np.arange(len(predictions)), predictions.label]).mean())


@pytest.mark.parametrize("temperature", [0.4, 1.0, 2.5])
def test_a_known_temperature_is_found(temperature: float) -> None:
    logits, label = drawn(20_000)
    fitted = fit_calibration(answers(softmax(logits * temperature, axis=1), label))
    assert fitted.method == "temperature"
    assert 1 / fitted.scale[0] == pytest.approx(temperature, rel=0.03)
    assert (fitted.bias, fitted.speakers, fitted.clips) == ((), ["0", "1", "2"], 20_000)


def test_known_scales_and_biases_are_found() -> None:
    scale, bias = (1.0, 0.5, 1.5, 0.8), (0.5, -0.5, 0.2, -0.2)
    given = softmax(drawn(50_000)[0], axis=1)
    fitted = fit_calibration(answers(given, draw_labels(Calibration("vector", scale, bias).apply(given))), "vector")
    np.testing.assert_allclose(fitted.scale, scale, rtol=0.06)
    np.testing.assert_allclose(fitted.bias, bias, atol=0.06)


def test_honest_answers_are_left_alone() -> None:
    logits, label = drawn(50_000)
    fitted = fit_calibration(answers(softmax(logits, axis=1), label), "vector")
    np.testing.assert_allclose(fitted.scale, 1, atol=0.05)
    np.testing.assert_allclose(fitted.bias, 0, atol=0.05)


@pytest.mark.parametrize("method", ["temperature", "vector"])
def test_answers_that_are_all_right_stay_finite(method: str) -> None:
    label = np.arange(30) % 3
    fitted = fit_calibration(answers(softmax(3.0 * np.eye(3)[label], axis=1), label), method)
    assert 1 < max(fitted.scale) < 20
    assert np.isfinite(fitted.scale).all() and np.isfinite(fitted.bias).all()


@pytest.mark.parametrize("method", ["temperature", "vector"])
def test_answers_that_are_all_wrong_stay_positive(method: str) -> None:
    label = np.arange(30) % 3
    fitted = fit_calibration(answers(softmax(3.0 * np.eye(3)[(label + 1) % 3], axis=1), label), method)
    assert 0 < min(fitted.scale) < 0.2
    assert fitted.scale != (1.0,)


def test_a_class_without_clips_becomes_rarer_and_stays_possible() -> None:
    logits, label = drawn(300)
    keep = label != 2
    given = answers(softmax(logits[keep], axis=1), label[keep])
    fitted = fit_calibration(given, "vector")
    share = correct(given, fitted).probabilities[:, 2]
    assert -10 < fitted.bias[2] < -1
    assert 0 < share.mean() < given.probabilities[:, 2].mean() / 5


@pytest.mark.parametrize("method", ["temperature", "vector"])
def test_a_fit_never_makes_its_own_clips_worse(method: str) -> None:
    for seed in range(20):
        rng = np.random.default_rng(seed)
        given = answers(softmax(rng.normal(0, 4, (25, 3)), axis=1), rng.integers(0, 3, 25))
        fitted = fit_calibration(given, method)
        assert log_loss(correct(given, fitted)) <= log_loss(given) + 1e-9


def test_a_fit_is_the_same_each_time() -> None:
    logits, label = drawn(100)
    given = answers(softmax(logits, axis=1), label)
    assert fit_calibration(given, "vector", 0.5) == fit_calibration(given, "vector", 0.5)


def test_no_clips_are_refused() -> None:
    with pytest.raises(ConfigError, match="a calibration needs clips and there is none"):
        fit_calibration(answers(np.zeros((0, 3)), np.zeros(0)))


# --- speakers held out


def test_a_held_out_speaker_is_corrected_by_the_others_alone() -> None:
    logits, label = drawn(300)
    given = answers(softmax(2 * logits, axis=1), label)
    held_out = hold_out(given, "temperature")
    assert held_out is not None
    mine = np.array(given.speaker) == "1"
    fitted = fit_calibration(given.where(~mine))
    np.testing.assert_allclose(held_out.probabilities[mine], fitted.apply(given.probabilities[mine]))
    assert log_loss(correct(given, fit_calibration(given))) < log_loss(held_out) < log_loss(given)


def test_a_single_speaker_cannot_be_held_out() -> None:
    logits, label = drawn(30)
    assert hold_out(answers(softmax(logits, axis=1), label, ("anna",) * 30), "temperature") is None


# --- abstention


def sure(confidence: list[float], right: list[bool]) -> Predictions:
    """Return answers of two classes, as sure as is said, and right where it is said."""
    first = np.array(confidence)
    return answers(np.stack([first, 1 - first], axis=1), np.where(right, 0, 1))


def test_the_threshold_withholds_as_few_as_it_can() -> None:
    confidence = [0.99 - 0.02 * i for i in range(20)]
    right = [True] * 10 + [False, True, True, True, True] + [False] * 5
    threshold, coverage = choose_threshold(sure(confidence, right), 0.9)
    assert coverage == 15 / 20  # 14 of 15 are right; after 11 clips it is 10 of 11, and after 16 it is 14 of 16
    assert threshold == pytest.approx((confidence[14] + confidence[15]) / 2)


def test_a_precision_that_all_answers_have_withholds_nothing() -> None:
    assert choose_threshold(sure([0.9 - 0.01 * i for i in range(12)], [True] * 12), 0.9) == (0.0, 1.0)


def test_answers_that_are_as_sure_are_given_or_withheld_together() -> None:
    """The first ten are right, but the tenth is as sure as the next three, which are wrong."""
    given = sure([0.9] * 9 + [0.8] * 4 + [0.7] * 7, [True] * 10 + [False] * 10)
    threshold, coverage = choose_threshold(given, 0.76)
    assert (threshold, coverage) == (pytest.approx(0.75), 13 / 20)
    with pytest.raises(ConfigError, match=r"the best is 0\.769, of 13 clips"):
        choose_threshold(given, 0.9)


def test_a_precision_that_cannot_be_had_is_refused_with_the_best() -> None:
    given = sure([0.99 - 0.02 * i for i in range(20)], [True] * 9 + [False] * 11)
    with pytest.raises(
        ConfigError, match=r"a precision of 0\.95 is never reached on these 20 clips; the best is 0\.900, of 10 clips"
    ):
        choose_threshold(given, 0.95)


def test_a_few_lucky_clips_promise_nothing() -> None:
    with pytest.raises(ConfigError, match="a precision needs at least 10 clips and there are 9"):
        choose_threshold(sure([0.9] * 9, [True] * 9), 0.5)


def test_a_fit_for_a_precision_keeps_its_threshold_on_its_own_clips() -> None:
    logits, label = drawn(500)
    given = answers(softmax(3 * logits, axis=1), label)
    fitted = fit_calibration(given, "temperature", 0.8)
    corrected = correct(given, fitted)
    answered = corrected.probabilities.max(axis=1) >= fitted.threshold
    right = corrected.predicted == corrected.label
    assert fitted.precision == 0.8
    assert answered.mean() == fitted.coverage
    assert right[answered].mean() >= 0.8 > right.mean()
