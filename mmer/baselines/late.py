"""Late fusion: answers of several systems become one, by a mean or by what is fitted on validation speakers alone."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from mmer.atomic import replacing
from mmer.baselines.members import Answers, Member, Place
from mmer.corpora.catalogue import describe_corpora
from mmer.corpora.manifest import listed, reading_order
from mmer.evaluation.predictions import Predictions, join
from mmer.evaluation.system import System

Method = Literal["average", "logistic", "forest"]
"""How probabilities are combined: their mean, logistic regression or a random forest."""

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Weight:
    """How much a member counted.

    Args:
        fold: In which fold.
        seed: With which seed.
        members: The members that were combined, for the clips that have just these.
        member: Which of them.
        weight: Its share, from 0 to 1: of the mean, of the size of the regression's weights, or of the forest's
            impurity decrease.
    """

    fold: str
    seed: str
    members: tuple[str, ...]
    member: str
    weight: float


@dataclass(frozen=True, slots=True)
class Combined:
    """Members as one system.

    Args:
        system: The system.
        weights: How much each member counted, wherever something was fitted.
    """

    system: System
    weights: Sequence[Weight]

    def shares(self) -> dict[str, float]:
        """Return the mean share of each member where all of them were combined."""
        most = max(len(each.members) for each in self.weights)
        found: dict[str, list[float]] = {}
        for each in self.weights:
            if len(each.members) == most:
                found.setdefault(each.member, []).append(each.weight)
        return {name: float(np.mean(shares)) for name, shares in found.items()}

    def write_weights(self, path: Path) -> None:
        """Write how much each member counted, fold by fold; the file appears whole or not at all."""
        with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(["seed", "fold", "members", "member", "weight"])
            writer.writerows(
                [each.seed, each.fold, "+".join(each.members), each.member, f"{each.weight:.4f}"]
                for each in self.weights
            )


def combine(members: Sequence[Member], method: Method, *, seed: int = 0, workers: int = 1) -> Combined:
    """Combine members that were aligned, fold by fold.

    A clip that some members have no answer for is combined by what was fitted on the others' answers alone; what is
    fitted never sees a test speaker.

    Args:
        members: The members.
        method: How.
        seed: Seed of the search and of forests.
        workers: How many processes search.
    """
    answers, weights, notes = list[Predictions](), list[Weight](), list[str]()
    for place in members[0].answers:
        found = _combine_fold(
            place, {each.name: each.answers[place] for each in members}, method, seed=seed, workers=workers
        )
        answers.append(found[0])
        weights += found[1]
        notes += found[2]
    return Combined(_system(members, method, join(answers), notes), weights)


def _combine_fold(
    place: Place, answers: Mapping[str, Answers], method: Method, *, seed: int, workers: int
) -> tuple[Predictions, list[Weight], list[str]]:
    """Return the combined answers of one fold, the weights, and what a human should know."""
    truth = _union([each.test for each in answers.values()])
    tested = {name: _by_key(each.test) for name, each in answers.items()}
    having = [tuple(name for name in answers if key in tested[name]) for key in truth.key]
    probabilities, weights, notes = np.zeros((len(truth), len(truth.names))), list[Weight](), list[str]()
    for subset, count in Counter(having).items():
        chosen = np.flatnonzero([each == subset for each in having])
        x = _stack(tested, subset, [truth.key[i] for i in chosen])
        probabilities[chosen], shares, note = _answer(answers, subset, method, x, seed, workers)
        weights += [Weight(place[1], place[0], subset, name, share) for name, share in shares.items()]
        where = f"fold {place[1] or 1}: {count} clips by {'+'.join(subset)}"
        notes += [f"{where}{note}"] if len(subset) < len(answers) or note else []
    return _with(truth, probabilities, place), weights, notes


def _answer(
    answers: Mapping[str, Answers],
    subset: tuple[str, ...],
    method: Method,
    x: Array,
    seed: int,
    workers: int,
) -> tuple[Array, dict[str, float], str]:
    """Return the probabilities of clips that some members answered for, each member's share, and what went amiss.

    Args:
        answers: What all members answered in the fold.
        subset: Those that answered for the clips.
        method: How to combine them.
        x: Their answers, [n m c].
        seed: Seed of the search and of forests.
        workers: How many processes search.
    """
    mean, equal = x.mean(axis=1), dict.fromkeys(subset, 1 / len(subset))
    if method == "average":
        return mean, equal, ""
    learned = {name: found for name in subset if (found := answers[name].validation) is not None}
    assert len(learned) == len(subset), "what is fitted is fitted on validation speakers"
    validated = {name: _by_key(found) for name, found in learned.items()}
    every = _union(list(learned.values()))
    known = every.where(np.array([all(key in validated[name] for name in subset) for key in every.key]))
    if len(set(known.label.tolist())) < 2:
        return mean, equal, ", by their mean: too few validation clips have all of them"
    from mmer.baselines.classifiers import fit_classifier

    classifier = fit_classifier(
        method,
        _flat(_stack(validated, subset, known.key)),
        known.label,
        known.speaker,
        classes=len(known.names),
        seed=seed,
        workers=workers,
    )
    assert classifier.importance is not None, "a regression and a forest say what counts"
    shares = classifier.importance.reshape(len(subset), -1).sum(axis=1)
    shares = shares / shares.sum() if shares.sum() > 0 else np.full(len(subset), 1 / len(subset))
    return classifier.answer(_flat(x)), dict(zip(subset, shares.tolist(), strict=True)), ""


def _stack(answers: Mapping[str, Mapping[str, Array]], subset: Sequence[str], keys: Sequence[str]) -> Array:
    """Return the answers of some members for some clips, [n m c]."""
    return np.array([[answers[name][key] for name in subset] for key in keys])


def _flat(x: Array) -> Array:
    """Return what a classifier reads of some answers, [n m*c] of [n m c]."""
    return x.reshape(len(x), -1)


def _by_key(answers: Predictions) -> dict[str, Array]:
    return dict(zip(answers.key, answers.probabilities, strict=True))


def _union(parts: Sequence[Predictions]) -> Predictions:
    """Return every clip of some answers once, in their order, as the first that has it says; its answer is nothing."""
    whole = join(parts)
    first = {key: i for i, key in reversed(list(enumerate(whole.key)))}
    return whole.take(np.array(sorted(first.values()), np.intp))


def _with(truth: Predictions, probabilities: Array, place: Place) -> Predictions:
    """Return answers with other probabilities, and where they were given."""
    seed, fold = place
    count = len(truth)
    return replace(
        truth,
        probabilities=probabilities,
        given=None,
        fold=(fold or "1",) * count,
        seed=(seed or "0",) * count,
    )


def _system(members: Sequence[Member], method: Method, test: Predictions, notes: Sequence[str]) -> System:
    """Return combined answers as a system, with what is known of it."""
    names = [each.name for each in members]
    folds = len(set(test.fold))
    learned = [each.validation for each in members[0].answers.values() if each.validation is not None]
    people = sorted({speaker for each in learned for speaker in each.speaker}, key=reading_order)
    how = "nothing was fitted" if method == "average" else f"fitted on the validation speakers, {listed(people)}"
    corpora = set(test.groups.get("corpus", ())) - {""}
    return System(
        f"late {method}",
        test,
        {
            "source": {"kind": "late", "path": " + ".join(names), "sha256": None, "epoch": None},
            "protocol": f"late fusion, {folds} folds" if folds > 1 else "late fusion",
            "part": "test",
            "corpus": describe_corpora(corpora) if corpora else None,
            "notes": [f"{method} of {', '.join(names)}; {how}", *dict.fromkeys(notes)],
        },
    )
