"""Clips dealt one by one: by a column, by a table of their own, or at random to measure the leak."""

from __future__ import annotations

import csv
import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from mmer.config import SplitConfig
from mmer.corpora.manifest import Row, listed
from mmer.corpora.protocols import PARTS, Fold, Part, check_fold
from mmer.errors import SplitError

PART_WORDS: Mapping[str, Part] = {
    "train": "train",
    "validation": "validation",
    "dev": "validation",
    "val": "validation",
    "valid": "validation",
    "test": "test",
}
"""What a table may call the parts."""

_SIXTHS = 6  # random_leaky deals as many parts as contig6 has folds, so that the two can be compared


def count_row_folds(config: SplitConfig) -> int:
    """Return how many folds a protocol has that deals clips one by one."""
    return _SIXTHS if config.protocol == "random_leaky" else 1


def deal_rows(rows: Sequence[Row], config: SplitConfig) -> tuple[Fold, tuple[str, ...]]:
    """Return the keys of each part of a protocol that deals clips one by one, and what a human should know of it.

    Raises:
        SplitError: The table says something else than a part, or the fold does not exist.
    """
    check_fold(config, count_row_folds(config))
    if config.protocol == "random_leaky":
        return _deal_at_random(rows, config), ()
    source, notes = f"column {config.column!r}", list[str]()
    if config.file is None:
        words = _words_of_column(rows, config.column)
    else:
        words, notes = _words_of_file(rows, config.column, Path(config.file))
        source += f" of {config.file}"
    return _deal_by_words(words, source), (*notes, *_unknown_speakers(rows, words))


def _deal_at_random(rows: Sequence[Row], config: SplitConfig) -> Fold:
    """Deal clips by a hash of seed and key: a clip's part depends on no other clip."""
    keys: dict[Part, list[str]] = {part: [] for part in PARTS}
    parts: dict[int, Part] = {config.fold - 1: "test", config.fold % _SIXTHS: "validation"}
    for row in rows:
        digest = hashlib.blake2b(f"{config.seed}:{row.key}".encode(), digest_size=8).digest()
        keys[parts.get(int.from_bytes(digest) % _SIXTHS, "train")].append(row.key)
    return {part: tuple(found) for part, found in keys.items()}


def _words_of_column(rows: Sequence[Row], column: str) -> dict[str, str]:
    """Return what each row's column says of its part; a row without a word is in no part.

    Raises:
        SplitError: No row has the column.
    """
    words = {row.key: row.extra[column] for row in rows if column in row.extra}
    if not words:
        known = listed({name for row in rows for name in row.extra}) or "none beside the fixed ones"
        raise SplitError(
            f"no clip has a column {column!r} that says its part; the manifest's columns are {known}: "
            "name one with split.column, or a table of key and part with split.file (mmer split: --column, --file)"
        )
    return words


def _words_of_file(rows: Sequence[Row], column: str, path: Path) -> tuple[dict[str, str], list[str]]:
    """Return what a table of its own says of each row's part, and which clips only one side knows.

    Raises:
        SplitError: The table cannot be read, has other columns, names a key twice, or names none of the clips.
    """
    said = _read_words(path, column)
    words = {row.key: said[row.key] for row in rows if said.get(row.key)}
    if not words:
        raise SplitError(
            f"{path} names none of these clips: its first key is {next(iter(said), '')!r} and theirs "
            f"is {rows[0].key!r}; give the table that belongs to them"
        )
    missing, here = [row.key for row in rows if not said.get(row.key)], {row.key for row in rows}
    absent = [key for key in said if key not in here]
    notes = []
    if missing:
        notes.append(f"{len(missing)} clips have no part in {path.name} and are left out: {listed(missing, 3)}")
    if absent:
        notes.append(f"{len(absent)} clips of {path.name} are not among these clips: {listed(absent, 3)}")
    return words, notes


def _read_words(path: Path, column: str) -> dict[str, str]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            lines = csv.DictReader(file)
            names = lines.fieldnames or ()
            if not {"key", column} <= set(names):
                raise SplitError(
                    f"split.file {path} has the columns {', '.join(names) or 'none'}; it needs 'key' and {column!r}"
                )
            pairs = [((line["key"] or "").strip(), (line[column] or "").strip()) for line in lines]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise SplitError(f"split.file {path} cannot be read: {reason}; give a CSV file of key and part") from error
    twice = [key for key, count in Counter(key for key, _ in pairs).items() if count > 1]
    if twice:
        raise SplitError(f"split.file {path} names clips more than once: {listed(twice, 5)}; name each once")
    return dict(pairs)


def _deal_by_words(words: Mapping[str, str], source: str) -> Fold:
    keys: dict[Part, list[str]] = {part: [] for part in PARTS}
    strange: Counter[str] = Counter()
    for key, word in words.items():
        part = PART_WORDS.get(word.strip().lower())
        if part is None:
            strange[word] += 1
        else:
            keys[part].append(key)
    if strange:
        found = ", ".join(f"{word!r} ({count} clips)" for word, count in strange.most_common(5))
        raise SplitError(
            f"{source} says {found}; allowed are train, validation (or dev, val, valid) and test, "
            "and nothing for a clip that takes no part"
        )
    if not keys["train"]:
        raise SplitError(f"the train part is empty: {source} says 'train' of no clip")
    return {part: tuple(found) for part, found in keys.items()}


def _unknown_speakers(rows: Sequence[Row], words: Mapping[str, str]) -> list[str]:
    unknown = sum(row.speaker is None for row in rows if row.key in words)
    if not unknown:
        return []
    return [f"the speakers of {unknown} clips are unknown: that the parts share nobody cannot be checked"]
