"""The folds of a protocol, described and written: who and what is in each part."""

from __future__ import annotations

import csv
import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mmer.atomic import replacing
from mmer.config import SplitConfig, to_plain
from mmer.corpora.manifest import Row, reading_order
from mmer.corpora.protocols import EmptyPartError
from mmer.corpora.splits import Part, Split, count_folds, make_split
from mmer.errors import SplitError

FORMAT = 1
"""Version of folds.json."""

_INDEX = "folds.json"


@dataclass(frozen=True, slots=True)
class DealtFold:
    """One fold of some clips.

    Args:
        number: Which, from 1.
        split: How it was dealt.
        parts: The clips of each part.
    """

    number: int
    split: Split
    parts: Mapping[Part, Sequence[Row]]

    def to_plain(self) -> dict[str, Any]:
        """Return the fold as plain data: its clips, speakers, genders and classes, part by part."""
        return {
            "fold": self.number,
            "protocol": self.split.protocol,
            "parts": {part: _describe(self.split, rows) for part, rows in self.parts.items()},
            "leaks": list(self.split.leaks),
            "notes": list(self.split.notes),
        }


def deal_folds(
    rows: Sequence[Row], config: SplitConfig, only: int | None = None
) -> tuple[list[DealtFold], list[EmptyPartError]]:
    """Deal every fold of a protocol, or one.

    Returns:
        The folds, and for each that a partial copy of the corpus cannot fill the reason.

    Raises:
        SplitError: The protocol does not fit the clips, a fold leaks, or no fold can be filled.
    """
    folds, empty = list[DealtFold](), list[EmptyPartError]()
    for number in range(1, count_folds(rows, config) + 1) if only is None else [only]:
        try:
            split = make_split(rows, replace(config, fold=number))
            folds.append(DealtFold(number, split, split.parts(rows)))
        except EmptyPartError as error:
            empty.append(error)
    if not folds:
        raise empty[0]
    return folds, empty


def describe_folds(rows: Iterable[Row], config: SplitConfig, folds: Sequence[DealtFold]) -> dict[str, Any]:
    """Return folds as plain data, with what was dealt and how: the content of folds.json."""
    settings = to_plain(config)
    del settings["fold"]
    plain = [fold.to_plain() for fold in folds]
    return {"format": FORMAT, "split": settings, "clips": _checksum(rows), "folds": plain}


def write_folds(folder: Path, rows: Iterable[Row], config: SplitConfig, folds: Sequence[DealtFold]) -> None:
    """Write fold-1.csv, fold-2.csv, ... and folds.json; each file appears whole or not at all.

    A fold is a table of key, part, speaker and label that protocol ``table`` reads.

    Raises:
        SplitError: The folder holds folds of other clips, or of other settings.
    """
    described = describe_folds(rows, config, folds)
    _check_folder(folder, described)
    folder.mkdir(parents=True, exist_ok=True)
    for fold in folds:
        with replacing(fold_path(folder, fold.number)) as temporary:
            _write_fold(temporary, fold)
    with replacing(folder / _INDEX) as temporary:
        temporary.write_text(json.dumps(described, indent=2) + "\n", encoding="utf-8")


def fold_path(folder: Path, number: int) -> Path:
    """Return where a folder keeps a fold."""
    return folder / f"fold-{number}.csv"


def _write_fold(path: Path, fold: DealtFold) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["key", "split", "speaker", "label"])
        for part, rows in fold.parts.items():
            writer.writerows([row.key, part, fold.split.speaker(row) or "", row.label or ""] for row in rows)


def _checksum(rows: Iterable[Row]) -> str:
    """Return a checksum of what is dealt: keys, speakers and labels."""
    names = ("\t".join((row.key, row.corpus, row.speaker or "", row.label or "")) for row in rows)
    return hashlib.sha256("\n".join(names).encode()).hexdigest()[:32]


def _check_folder(folder: Path, described: Mapping[str, Any]) -> None:
    """Refuse to mix the folds of two protocols, or of two corpora, in one folder."""
    path = folder / _INDEX
    if not path.is_file():
        return
    try:
        held = json.loads(path.read_text(encoding="utf-8"))
        settings, clips = held["split"], held["clips"]
    except (ValueError, KeyError, TypeError) as error:
        raise SplitError(f"{path} is not what mmer split writes; name a new folder") from error
    if settings != described["split"]:
        raise SplitError(
            f"{folder} holds folds that were dealt with other settings (protocol {settings.get('protocol')}); "
            "name a new folder"
        )
    if clips != described["clips"]:
        raise SplitError(f"{folder} holds folds of other clips; name a new folder")


def _describe(split: Split, rows: Sequence[Row]) -> dict[str, Any]:
    gender = {person: row.extra.get("gender") for row in rows if (person := split.speaker(row)) is not None}
    return {
        "clips": len(rows),
        "speakers": sorted(gender, key=reading_order),
        "gender": _counted(value for value in gender.values() if value),
        "labels": _counted(row.label or "none" for row in rows),
    }


def _counted(values: Iterable[str]) -> dict[str, int]:
    """Count values, in alphabetical order."""
    return dict(sorted(Counter(values).items()))
