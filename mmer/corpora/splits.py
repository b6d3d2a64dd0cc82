"""Who trains, who chooses the checkpoint, who is tested. A speaker is only ever in one part."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from mmer.config import SplitConfig
from mmer.corpora.manifest import Row, speaker_name
from mmer.errors import SplitError

Part = Literal["train", "validation", "test"]
"""The three parts of a split."""

CONTIG6 = tuple(tuple(str(actor) for actor in range(first, first + 4)) for first in (1, 5, 9, 13, 17, 21))
"""Test actors of RAVDESS's six contiguous folds, as in MSAF, HiCMAE and MAE-DFER."""


@dataclass(frozen=True, slots=True)
class Split:
    """The speakers of each part, in the order that people read.

    Args:
        protocol: How they were dealt, as ``contig6 fold 1``.
        train: Who is learned from.
        validation: Who chooses the checkpoint; nobody keeps the last one.
        test: Who is touched once, at the end.
    """

    protocol: str
    train: tuple[str, ...]
    validation: tuple[str, ...]
    test: tuple[str, ...]

    def __post_init__(self) -> None:
        for first, second in (("train", "validation"), ("train", "test"), ("validation", "test")):
            shared = set(self.speakers(first)) & set(self.speakers(second))
            if shared:
                raise SplitError(
                    f"speakers {_listed(shared)} are both in {first} and in {second}; a split must not share a speaker"
                )

    def speakers(self, part: str) -> tuple[str, ...]:
        """Return the speakers of a part."""
        speakers: tuple[str, ...] = getattr(self, part)
        return speakers

    def rows(self, rows: Iterable[Row], part: Part) -> list[Row]:
        """Return the rows of a part."""
        speakers = set(self.speakers(part))
        return [row for row in rows if row.speaker in speakers]


def make_split(rows: Sequence[Row], config: SplitConfig) -> Split:
    """Deal the speakers of a corpus to training, validation and test.

    Raises:
        SplitError: A row has no speaker, a named speaker does not exist or is in two parts, or a part would be empty.
    """
    nameless = [row.key for row in rows if row.speaker is None]
    if nameless:
        raise SplitError(
            f"{len(nameless)} clips have no speaker, {nameless[0]!r} the first; "
            "without speakers a split would leak: fill the table's 'speaker' column"
        )
    present = sorted({row.speaker for row in rows if row.speaker is not None}, key=reading_order)
    match config.protocol:
        case "contig6":
            return _contig6(present, config)
        case "speakers":
            return _listed_speakers(present, config)
        case _:
            raise SplitError(f"protocol {config.protocol!r} is unknown")


def _contig6(present: Sequence[str], config: SplitConfig) -> Split:
    if not 1 <= config.fold <= len(CONTIG6):
        raise SplitError(f"contig6 has the folds 1 to 6, not {config.fold}")
    if config.test or config.validation or config.train is not None:
        raise SplitError("contig6 chooses its own speakers; leave test, validation and train out, or say 'speakers'")
    test, validation = CONTIG6[config.fold - 1], CONTIG6[config.fold % len(CONTIG6)]
    parts = {
        "train": [name for fold in CONTIG6 for name in fold if name not in test + validation],
        "validation": validation,
        "test": test,
    }
    strangers = set(present) - {name for fold in CONTIG6 for name in fold}
    if strangers:
        raise SplitError(f"contig6 knows RAVDESS's actors 1 to 24, not {_listed(strangers)}; use protocol 'speakers'")
    for part, speakers in parts.items():
        if not set(speakers) & set(present):
            raise SplitError(
                f"contig6 fold {config.fold}: the {part} part is empty, for it is speakers {_listed(speakers)} and the "
                f"corpus has {_listed(present)}; choose another fold, or protocol 'speakers'"
            )
    kept = {part: tuple(name for name in speakers if name in present) for part, speakers in parts.items()}
    return Split(f"contig6 fold {config.fold}", **kept)


def _listed_speakers(present: Sequence[str], config: SplitConfig) -> Split:
    test, validation = _names(config.test), _names(config.validation)
    rest = tuple(name for name in present if name not in test + validation)
    train = rest if config.train is None else _names(config.train)
    strangers = set(train + validation + test) - set(present)
    if strangers:
        raise SplitError(f"the corpus has no speakers {_listed(strangers)}; it has {_listed(present)}")
    if not train:
        raise SplitError(f"the train part is empty; the corpus has speakers {_listed(present)}: name some of them")
    return Split("speakers", train, validation, test)


def _names(speakers: Iterable[int | str]) -> tuple[str, ...]:
    return tuple(sorted({speaker_name(speaker) for speaker in speakers}, key=reading_order))


def reading_order(name: str) -> tuple[bool, int, str]:
    """Sort numbers as numbers and before names."""
    return (not name.isdecimal(), int(name) if name.isdecimal() else 0, name)


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names, key=reading_order))


PARTS: tuple[Part, ...] = get_args(Part)
"""The parts by name."""


def speakers_by_part(split: Split) -> Mapping[str, list[str]]:
    """Return the speakers of each part: what a checkpoint keeps and a report prints."""
    return {part: list(split.speakers(part)) for part in PARTS}
