"""The protocols: who trains, who chooses the checkpoint and who is tested, fold by fold."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from mmer.config import SplitConfig
from mmer.corpora.manifest import DEMO_CORPUS, Row, listed, person_name, reading_order, speaker_name
from mmer.errors import SplitError

Part = Literal["train", "validation", "test"]
"""The three parts of a split."""

PARTS: tuple[Part, ...] = get_args(Part)
"""The parts by name."""

Fold = Mapping[Part, tuple[str, ...]]
"""The speakers of each part of one fold, or the keys where clips are dealt one by one."""


class EmptyPartError(SplitError):
    """A fold that this copy of the corpus cannot fill; its other folds may be whole."""


@dataclass(frozen=True, slots=True)
class Published:
    """Folds that papers share.

    Args:
        corpus: Whose speakers they are, in words.
        names: What a manifest may call the corpus.
        test: Test speakers of each fold.
        validation: Validation speakers of each fold; None takes the test speakers of the next fold.
        train: Training speakers of each fold; None takes everyone else.
    """

    corpus: str
    names: tuple[str, ...]
    test: tuple[tuple[str, ...], ...]
    validation: tuple[tuple[str, ...], ...] | None = None
    train: tuple[tuple[str, ...], ...] | None = None

    @property
    def speakers(self) -> tuple[str, ...]:
        """Everyone who is dealt."""
        named = (self.test, self.validation or (), self.train or ())
        return tuple(sorted({name for folds in named for fold in folds for name in fold}, key=reading_order))

    def folds(self) -> list[Fold]:
        """Return the folds in their published order."""
        validation = self.validation or (*self.test[1:], self.test[0])
        folds: list[Fold] = []
        for i, (tested, validated) in enumerate(zip(self.test, validation, strict=True)):
            rest = tuple(name for name in self.speakers if name not in tested + validated)
            folds.append(
                {"train": rest if self.train is None else self.train[i], "validation": validated, "test": tested}
            )
        return folds


def _actors(first: int, last: int) -> tuple[str, ...]:
    return tuple(str(actor) for actor in range(first, last + 1))


def _named(*folds: Sequence[int]) -> tuple[tuple[str, ...], ...]:
    return tuple(tuple(str(actor) for actor in fold) for fold in folds)


CONTIG6 = tuple(_actors(first, first + 3) for first in range(1, 25, 4))
"""Test actors of RAVDESS's six contiguous folds, as in MSAF, HiCMAE and MAE-DFER."""

_RAVDESS = ("ravdess", DEMO_CORPUS)  # the demo corpus imitates RAVDESS, its actors included
_NOBODY: tuple[tuple[str, ...], ...] = ((),) * len(CONTIG6)


def _following(fold: int, steps: Iterable[int]) -> tuple[str, ...]:
    return tuple(sorted((name for i in steps for name in CONTIG6[(fold + i) % len(CONTIG6)]), key=int))


PUBLISHED: Mapping[str, Published] = {
    "contig6": Published("RAVDESS", _RAVDESS, CONTIG6),
    "luna5": Published(
        "RAVDESS",
        _RAVDESS,
        _named((2, 5, 14, 15, 16), (3, 6, 7, 13, 18), (10, 11, 12, 19, 20), (8, 17, 21, 23, 24), (1, 4, 9, 22)),
    ),
    "emobox6": Published(
        "RAVDESS",
        _RAVDESS,
        _named((1, 11, 20, 21), (4, 10, 12, 14), (8, 9, 19, 23), (3, 5, 7, 24), (2, 15, 16, 18), (6, 13, 17, 22)),
    ),
    "chuma5": Published("RAVDESS", _RAVDESS, CONTIG6[:5], validation=CONTIG6[1:]),
    # 4 actors test, 12 train what combines voice and face, 8 train the voice's model. Only the numbers were published:
    # which actors these are, fold by fold, is this project's choice, and nobody is left to choose an epoch.
    "mitseas:audio": Published(
        "RAVDESS", _RAVDESS, CONTIG6, _NOBODY, tuple(_following(fold, (4, 5)) for fold in range(len(CONTIG6)))
    ),
    "mitseas:combination": Published(
        "RAVDESS", _RAVDESS, CONTIG6, _NOBODY, tuple(_following(fold, (1, 2, 3)) for fold in range(len(CONTIG6)))
    ),
    "crema5": Published(
        "CREMA-D",
        ("crema-d",),
        (*(_actors(first, first + 17) for first in (1001, 1019, 1037, 1055)), _actors(1073, 1091)),
    ),
}
"""The published protocols by name."""

