"""Systems to combine: what each answered about validation and test speakers, and that all were dealt the same."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mmer.corpora.manifest import listed, reading_order
from mmer.errors import PredictionsError, SplitError
from mmer.evaluation.predictions import Predictions

VALIDATION, TEST = "validation.csv", "predictions.csv"
"""The tables that a folder of answers holds."""

Place = tuple[str, str]
"""A seed and a fold, as tables name them."""

_NAMED = 5  # names that an error gives


@dataclass(frozen=True, slots=True)
class Answers:
    """What a system answered in one fold, with one seed.

    Args:
        validation: About the validation speakers; None where nothing is fitted.
        test: About the test speakers.
    """

    validation: Predictions | None
    test: Predictions

    def renamed(self, names: Sequence[str]) -> Answers:
        """Return the same answers with the classes in another order."""
        validation = None if self.validation is None else self.validation.renamed(names)
        return Answers(validation, self.test.renamed(names))


@dataclass(frozen=True, slots=True)
class Member:
    """A system to combine with others.

    Args:
        name: What the report calls it.
        answers: What it answered, by seed and fold.
    """

    name: str
    answers: Mapping[Place, Answers]

    @property
    def classes(self) -> tuple[str, ...]:
        """Its classes."""
        return next(iter(self.answers.values())).test.names


def read_folder(name: str, folder: Path, *, fitted: bool) -> Member:
    """Read a folder with ``predictions.csv`` and ``validation.csv``, as ``mmer baseline`` writes it.

    Args:
        name: What the report calls it.
        folder: The folder.
        fitted: Whether something is fitted on the validation speakers' answers; they are not read otherwise.

    Raises:
        PredictionsError: A table is missing or wrong, or they have not the same folds.
    """
    if missing := [table for table in ((TEST, VALIDATION) if fitted else (TEST,)) if not (folder / table).is_file()]:
        raise PredictionsError(
            f"{folder} has no {' and no '.join(missing)}; give a checkpoint, a folder of mmer crossval, or one of mmer "
            f"baseline with validation speakers: {TEST} holds the test's answers, {VALIDATION} those to learn from"
        )
    test = Predictions.read(folder / TEST)
    tested = _places(test)
    if not fitted:
        return Member(name, {place: Answers(None, answers) for place, answers in tested.items()})
    validated = _places(Predictions.read(folder / VALIDATION, test.names))
    if set(tested) != set(validated):
        raise PredictionsError(
            f"{folder}: {TEST} has the folds {_say(tested)} and {VALIDATION} {_say(validated)}; both must have the same"
        )
    return Member(name, {place: Answers(validated[place], tested[place]) for place in tested})


def align(members: Sequence[Member]) -> list[Member]:
    """Return members with one order of classes and one way of naming seeds and folds.

    A member of one seed stands beside each seed of the others; a member of one fold is that fold, whatever its number.

    Raises:
        PredictionsError: Their classes, folds, seeds, speakers or labels differ.
        SplitError: Somebody who is to be tested would be learned from.
    """
    first, *_ = members
    for each in members:
        if set(each.classes) != set(first.classes):
            raise PredictionsError(
                f"{first.name} has the classes {', '.join(first.classes)} and {each.name} {', '.join(each.classes)}; "
                "combine systems of the same classes"
            )
    places = _common_places(members)
    aligned = [
        Member(
            each.name,
            {place: _at(each, place).renamed(first.classes) for place in places},
        )
        for each in members
    ]
    for place in places:
        _check_place(place, {each.name: each.answers[place] for each in aligned})
    return aligned


def _places(answers: Predictions) -> dict[Place, Predictions]:
    """Return answers by seed and fold."""
    nothing = ("",) * len(answers)
    pairs = list(zip(answers.seed or nothing, answers.fold or nothing, strict=True))
    return {
        place: answers.where(np.array([pair == place for pair in pairs]))
        for place in sorted(set(pairs), key=lambda pair: [reading_order(name) for name in pair])
    }


def _say(places: Iterable[Place]) -> str:
    """Return the folds of some places in words."""
    return listed({fold for _, fold in places} - {""}) or "none"


def _common_places(members: Sequence[Member]) -> list[Place]:
    """Return the seeds and folds of all members.

    Raises:
        PredictionsError: They differ.
    """
    first, *_ = members
    folds = {each.name: {fold for _, fold in each.answers} for each in members}
    if any(len(found) > 1 for found in folds.values()):
        for each in members:
            if folds[each.name] != folds[first.name]:
                raise PredictionsError(
                    f"{first.name} has the folds {_say(first.answers)} and {each.name} {_say(each.answers)}; combine "
                    "systems of the same protocol"
                )
    seeds = {each.name: {seed for seed, _ in each.answers} for each in members}
    most = max(members, key=lambda each: len(seeds[each.name]))
    for each in members:
        if len(seeds[each.name]) > 1 and seeds[each.name] != seeds[most.name]:
            raise PredictionsError(
                f"{most.name} has the seeds {listed(seeds[most.name])} and {each.name} {listed(seeds[each.name])}; "
                "combine systems of the same seeds, or of one"
            )
    return list(most.answers)


def _at(member: Member, place: Place) -> Answers:
    """Return what a member answered at a place of the others."""
    seed, fold = place
    own_seeds, own_folds = {own for own, _ in member.answers}, {own for _, own in member.answers}
    one_seed, one_fold = next(iter(member.answers))
    own = (seed if len(own_seeds) > 1 else one_seed, fold if len(own_folds) > 1 else one_fold)
    if own not in member.answers:
        raise PredictionsError(f"{member.name} has no answers for seed {seed or 0}, fold {fold or 1}; finish it")
    return member.answers[own]


def _check_place(place: Place, answers: Mapping[str, Answers]) -> None:
    """Refuse members that were not dealt the same speakers, or that do not agree on what is true."""
    where = f"fold {place[1]}: " if place[1] else ""
    tested = _check_part(where, "test", {name: each.test for name, each in answers.items()})
    learned = {name: each.validation for name, each in answers.items() if each.validation is not None}
    both = tested & _check_part(where, "validation", learned) if learned else set()
    if both:
        raise SplitError(
            f"{where}speakers {listed(both, _NAMED)} are tested and would be learned from; combine systems whose "
            "validation speakers are others"
        )


def _check_part(where: str, part: str, found: Mapping[str, Predictions]) -> set[str]:
    """Return who is in a part of all members; refuse others in another's, or other labels."""
    truth: dict[str, tuple[int, str]] = {}
    people = {name: set(each.speaker) - {""} for name, each in found.items()}
    first, *_ = people
    for name, each in found.items():
        if not people[name]:
            raise PredictionsError(f"{where}{name} does not say who is in its {part} clips; add a column speaker")
        if people[name] != people[first]:
            raise SplitError(
                f"{where}the {part} speakers of {first} are {listed(people[first], 30)} and those of {name} "
                f"{listed(people[name], 30)}; combine systems of the same split"
            )
        _check_truth(f"{where}{name}", each, truth)
    return people[first]


def _check_truth(who: str, found: Predictions, truth: dict[str, tuple[int, str]]) -> None:
    """Refuse a clip that has another label or speaker for another member."""
    for key, label, speaker in zip(found.key, found.label.tolist(), found.speaker, strict=True):
        if truth.setdefault(key, (label, speaker)) != (label, speaker):
            raise PredictionsError(f"{who} says that clip {key} has another label or speaker than the others say")
