"""Who trains, who chooses the checkpoint, who is tested. Nobody is in two parts unasked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from pathlib import Path

from mmer.config import SplitConfig
from mmer.corpora.leaks import find_leaks, name_copies, same_sounds
from mmer.corpora.manifest import Row, listed, person_name, reading_order
from mmer.corpora.protocols import PARTS as PARTS
from mmer.corpora.protocols import ROW_WISE, Fold, check_known, count_speaker_folds, deal_speakers
from mmer.corpora.protocols import Part as Part
from mmer.corpora.row_wise import count_row_folds, deal_rows
from mmer.errors import SplitError

AT_RANDOM = "clips were dealt at random: whoever is tested was trained on, so the scores are too high"
"""What is said of every ``random_leaky`` split."""


@dataclass(frozen=True, slots=True)
class Split:
    """The speakers of each part, in the order that people read.

    Args:
        protocol: How they were dealt, as ``contig6 fold 1``.
        train: Who is learned from.
        validation: Who chooses the checkpoint; nobody keeps the last one.
        test: Who is touched once, at the end.
        corpora: The corpora that were dealt; among several, a speaker's name says whose he is, as ``ravdess:3``. Clips
            of any other corpus are in no part. Nothing says that there is one corpus, whatever its name.
        keys: The clips of each part, where clips were dealt and not speakers; the speakers are then those who occur.
        dropped: Keys of clips that take no part, for their sound is that of another.
        leaks: What the parts share, a sentence each; whatever is measured under such a split says so.
        notes: What else a human should know, a sentence each.
    """

    protocol: str
    train: tuple[str, ...]
    validation: tuple[str, ...]
    test: tuple[str, ...]
    corpora: tuple[str, ...] = ()
    keys: Mapping[Part, frozenset[str]] | None = field(default=None, repr=False)
    dropped: frozenset[str] = field(default=frozenset(), repr=False)
    leaks: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        what = "speakers" if self.keys is None else "clips"
        for first, second in combinations(PARTS, 2):
            if shared := self._dealt(first) & self._dealt(second):
                raise SplitError(
                    f"{what} {listed(shared, 5)} are both in {first} and in {second}; "
                    f"a split must not share a {what.removesuffix('s')}"
                )

    def speakers(self, part: str) -> tuple[str, ...]:
        """Return the speakers of a part."""
        speakers: tuple[str, ...] = getattr(self, part)
        return speakers

    def speaker(self, row: Row) -> str | None:
        """Return who is in a clip, as the split names people."""
        return person_name(row, self.corpora)

    def rows(self, rows: Iterable[Row], part: Part) -> list[Row]:
        """Return the rows of a part."""
        return self.parts(rows)[part]

    def parts(self, rows: Iterable[Row]) -> dict[Part, list[Row]]:
        """Return the rows of each part; a row of a corpus that was not dealt is in none."""
        part_of = {name: part for part in PARTS for name in self._dealt(part)}
        found: dict[Part, list[Row]] = {part: [] for part in PARTS}
        for row in rows:
            part = part_of.get(row.key if self.keys is not None else self.speaker(row) or "")
            known = not self.corpora or row.corpus in self.corpora
            if part is not None and known and row.key not in self.dropped:
                found[part].append(row)
        return found

    def moved(self, before: Split) -> str:
        """Return who was in one part of an earlier split and is in another of this; nothing where nobody is."""
        if len(before.corpora) != len(self.corpora):
            return f"the corpora were {listed(before.corpora)} and are {listed(self.corpora)}"
        pairs = ((was, now) for was in PARTS for now in PARTS if was != now)
        for was, now in pairs:
            if shared := before._dealt(was) & self._dealt(now):
                return f"{listed(shared, 5)} moved from {was} to {now}"
        return ""

    def _dealt(self, part: Part) -> frozenset[str]:
        """Return what was dealt to a part: speakers, or keys."""
        return frozenset(self.speakers(part)) if self.keys is None else self.keys.get(part, frozenset())


def make_split(rows: Sequence[Row], config: SplitConfig) -> Split:
    """Deal the clips of a corpus, or of several, to training, validation and test.

    Raises:
        SplitError: The protocol is unknown or not for these clips, a key is used twice, a part would be empty, or two
            parts would share a speaker, a performance or a sound and the settings do not allow it.
    """
    _check_settings(config)
    _check_keys(rows)
    corpora = tuple(sorted({row.corpus for row in rows}))
    if config.protocol in ROW_WISE:
        keys, notes = deal_rows(rows, config)
        split = _row_wise(rows, config, corpora, keys, notes)
    else:
        fold = deal_speakers(rows, config)
        split = Split(_in_words(config), fold["train"], fold["validation"], fold["test"], corpora)
    if config.duplicates == "drop":
        split = _without_copies(split, rows)
    found = find_leaks(split.parts(rows), corpora)
    leaky = config.protocol == "random_leaky"
    if found and not (leaky or config.allow_leak):
        raise SplitError(f"{_in_words(config)}: {'; '.join(found)}; {_advice(found)}")
    return replace(split, leaks=((AT_RANDOM,) if leaky else ()) + found)


def count_folds(rows: Sequence[Row], config: SplitConfig) -> int:
    """Return how many folds a protocol deals of some clips.

    Raises:
        SplitError: The protocol is unknown, or not for these clips.
    """
    _check_settings(config)
    return count_row_folds(config) if config.protocol in ROW_WISE else count_speaker_folds(rows, config)


def speakers_by_part(split: Split) -> Mapping[str, list[str]]:
    """Return the speakers of each part: what a checkpoint keeps and a report prints."""
    return {part: list(split.speakers(part)) for part in PARTS}


def _check_settings(config: SplitConfig) -> None:
    """Refuse settings that the protocol would pass over."""
    if config.protocol not in ROW_WISE:
        check_known(config.protocol)
    if config.protocol != "speakers" and (config.test or config.validation or config.train is not None):
        raise SplitError(
            f"{config.protocol} chooses its own speakers; leave test, validation and train out, or say 'speakers'"
        )
    if config.protocol != "table" and config.file is not None:
        raise SplitError(f"split.file={config.file} is for protocol 'table', not for {config.protocol}; leave it out")


def _check_keys(rows: Sequence[Row]) -> None:
    """Refuse two rows of one key: they are one prepared clip, whatever their speakers and parts are."""
    if len({row.key for row in rows}) < len(rows):
        twice = [key for key, count in Counter(row.key for row in rows).items() if count > 1]
        raise SplitError(f"keys {listed(twice, 5)} are used more than once; every clip needs a key of its own")


def _in_words(config: SplitConfig) -> str:
    """Return a protocol as a report calls it, as ``contig6 fold 1``."""
    match config.protocol:
        case "speakers":
            return "speakers"
        case "table":
            where = f"column {config.column}" if config.file is None else f"file {Path(config.file).name}"
            return f"table, {where}"
        case "random_leaky":
            return f"random_leaky fold {config.fold}, seed {config.seed}"
        case protocol:
            return f"{protocol} fold {config.fold}"


def _row_wise(
    rows: Sequence[Row], config: SplitConfig, corpora: tuple[str, ...], keys: Fold, notes: tuple[str, ...]
) -> Split:
    """Return a split of clips, with the speakers who occur in each part."""
    part_of = {key: part for part, found in keys.items() for key in found}
    people: dict[Part, set[str]] = {part: set() for part in PARTS}
    for row in rows:
        part, person = part_of.get(row.key), person_name(row, corpora)
        if part is not None and person is not None:
            people[part].add(person)
    train, validation, test = (tuple(sorted(people[part], key=reading_order)) for part in PARTS)
    held = {part: frozenset(keys[part]) for part in PARTS}
    return Split(_in_words(config), train, validation, test, corpora, held, notes=notes)


def _without_copies(split: Split, rows: Sequence[Row]) -> Split:
    """Leave out all clips of a sound but the first, wherever they lie."""
    repeated = {key for keys in same_sounds(rows) for key in keys}
    twins = [row for row in rows if row.key in repeated]
    dealt = {row.key for found in split.parts(twins).values() for row in found}
    copies = same_sounds(row for row in twins if row.key in dealt)
    if not copies:
        return split
    dropped = frozenset(key for keys in copies for key in keys[1:])
    note = (
        f"{len(dropped)} clips are left out, for their sound is that of another, to the sample: {name_copies(copies)}"
    )
    keys = None if split.keys is None else {part: found - dropped for part, found in split.keys.items()}
    return replace(split, keys=keys, dropped=dropped, notes=(*split.notes, note))


def _advice(leaks: Sequence[str]) -> str:
    """Say what to do about leaks, once for each kind."""
    kinds = {leak.split()[0] for leak in leaks}
    advice = []
    if any(leak.startswith("speakers") and " = " in leak for leak in leaks):
        advice.append("a speaker and a corpus have one spelling each")
    if "speakers" in kinds:
        advice.append("a split must not share a speaker: deal speakers, with group-kfold:K or speakers")
    if "takes" in kinds:
        advice.append("the clips of one performance belong in one part")
    if kinds - {"speakers", "takes"}:
        advice.append(
            "a sound counts once: split.duplicates=drop keeps the first of each (mmer split: --duplicates drop)"
        )
    allowed = "split.allow_leak=true (mmer split: --allow-leak) runs all the same and marks every result"
    return "; ".join((*advice, allowed))