ROW_WISE = ("table", "random_leaky")
"""The protocols that deal clips one by one, and not speakers."""

_ANY_CORPUS = ("loso", "contig:K", "group-kfold:K", "speakers", *ROW_WISE)

PROTOCOLS = ", ".join((*PUBLISHED, *_ANY_CORPUS))
"""What a protocol may be called, for a human."""

MITSEAS = "mitseas"
"""Both halves of ``mitseas``, which ``mmer baseline late_forest`` deals together: 8 actors train the machine of the
voice, 12 others the forest, 4 are tested."""

LATE_FOREST_PROTOCOLS = ", ".join((MITSEAS, *(n for n in PUBLISHED if not n.startswith(MITSEAS)), *_ANY_CORPUS))
"""What the protocol of ``mmer baseline late_forest`` may be called, for a human."""


def count_speaker_folds(rows: Sequence[Row], config: SplitConfig) -> int:
    """Return how many folds a protocol deals of some clips' speakers.

    Raises:
        SplitError: The protocol is unknown, or not for these clips.
    """
    return len(_speaker_folds(rows, config))


def deal_speakers(rows: Sequence[Row], config: SplitConfig) -> Fold:
    """Return the speakers of each part of the chosen fold.

    Raises:
        EmptyPartError: This copy of the corpus has nobody for a part of the fold.
        SplitError: The protocol is unknown, or not for these clips, or has no such fold.
    """
    folds, present = _speaker_folds(rows, config), _clips_by_person(rows)
    check_fold(config, len(folds))
    fold = folds[config.fold - 1]
    for part, speakers in fold.items():
        if speakers and not set(speakers) & set(present):
            raise EmptyPartError(
                f"{config.protocol} fold {config.fold}: the {part} part is empty, for it is speakers "
                f"{listed(speakers)} and the corpus has {listed(present, 30)}; "
                "choose another fold, or protocol 'speakers' or contig:K"
            )
    return {part: tuple(name for name in fold[part] if name in present) for part in PARTS}


def check_known(protocol: str) -> None:
    """Refuse a name that is no protocol's of speakers.

    Raises:
        SplitError: It is none.
    """
    if protocol == MITSEAS:
        raise SplitError(
            f"protocol {MITSEAS!r} is that of 'mmer baseline late_forest' alone, for two systems learn from different "
            f"actors; choose {MITSEAS}:audio for the voice's, {MITSEAS}:combination for what combines it with the face"
        )
    if protocol not in (*PUBLISHED, "loso", "speakers") and not protocol.startswith(("contig:", "group-kfold:")):
        raise SplitError(f"protocol {protocol!r} is unknown; choose one of {PROTOCOLS}")


def _speaker_folds(rows: Sequence[Row], config: SplitConfig) -> list[Fold]:
    check_known(config.protocol)
    name, _, number = config.protocol.partition(":")
    if config.protocol in PUBLISHED:
        _check_corpus(rows, config)
    clips = _clips_by_person(rows)
    if config.protocol in PUBLISHED:
        _check_people(clips, config)
        return PUBLISHED[config.protocol].folds()
    if config.protocol == "loso":
        return _leave_one_out(clips)
    if config.protocol == "speakers":
        return [_listed_speakers(clips, config, {row.corpus for row in rows})]
    count = _count_wanted(clips, name, number)
    return _contiguous_folds(clips, count) if name == "contig" else _group_folds(clips, count)


def _clips_by_person(rows: Sequence[Row]) -> Counter[str]:
    """Count the clips of each person, in reading order.

    Raises:
        SplitError: A row has no speaker.
    """
    nameless = [row.key for row in rows if row.speaker is None]
    if nameless:
        raise SplitError(
            f"{len(nameless)} clips have no speaker, {nameless[0]!r} the first; without speakers a split would leak: "
            "fill the table's 'speaker' column, or let a column deal the clips, with protocol 'table'"
        )
    corpora = {row.corpus for row in rows}
    counts = Counter(person for row in rows if (person := person_name(row, corpora)) is not None)
    return Counter({person: counts[person] for person in sorted(counts, key=reading_order)})


def check_fold(config: SplitConfig, count: int) -> None:
    """Refuse a fold that a protocol does not have.

    Raises:
        SplitError: The fold is none of 1 to ``count``.
    """
    if not 1 <= config.fold <= count:
        allowed = f"the folds 1 to {count}" if count > 1 else "one fold, 1"
        raise SplitError(f"{config.protocol} has {allowed}, not {config.fold}")


