"""What a system answered for each clip of a test, whatever system it is."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mmer.corpora.manifest import Row, listed, speaker_name
from mmer.errors import PredictionsError
from mmer.evaluation.columns import Columns, read_columns, write_columns

GROUPS = ("corpus", "gender", "intensity", "statement")
"""Columns by which clips are told apart, beside their speaker: each value gets scores of its own."""

_RESERVED = ("key", "speaker", "fold", "seed", "label", "predicted", *GROUPS, "leaky")
_YES = {"yes": True, "true": True, "1": True, "no": False, "false": False, "0": False, "": False}
_NAMED = 5  # names that an error or a note gives
_ROUNDED = 1e-6  # a sum this far from 1 is a rounding of the last digit, and nothing is gained by mending it
_TOLERANCE = 1e-3  # of the sum of a line's probabilities


@dataclass(frozen=True, slots=True)
class Predictions:
    """Answers for N clips; a clip may be answered for once by each of several seeds.

    Args:
        names: The class names.
        key: The clips' keys.
        speaker: Their speakers; empty where nobody knows.
        label: Their true classes, [n].
        probabilities: The answers, [n c].
        given: The predicted classes, [n], where the system says them itself, as a support vector machine whose
            probabilities come afterwards; None takes the likeliest.
        fold: The fold in which each clip was tested; empty without folds.
        seed: The seed of the system that answered; empty where it does not matter.
        groups: By what else clips are told apart, a value a clip: ``GROUPS``, as far as they are known.
        leaky: Whether they come of a leaky split.
        notes: What there is to know of the file that they were read from.
    """

    names: tuple[str, ...]
    key: tuple[str, ...]
    speaker: tuple[str, ...]
    label: NDArray[np.int64]
    probabilities: NDArray[np.float64]
    given: NDArray[np.int64] | None = None
    fold: tuple[str, ...] = ()
    seed: tuple[str, ...] = ()
    groups: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    leaky: bool = False
    notes: tuple[str, ...] = ()

    @classmethod
    def read(cls, path: Path, names: Sequence[str] | None = None) -> Predictions:
        """Read a table as ``write`` makes it; see docs/metrics.md.

        Args:
            path: A ``.csv`` or ``.parquet`` file.
            names: The class names, in their order; None takes every column that can be one, in the file's order.

        Raises:
            PredictionsError: The table cannot be read, or what it says cannot be.
            ConfigError: Its format is unknown, or Parquet cannot be read here.
        """
        return _understand(read_columns(path), names)

    def __len__(self) -> int:
        return len(self.key)

    @property
    def predicted(self) -> NDArray[np.int64]:
        """The predicted classes, [n]."""
        likeliest: NDArray[np.int64] = self.probabilities.argmax(axis=1) if self.given is None else self.given
        return likeliest

    def where(self, keep: NDArray[np.bool_]) -> Predictions:
        """Return some of the clips."""
        return self.take(np.flatnonzero(keep))

    def take(self, chosen: NDArray[np.intp]) -> Predictions:
        """Return some of the clips, in this order."""
        return replace(
            self,
            key=_take(self.key, chosen),
            speaker=_take(self.speaker, chosen),
            label=self.label[chosen],
            probabilities=self.probabilities[chosen],
            given=None if self.given is None else self.given[chosen],
            fold=_take(self.fold, chosen),
            seed=_take(self.seed, chosen),
            groups={name: _take(values, chosen) for name, values in self.groups.items()},
        )

    def renamed(self, names: Sequence[str]) -> Predictions:
        """Return the same answers with the same classes in another order."""
        place = np.array([names.index(name) for name in self.names], np.int64)
        return replace(
            self,
            names=tuple(names),
            label=place[self.label],
            probabilities=self.probabilities[:, np.argsort(place)],
            given=None if self.given is None else place[self.given],
        )

    def write(self, path: Path) -> None:
        """Write a table of all that is known of each clip, with a probability column for each class name.

        Of a leaky split a last column ``leaky`` says ``yes`` of each. What is read again is equal to the last bit.

        Args:
            path: A ``.csv`` or ``.parquet`` file.

        Raises:
            ConfigError: Its format is unknown, or Parquet cannot be written here.
        """
        columns: dict[str, Sequence[str] | NDArray[np.float64]] = {"key": self.key, "speaker": self.speaker}
        columns |= {name: values for name, values in (("fold", self.fold), ("seed", self.seed)) if values}
        columns |= {name: tuple(self.names[i] for i in getattr(self, name)) for name in ("label", "predicted")}
        columns |= {name: self.probabilities[:, i] for i, name in enumerate(self.names)}
        write_columns(path, {**columns, **self.groups, **({"leaky": ("yes",) * len(self)} if self.leaky else {})})


def join(parts: Sequence[Predictions]) -> Predictions:
    """Return the answers of several parts as one, as of all folds and seeds; the seed is said where there are several.

    Args:
        parts: The answers, one or more, with the same classes.
    """
    columns = {name for part in parts for name in part.groups}
    seed = _chained(part.seed for part in parts)
    given = None
    if any(part.given is not None for part in parts):
        given = np.concatenate([part.predicted for part in parts])
    return replace(
        parts[0],
        key=_chained(part.key for part in parts),
        speaker=_chained(part.speaker for part in parts),
        label=np.concatenate([part.label for part in parts]),
        probabilities=np.concatenate([part.probabilities for part in parts]),
        given=given,
        fold=_chained(part.fold for part in parts),
        seed=seed if len(set(seed)) > 1 else (),
        groups={name: _chained(part.groups.get(name, ("",) * len(part)) for part in parts) for name in sorted(columns)},
        leaky=any(part.leaky for part in parts),
    )


def group_columns(rows: Iterable[Row]) -> dict[str, tuple[str, ...]]:
    """Return by what else some clips can be told apart, as far as their rows say it."""
    rows = list(rows)
    found = {"corpus": tuple(row.corpus for row in rows)}
    found |= {name: tuple(row.extra.get(name, "") for row in rows) for name in GROUPS if name != "corpus"}
    return {name: values for name, values in found.items() if any(values)}


def _chained(columns: Iterable[Sequence[str]]) -> tuple[str, ...]:
    return tuple(chain.from_iterable(columns))


def _take(values: tuple[str, ...], chosen: NDArray[np.intp]) -> tuple[str, ...]:
    return tuple(values[i] for i in chosen) if values else ()


def _understand(table: Columns, wanted: Sequence[str] | None) -> Predictions:
    """Make answers of a table, or say what keeps it from being one."""
    _check_header(table)
    names, notes = _class_names(table, wanted)
    label, predicted = _classes(table, "label", names), _classes(table, "predicted", names)
    assert label is not None, "the header was checked"
    probabilities = _probabilities(table, names)
    likeliest = probabilities.argmax(axis=1)
    groups = {name: tuple(table.values[name]) for name in GROUPS if any(table.values.get(name, ()))}
    predictions = Predictions(
        names,
        tuple(table.values["key"]),
        _speakers(table),
        label,
        probabilities,
        None if predicted is None or np.array_equal(predicted, likeliest) else predicted,
        tuple(table.values.get("fold", ())),
        tuple(table.values.get("seed", ())),
        groups,
        _leaky(table),
        tuple(notes),
    )
    _check_whole(table, "fold", predictions.fold)
    _check_whole(table, "seed", predictions.seed)
    _check_keys(table, predictions)
    _check_folds(table, predictions)
    return predictions


def _check_header(table: Columns) -> None:
    if missing := [name for name in ("key", "label") if name not in table.values]:
        found = ", ".join(list(table.values)[: 2 * _NAMED]) or "none"
        raise PredictionsError(
            f"{table.path} has no column {' and '.join(missing)} (its columns: {found}); it needs key, label and a "
            "column of probabilities for each class, separated by commas"
        )
    if not len(table):
        raise PredictionsError(f"{table.path} has a header and no clips; give a line for each clip")
    for name in ("key", "label"):
        _check_whole(table, name, table.values[name])


def _check_whole(table: Columns, name: str, values: Sequence[str]) -> None:
    if empty := [row for row, value in enumerate(values) if not value]:
        raise PredictionsError(f"{table.path}: {table.where(empty)} without a {name}; give one to every line")


def _class_names(table: Columns, wanted: Sequence[str] | None) -> tuple[tuple[str, ...], list[str]]:
    """Return the class names, and what is left out."""
    others = [name for name in table.values if name not in _RESERVED]
    if wanted is not None:
        if missing := [name for name in wanted if name not in others]:
            raise PredictionsError(
                f"{table.path} has no column for the labels {listed(missing, _NAMED)}; its columns: {', '.join(others)}"
            )
        names = tuple(wanted)
    else:
        labels = set(table.values["label"])
        names = tuple(name for name in others if name in labels or _shares(_numbers(table.values[name])).all())
    if not names:
        raise PredictionsError(f"{table.path} has no column of probabilities; give one for each class, named as it")
    rest = [name for name in others if name not in names]
    said = listed([name or "one without a name" for name in rest], _NAMED)
    notes = [f"columns of {table.path.name} that are no classes are left out: {said}"] if rest else []
    return names, notes


def _classes(table: Columns, column: str, names: Sequence[str]) -> NDArray[np.int64] | None:
    """Return the classes that a column names; None where it says nothing at all."""
    values = table.values.get(column, ())
    if not any(values):
        return None
    place = {name: i for i, name in enumerate(names)}
    found = np.array([place.get(value, -1) for value in values], np.int64)
    if wrong := [row for row, i in enumerate(found) if i < 0]:
        raise PredictionsError(
            f"{table.path}: {column} {values[wrong[0]]!r} ({table.where(wrong[:1])})"
            f"{f' and {len(wrong) - 1} more are' if wrong[1:] else ' is'} no class; the classes are "
            f"{', '.join(names)}: each needs a column of probabilities"
        )
    return found


def _probabilities(table: Columns, names: Sequence[str]) -> NDArray[np.float64]:
    columns = [_numbers(table.values[name]) for name in names]
    for name, values in zip(names, columns, strict=True):
        if wrong := np.flatnonzero(~_shares(values)).tolist():
            raise PredictionsError(
                f"{table.path}: {table.values[name][wrong[0]]!r} in column {name} is no probability "
                f"({table.where(wrong)}); give numbers from 0 to 1"
            )
    found = np.stack(columns, axis=1)
    total = found.sum(axis=1)
    if wrong := np.flatnonzero(np.abs(total - 1) > _TOLERANCE).tolist():
        raise PredictionsError(
            f"{table.path}: the probabilities of {', '.join(names)} add up to {total[wrong[0]]:.4g} instead of 1 "
            f"({table.where(wrong)}); mend them, or say with --labels which columns are classes"
        )
    return np.where(np.abs(total - 1) > _ROUNDED, 1 / total, 1.0)[:, None] * found


def _numbers(values: Sequence[str]) -> NDArray[np.float64]:
    """Return the numbers that a column holds, NaN where a cell is none."""
    try:
        return np.array(values, np.float64)
    except ValueError:
        return np.array([_number(value) for value in values])


def _number(value: str) -> float:
    try:
        return float(value)
    except ValueError:
        return float("nan")


def _shares(values: NDArray[np.float64]) -> NDArray[np.bool_]:
    return (values >= 0) & (values <= 1)


def _speakers(table: Columns) -> tuple[str, ...]:
    """Return the speakers in one spelling; speaker 3 of one corpus is somebody else than speaker 3 of another."""
    found = table.values.get("speaker") or [""] * len(table)
    corpora = table.values.get("corpus", ())
    if len(set(corpora)) < 2:
        corpora = [""] * len(table)
    people = list(zip(corpora, found, strict=True))
    spelled = {(corpus, name): _person(corpus, name) for corpus, name in set(people)}
    return tuple(spelled[person] for person in people)


def _person(corpus: str, name: str) -> str:
    """Return a speaker's name with that of the corpus before it, if there is one."""
    own = speaker_name(name.removeprefix(f"{corpus}:"))
    return f"{corpus}:{own}" if corpus and own else own


