import numpy as np
import pytest

from mmer.baselines.classifiers import fit_classifier
from mmer.errors import ConfigError

CLASSES = 4  # of which the last never occurs


def clouds(per_class: int = 8) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Return vectors of three classes by four speakers; only the first two numbers say the class."""
    rng, label = np.random.default_rng(0), np.repeat([0, 1, 2], per_class)
    x = rng.normal(0, 1, (len(label), 6))
    x[:, :2] += 3 * np.array([[0, 0], [2, 0], [0, 2]])[label]
    return x, label, [f"{i % 4}" for i in range(len(label))]


@pytest.mark.parametrize("kind", ["svm", "forest", "logistic"])
def test_a_classifier_learns_and_answers_with_probabilities(kind: str) -> None:
    x, label, people = clouds()
    found = fit_classifier(kind, x, label, people, classes=CLASSES)
    answers = found.answer(x)
    np.testing.assert_allclose(answers.sum(axis=1), 1)
    assert (answers[:, 3] == 0).all()
    assert (answers.argmax(axis=1) == label).mean() > 0.9
    assert found.score is not None
    assert found.score > 0.8
    assert found.chosen


@pytest.mark.parametrize("kind", ["forest", "logistic"])
def test_what_says_the_class_counts_most(kind: str) -> None:
    found = fit_classifier(kind, *clouds(), classes=CLASSES)
    assert found.importance is not None
    assert set(np.argsort(-found.importance)[:2].tolist()) == {0, 1}


def test_the_same_seed_answers_the_same() -> None:
    x, label, people = clouds()
    answers = [fit_classifier("forest", x, label, people, classes=CLASSES, seed=3).answer(x) for _ in range(2)]
    np.testing.assert_array_equal(*answers)


def test_what_is_missing_counts_as_the_mean_of_those_who_have_it() -> None:
    x, label, people = clouds()
    x[::5, 3:] = np.nan
    found = fit_classifier("logistic", x, label, people, classes=CLASSES)
    filled = np.where(np.isnan(x), np.nanmean(x, axis=0), x)
    np.testing.assert_allclose(found.answer(x), found.answer(filled))


def test_settings_are_chosen_on_held_out_speakers() -> None:
    """Each speaker has an offset that gives him away: who is held out is not helped by it."""
    rng, people = np.random.default_rng(0), np.repeat(np.arange(6), 12)
    label = rng.integers(0, 3, len(people))
    x = np.concatenate([20 * np.eye(6)[people], 0.3 * rng.normal(0, 1, (len(people), 4))], axis=1)
    found = fit_classifier("logistic", x, label, [str(each) for each in people], classes=3)
    assert found.score is not None
    assert found.score < 0.5


def test_one_speaker_is_not_searched() -> None:
    x, label, _ = clouds()
    found = fit_classifier("logistic", x, label, ["1"] * len(label), classes=3)
    assert (found.score, found.chosen) == (None, {})
    with pytest.raises(ConfigError, match="wants at least two speakers to learn from, and every class of two of them"):
        fit_classifier("svm", x, label, ["1"] * len(label), classes=3)
