"""Clips with their vectors, dealt as a protocol says, and the answers about them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmer.baselines.classifiers import Classifier, Kind, fit_classifier
from mmer.baselines.inputs import Table
from mmer.corpora.catalogue import describe_corpora
from mmer.corpora.folds import DealtFold
from mmer.corpora.manifest import Row, listed, reading_order
from mmer.corpora.splits import Split
from mmer.data.dataset import labelled_rows
from mmer.data.store import PreparedCorpus
from mmer.emotions import LabelSet
from mmer.errors import SplitError
from mmer.evaluation.predictions import Predictions, group_columns, join
from mmer.evaluation.system import System

Index = NDArray[np.intp]


@dataclass(frozen=True)
class Clips:
    """The clips that have something to learn from, with a vector each.

    Args:
        corpus: The prepared folder.
        labels: The classes.
        rows: The clips.
        table: Their vectors.
    """

    corpus: PreparedCorpus
    labels: LabelSet
    rows: tuple[Row, ...]
    table: Table

    @classmethod
    def of(cls, corpus: PreparedCorpus, labels: LabelSet, rows: Sequence[Row], table: Table) -> Clips:
        """Return the clips that have at least one of the inputs."""
        there = np.flatnonzero(np.isfinite(table.values).any(axis=1)).tolist()
        kept = Table(table.names, table.values[there], table.inputs)
        return cls(corpus, labels, tuple(rows[i] for i in there), kept)

    @cached_property
    def label(self) -> NDArray[np.int64]:
        """The classes of the clips, [n]."""
        classes = [self.labels.index(row.label or "") for row in self.rows]
        return np.array([0 if each is None else each for each in classes], np.int64)

    def among(self, rows: Iterable[Row]) -> Index:
        """Return the places of those of some rows that are here."""
        return np.array([self._place[row.key] for row in rows if row.key in self._place], np.intp)

    @cached_property
    def _place(self) -> Mapping[str, int]:
        return {row.key: i for i, row in enumerate(self.rows)}

    def people(self, index: Index, split: Split) -> list[str]:
        """Return who is in some clips; a clip of nobody known stands for itself."""
        return [split.speaker(self.rows[i]) or f"clip {self.rows[i].key}" for i in index]

    def answers(self, index: Index, probabilities: NDArray[np.float64], fold: DealtFold, seed: int) -> Predictions:
        """Return answers about some clips."""
        rows = [self.rows[i] for i in index]
        return Predictions(
            self.labels.names,
            tuple(row.key for row in rows),
            tuple(fold.split.speaker(row) or "" for row in rows),
            self.label[index],
            probabilities,
            fold=(str(fold.number),) * len(rows),
            seed=(str(seed),) * len(rows),
            groups=group_columns(rows),
            leaky=bool(fold.split.leaks),
        )


@dataclass(frozen=True, slots=True)
class Answered:
    """What a baseline did in one fold, with one seed.

    Args:
        fold: The fold.
        seed: The seed.
        test: Its answers about the test speakers.
        validation: Its answers about the validation speakers, None where the fold has none.
        learned: The clips that it learned from.
        said: What a human should know, a sentence each.
    """

    fold: DealtFold
    seed: int
    test: Predictions
    validation: Predictions | None
    learned: Index
    said: tuple[str, ...]


def usable(corpus: PreparedCorpus, labels: LabelSet) -> list[Row]:
    """Return the clips of a folder that have one of the classes.

    Raises:
        ConfigError: A clip has no label, or one that the label set knows nothing of.
        SplitError: There is none.
    """
    rows = labelled_rows(corpus.rows, labels)
    if not rows:
        raise SplitError(f"{corpus.root} holds no clip with a label of {labels.name}")
    return rows


def fit(kind: Kind, clips: Clips, index: Index, split: Split, columns: slice, seed: int, workers: int) -> Classifier:
    """Fit a classifier of some clips on some of their numbers.

    Raises:
        SplitError: There is no clip, or all are of one class.
    """
    check_learnable(clips, index, split)
    return fit_classifier(
        kind,
        clips.table.values[index, columns],
        clips.label[index],
        clips.people(index, split),
        classes=len(clips.labels.names),
        seed=seed,
        workers=workers,
    )


def check_learnable(clips: Clips, index: Index, split: Split) -> None:
    """Refuse clips that nothing can be learned from.

    Raises:
        SplitError: There is no clip, or all are of one class.
    """
    if len(np.unique(clips.label[index])) < 2:
        raise SplitError(
            f"{split.protocol}: there are {len(index)} clips to learn from, and a classifier wants two classes; "
            "choose another protocol, or other inputs"
        )


def say_choice(what: str, classifier: Classifier) -> str:
    """Say which settings a search chose, in words."""
    if classifier.score is None:
        return f"{what}: nothing was searched, for there are too few speakers"
    chosen = ", ".join(f"{name}={value}" for name, value in sorted(classifier.chosen.items()))
    return f"{what}: {chosen} (UAR {classifier.score:.3f} in the search)"


def make_system(name: str, clips: Clips, answered: Sequence[Answered], protocol: str, notes: Sequence[str]) -> System:
    """Return a baseline as one system: every clip tested once for each seed."""
    test = join([each.test for each in answered])
    folds = {each.fold.number: each.fold for each in answered}
    splits = [fold.split for fold in folds.values()]
    tested = [row for fold in folds.values() for row in fold.parts["test"]]
    scored = {row.key for row in tested} & set(test.key)
    said = (sentence for each in answered for sentence in each.said)
    return System(
        name,
        test,
        {
            "source": {"kind": "baseline", "path": str(clips.corpus.root), "sha256": None, "epoch": None},
            "protocol": f"{protocol}, {len(folds)} folds" if len(folds) > 1 else splits[0].protocol,
            "part": "test",
            "seeds": list(dict.fromkeys(each.seed for each in answered)),
            "speakers": {
                "train": None,
                "validation": None,
                "scored": sorted(set(test.speaker) - {""}, key=reading_order),
            },
            "trained_with": {package: version(package) for package in ("scikit-learn", "librosa", "numpy")},
            "corpus": {
                **describe_corpora({row.corpus for row in tested}),
                "root": str(clips.corpus.root),
                "left_out": list(_left_out(clips, tested, scored)),
            },
            "leaks": list(dict.fromkeys(leak for split in splits for leak in split.leaks)),
            "notes": list(
                dict.fromkeys((*notes, *said, *(note for split in splits for note in split.notes), *_lacking(clips)))
            ),
        },
    )


def write_validation(answered: Sequence[Answered], path: Path) -> None:
    """Write the answers about validation speakers, which ``mmer late`` learns from; none removes an earlier table."""
    found = [each.validation for each in answered if each.validation is not None and len(each.validation)]
    if found:
        join(found).write(path)
    else:
        path.unlink(missing_ok=True)


def say_fold(answered: DealtFold, learned: str) -> str:
    """Say who was tested in a fold, and who was learned from."""
    return f"fold {answered.number}: {listed(answered.split.test) or 'nobody known'} tested; {learned}"


def _left_out(clips: Clips, tested: Sequence[Row], scored: set[str]) -> Iterator[dict[str, Any]]:
    """Count the clips of the test parts that are not scored, by reason."""
    rest = [row for row in tested if row.key not in scored]
    other = sum(clips.labels.index(row.label or "") is None for row in rest)
    reasons = {
        f"with a label that {clips.labels.name} leaves out": other,
        f"without {' and '.join(clips.table.inputs)}": len(rest) - other,
    }
    yield from ({"reason": reason, "clips": count} for reason, count in reasons.items() if count)


def _lacking(clips: Clips) -> Iterator[str]:
    """Say how many clips lack an input."""
    for name in clips.table.inputs:
        if lacking := int((~clips.table.has(name)).sum()):
            yield f"{lacking} of {len(clips.rows)} clips have no {name}: the mean of the training clips stands for it"
