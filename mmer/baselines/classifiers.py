"""Classifiers of vectors: their grids are searched among the speakers that they learn from, and nobody else's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import RandomForestClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import make_scorer
from sklearn.model_selection import GridSearchCV, GroupKFold
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from mmer.errors import ConfigError

Kind = Literal["svm", "forest", "logistic"]
"""Which classifier."""

_FOLDS = 4  # of the search, at most
_TREES = 300
_CLASSIFIER = "classifier"  # its step in a pipeline

Array = NDArray[np.float64]

_GRIDS: Mapping[Kind, list[dict[str, list[Any]]]] = {
    "svm": [
        {"kernel": ["linear"], "C": [0.001, 0.01, 0.1, 1.0]},
        {"kernel": ["rbf"], "C": [1.0, 10.0, 100.0], "gamma": [0.0003, 0.001, 0.003, 0.01]},
    ],
    "forest": [{"max_features": ["sqrt", 0.2], "min_samples_leaf": [1, 3]}],
    "logistic": [{"C": [0.0001, 0.001, 0.01, 0.1, 1.0]}],
}


@dataclass(frozen=True, slots=True)
class Classifier:
    """A fitted classifier.

    Args:
        model: What answers.
        classes: How many classes there are; those that it has never seen get no probability.
        chosen: The settings that the search chose.
        score: Their UAR in the search, None where nothing was searched.
        importance: How much each number counts, [d]: the mean size of a regression's weights, or the decrease of
            impurity in a forest; None of a support vector machine.
    """

    model: Any
    classes: int
    chosen: Mapping[str, Any]
    score: float | None
    importance: Array | None = None

    def answer(self, x: Array) -> Array:
        """Return the probabilities of some vectors, [n c]."""
        found = np.zeros((len(x), self.classes))
        if len(x):
            found[:, self.model.classes_] = self.model.predict_proba(x)
        return np.asarray(found / found.sum(axis=1, keepdims=True))


def fit_classifier(
    kind: Kind,
    x: Array,
    y: NDArray[np.int64],
    groups: Sequence[str],
    *,
    classes: int,
    seed: int = 0,
    workers: int = 1,
) -> Classifier:
    """Fit a classifier of standardised vectors; what is missing counts as the mean of those who have it.

    The settings with the best UAR on held-out speakers are chosen, speakers dealt to at most four folds. A support
    vector machine's answers become probabilities by a sigmoid for each class (Platt 1999), fitted on those held-out
    speakers too. Classes weigh the same, however many clips they have.

    Args:
        kind: Which classifier.
        x: The vectors, [n d]; NaN is missing.
        y: Their classes, [n].
        groups: Who is in each clip; clips of one speaker are never on both sides of the search.
        classes: How many classes there are.
        seed: Seed of how speakers are dealt, and of forests.
        workers: How many processes search.

    Raises:
        ConfigError: A support vector machine has too few speakers to learn from.
    """
    pipeline = Pipeline(
        [
            ("impute", SimpleImputer(keep_empty_features=True)),
            ("standardise", StandardScaler()),
            (_CLASSIFIER, _build(kind, seed)),
        ]
    )
    folds = _deal(x, y, groups, seed)
    if not folds:
        best, chosen, score = pipeline.fit(x, y), dict[str, Any](), None
    else:
        grid = [{f"{_CLASSIFIER}__{name}": values for name, values in each.items()} for each in _GRIDS[kind]]
        search = GridSearchCV(pipeline, grid, scoring=make_scorer(_uar), cv=folds, n_jobs=workers).fit(x, y)
        best, score = search.best_estimator_, float(search.best_score_)
        chosen = {name.removeprefix(f"{_CLASSIFIER}__"): value for name, value in search.best_params_.items()}
    return Classifier(
        _with_probabilities(best, x, y, folds) if kind == "svm" else best,
        classes,
        chosen,
        score,
        _importance(kind, best[_CLASSIFIER]),
    )


def _build(kind: Kind, seed: int) -> Any:
    """Return an unfitted classifier; its settings are those that stand where nothing can be searched."""
    match kind:
        case "svm":
            return SVC(class_weight="balanced")
        case "forest":
            return RandomForestClassifier(_TREES, class_weight="balanced", random_state=seed)
        case "logistic":
            return LogisticRegression(C=0.01, class_weight="balanced", max_iter=5_000)


def _deal(x: Array, y: NDArray[np.int64], groups: Sequence[str], seed: int) -> list[Any]:
    """Deal the clips to folds by speaker, as (learned from, held out).

    None where that cannot be: of a single speaker, or where some fold would leave a class without a clip to learn.
    """
    count = min(_FOLDS, len(set(groups)))
    if count < 2:
        return []
    folds = list(GroupKFold(count, shuffle=True, random_state=seed).split(x, y, groups))
    every = len(np.unique(y))
    return folds if all(len(np.unique(y[learned])) == every for learned, _ in folds) else []


def _uar(y: NDArray[np.int64], predicted: NDArray[np.int64]) -> float:
    """Return the unweighted average recall of the classes that occur; scikit-learn's warns where one does not."""
    return float(np.mean([(predicted[y == each] == each).mean() for each in np.unique(y)]))


def _with_probabilities(machine: Pipeline, x: Array, y: NDArray[np.int64], folds: list[Any]) -> Any:
    """Return a support vector machine whose answers are probabilities."""
    if not folds:
        raise ConfigError(
            "a support vector machine wants at least two speakers to learn from, and every class of two of them: its "
            "probabilities are fitted on held-out ones; choose forest or logistic"
        )
    return CalibratedClassifierCV(machine, method="sigmoid", cv=folds, ensemble=False).fit(x, y)


def _importance(kind: Kind, fitted: Any) -> Array | None:
    """Return how much each number counts."""
    match kind:
        case "svm":
            return None
        case "forest":
            return np.asarray(fitted.feature_importances_)
        case "logistic":
            return np.asarray(np.abs(fitted.coef_).mean(axis=0))