def _check_corpus(rows: Sequence[Row], config: SplitConfig) -> None:
    """Refuse a published protocol for another corpus than its own."""
    published = PUBLISHED[config.protocol]
    if strangers := {row.corpus for row in rows} - set(published.names):
        raise SplitError(
            f"{config.protocol} is a protocol of {published.corpus}, and these clips are of {listed(strangers, 5)}; "
            f"choose group-kfold:K, loso, speakers or table (a table of {published.corpus}'s clips says "
            f"{published.names[0]!r} in its 'corpus' column)"
        )
    if len({row.corpus for row in rows}) > 1:
        raise SplitError(f"{config.protocol} deals one corpus, and these clips are of {listed(published.names)}")


def _check_people(present: Collection[str], config: SplitConfig) -> None:
    """Refuse a published protocol for people whom it does not know."""
    published = PUBLISHED[config.protocol]
    if unknown := set(present) - set(published.speakers):
        ends = f"{published.speakers[0]} to {published.speakers[-1]}"
        raise SplitError(
            f"{config.protocol} knows {published.corpus}'s actors {ends}, not {listed(unknown, 5)}; "
            "use protocol 'speakers'"
        )


def _leave_one_out(clips: Counter[str]) -> list[Fold]:
    if len(clips) < 3:
        raise SplitError(f"loso wants at least 3 speakers and there are {len(clips)} ({listed(clips)})")
    return _cyclic([(person,) for person in clips])


def _count_wanted(clips: Counter[str], name: str, number: str) -> int:
    """Return how many folds are asked for behind the colon."""
    if not number.isdecimal() or int(number) < 3:
        raise SplitError(
            f"protocol '{name}:{number}' wants the number of folds behind the colon, 3 or more, as {name}:5"
        )
    if len(clips) < int(number):
        raise SplitError(
            f"{name}:{int(number)} wants at least {int(number)} speakers and there are {len(clips)} "
            f"({listed(clips, 5)}); choose fewer folds"
        )
    return int(number)


def _contiguous_folds(clips: Counter[str], count: int) -> list[Fold]:
    """Cut the speakers who are there, in reading order, into folds of as many; the first folds have one more."""
    return _cyclic([tuple(names.tolist()) for names in np.array_split(np.array(list(clips)), count)])


def _group_folds(clips: Counter[str], count: int) -> list[Fold]:
    """Deal speakers to folds of about as many clips, exactly as scikit-learn's ``GroupKFold`` does.

    The speaker with the most clips goes first, each to the fold with the fewest; of equals, the last in alphabetical
    order goes first.
    """
    names = np.array(sorted(clips))
    weights = np.array([clips[name] for name in names.tolist()])
    load, folds = np.zeros(count), [list[str]() for _ in range(count)]
    for i in np.argsort(weights, kind="stable")[::-1]:
        lightest = int(load.argmin())
        load[lightest] += weights[i]
        folds[lightest].append(str(names[i]))
    return _cyclic([tuple(sorted(fold, key=reading_order)) for fold in folds])


def _cyclic(tested: Sequence[tuple[str, ...]]) -> list[Fold]:
    """Return folds whose validation speakers are the test speakers of the next."""
    everyone = sorted((name for fold in tested for name in fold), key=reading_order)
    folds: list[Fold] = []
    for i, test in enumerate(tested):
        validation = tested[(i + 1) % len(tested)]
        others = {*test, *validation}
        rest = tuple(name for name in everyone if name not in others)
        folds.append({"train": rest, "validation": validation, "test": test})
    return folds


def _listed_speakers(present: Collection[str], config: SplitConfig, corpora: Collection[str]) -> Fold:
    test, validation = _names(config.test, corpora), _names(config.validation, corpora)
    rest = tuple(name for name in present if name not in test + validation)
    train = rest if config.train is None else _names(config.train, corpora)
    strangers = set(train + validation + test) - set(present)
    if strangers:
        raise SplitError(f"the corpus has no speakers {listed(strangers)}; it has {listed(present, 100)}")
    if not train:
        raise SplitError(f"the train part is empty; the corpus has speakers {listed(present, 100)}: name some of them")
    return {"train": train, "validation": validation, "test": test}


def _names(speakers: Iterable[int | str], corpora: Collection[str]) -> tuple[str, ...]:
    """Return speakers in their one spelling; among several corpora also that behind the corpus's name."""
    names = {speaker_name(speaker) for speaker in speakers}
    if len(corpora) > 1:
        names = {f"{corpus}{colon}{speaker_name(name)}" for corpus, colon, name in (n.rpartition(":") for n in names)}
    return tuple(sorted(names, key=reading_order))