def _leaky(table: Columns) -> bool:
    values = {value.lower() for value in table.values.get("leaky", ())}
    if strange := values - set(_YES):
        raise PredictionsError(f"{table.path}: column leaky says {listed(strange, _NAMED)}; it may say yes or no")
    return any(_YES[value] for value in values)


def _check_keys(table: Columns, predictions: Predictions) -> None:
    """Refuse a clip with two lines for a seed, and one that is somebody else's, or another's label, elsewhere."""
    if len(set(predictions.key)) == len(predictions):
        return
    rows: dict[tuple[str, str], list[int]] = defaultdict(list)
    for row, (seed, key) in enumerate(_by_seed(predictions, predictions.key)):
        rows[seed, key].append(row)
    repeated = [(key, found) for (_, key), found in rows.items() if len(found) > 1]
    if repeated:
        key, found = repeated[0]
        raise PredictionsError(
            f"{table.path}: key {key} is on {table.where(found)}"
            f"{f', and {len(repeated) - 1} more keys are repeated' if repeated[1:] else ''}; give a clip one line, or "
            "one for each seed with a column seed"
        )
    for name, values in (("speaker", predictions.speaker), ("label", predictions.label.tolist())):
        first: dict[str, object] = {}
        differ = [
            key for key, value in zip(predictions.key, values, strict=True) if first.setdefault(key, value) != value
        ]
        if differ:
            raise PredictionsError(
                f"{table.path}: clips with another {name} for another seed: {listed(set(differ), _NAMED)}; mend them"
            )


def _check_folds(table: Columns, predictions: Predictions) -> None:
    """Refuse speakers in several folds: who is tested in one was learned from in the others."""
    if predictions.leaky or not predictions.fold:
        return
    folds: dict[tuple[str, str], set[str]] = defaultdict(set)
    for pair, fold in zip(_by_seed(predictions, predictions.speaker), predictions.fold, strict=True):
        folds[pair].add(fold)
    if shared := {speaker for (_, speaker), found in folds.items() if speaker and len(found) > 1}:
        raise PredictionsError(
            f"{table.path}: speakers in several folds: {listed(shared, _NAMED)}; whoever is tested in one fold was "
            "learned from in the others: deal folds by speaker, or add a column leaky that says yes"
        )


def _by_seed(predictions: Predictions, values: Sequence[str]) -> Iterator[tuple[str, str]]:
    return zip(predictions.seed or ("",) * len(predictions), values, strict=True)
