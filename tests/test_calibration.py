from __future__ import annotations

import numpy as np
import pytest

from mmer.calibration import Calibration, calibrated, log_probabilities
from mmer.config import from_plain, to_plain
from mmer.errors import CheckpointError, ConfigError

LOGITS = np.random.default_rng(0).normal(0, 2, (50, 4))


def softmax(logits: np.ndarray) -> np.ndarray:
    exponents = np.exp(logits)
    return exponents / exponents.sum(axis=1, keepdims=True)


def test_a_scale_of_one_changes_nothing() -> None:
    given = softmax(LOGITS)
    np.testing.assert_allclose(Calibration("temperature", (1.0,)).apply(given), given, rtol=1e-12)
    np.testing.assert_allclose(Calibration("vector", (1.0,) * 4, (0.0,) * 4).apply(given), given, rtol=1e-12)
    assert calibrated(given, None) is given


def test_a_temperature_divides_the_logits_and_keeps_the_answer() -> None:
    found = Calibration("temperature", (0.5,)).apply(softmax(LOGITS))
    np.testing.assert_allclose(found, softmax(LOGITS / 2), rtol=1e-10)
    assert (found.argmax(axis=1) == LOGITS.argmax(axis=1)).all()


def test_a_vector_scales_and_moves_each_class() -> None:
    scale, bias = (1.0, 0.5, 2.0, 1.5), (0.0, 1.0, -1.0, 0.3)
    found = calibrated(softmax(LOGITS), Calibration("vector", scale, bias))
    # the logarithms of probabilities are the logits but for a constant, which unequal scales do not forgive
    np.testing.assert_allclose(found, softmax(np.log(softmax(LOGITS)) * scale + bias), rtol=1e-10)


def test_certainty_stays_finite() -> None:
    for scale in (0.1, 1.0, 50.0):
        found = Calibration("temperature", (scale,)).apply(np.array([[1.0, 0.0, 0.0], [0.5, 0.5, 0.0]]))
        assert np.isfinite(found).all()
        np.testing.assert_allclose(found.sum(axis=1), 1)
        assert found[0].argmax() == 0
    assert np.isfinite(log_probabilities(np.zeros((1, 2)))).all()


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"scale": ()}, r"calibration\.scale=\[\] must hold positive numbers"),
        ({"scale": (0.0,)}, r"calibration\.scale=\[0\.0\] must hold positive numbers"),
        ({"scale": (float("nan"),)}, r"calibration\.scale=\[nan\] must hold positive numbers"),
        ({"scale": (1.0, 1.0)}, "2 scales and 0 biases; temperature is one scale without a bias"),
        ({"scale": (1.0,), "bias": (1.0,)}, "1 scales and 1 biases"),
        ({"method": "vector", "scale": (1.0, 1.0)}, "2 scales and 0 biases"),
        ({"method": "vector", "scale": (1.0, 1.0), "bias": (0.0, float("inf"))}, "must hold finite numbers"),
        ({"scale": (1.0,), "clips": -1}, "clips=-1 must not be negative"),
        ({"scale": (1.0,), "threshold": 1.5}, r"calibration\.threshold=1\.5 must lie in \[0, 1\]"),
        ({"scale": (1.0,), "precision": -0.5}, r"calibration\.precision=-0\.5 must lie in \[0, 1\]"),
        ({"scale": (1.0,), "coverage": 2.0}, r"calibration\.coverage=2\.0 must lie in \[0, 1\]"),
    ],
)
def test_what_corrects_nothing_is_refused(settings: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        Calibration(**{"method": "temperature", **settings})


def test_it_is_plain_data_and_comes_back() -> None:
    given = Calibration("vector", (1.0, 2.0), (0.1, -0.1), ["3", "4"], 40, 0.5, 0.8, 0.75)
    assert from_plain(Calibration, to_plain(given)) == given
    with pytest.raises(CheckpointError, match=r"the stored Calibration is not valid: calibration\.scale"):
        from_plain(Calibration, {**to_plain(given), "scale": [0.0, 1.0]})
