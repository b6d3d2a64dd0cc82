"""The manifest: one row a clip, the one type that every corpus becomes."""

from __future__ import annotations

import csv
import gc
import os
import re
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import get_args

from mmer.atomic import replacing
from mmer.config import Modality
from mmer.emotions import LabelSet
from mmer.errors import ClipError, ConfigError, CorpusError

COLUMNS = ("key", "corpus", "speaker", "label", "video", "audio", "text")
"""The columns with a meaning of their own; all others are kept as they are."""

_KNOWN = {name: name for name in (*COLUMNS, "gender", "split", "take", "sound")}  # however a table spells them
_MODALITIES = get_args(Modality)
_WHOLE = re.compile(r"(\d+)(?:\.0*)?")  # 7 as other programs write it: 07, and 7.0 where a speaker is missing somewhere

DEMO_CORPUS = "demo"
"""Corpus name of synthetic clips; whatever is measured on them says so."""


@dataclass(frozen=True, slots=True)
class Row:
    """One clip of a corpus.

    Args:
        key: Its name, unique in the manifest.
        corpus: The corpus it comes from.
        speaker: Who is seen or heard; None where nobody says.
        label: The emotion in the corpus's own word; None where nobody says.
        video: File with the face.
        audio: File with the voice; a video file's own sound where this is None.
        text: The words.
        extra: Whatever else is known. ``gender`` (``female`` or ``male``), ``split`` (the owner's part) and ``take``
            (clips of one performance share it) have a meaning for splits; a prepared clip has ``sound``, the hash of
            its samples, and ``features``, the names of its precomputed streams.
    """

    key: str
    corpus: str
    speaker: str | None = None
    label: str | None = None
    video: Path | None = None
    audio: Path | None = None
    text: str | None = None
    extra: Mapping[str, str] = field(default_factory=dict)

    def has(self, name: str) -> bool:
        """Tell whether the clip has a modality, or in a prepared manifest a precomputed stream of that name."""
        if name in _MODALITIES:
            return getattr(self, name) is not None
        return name in self.extra.get("features", "").split()


@dataclass(frozen=True, slots=True)
class Manifest:
    """The clips of a corpus, and those that were found broken on the way.

    Args:
        rows: The clips.
        broken: Clips left out, each with its reason.
        notes: What a human should know, each one line, as ``1200 of 1440 speech takes; actors 21 to 24 are missing``.
    """

    rows: tuple[Row, ...]
    broken: tuple[ClipError, ...] = ()
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.rows)

    def known(self, labels: LabelSet) -> Manifest:
        """Return the manifest without the clips whose label a label set does not know: those are broken."""
        rows, broken = [], list(self.broken)
        for row in self.rows:
            try:
                labels.index(row.label or "")
                rows.append(row)
            except ConfigError as error:
                broken.append(ClipError(row.key, row.video or row.audio, str(error)))
        return Manifest(tuple(rows), tuple(broken), self.notes)


def person_name(row: Row, corpora: Collection[str]) -> str | None:
    """Return who is in a clip; None where nobody says.

    Args:
        row: The clip.
        corpora: The corpora that are dealt together. Among several, speaker 3 of one is somebody else than speaker 3
            of another: ``ravdess:3`` and ``emodb:3``.
    """
    if row.speaker is None:
        return None
    return f"{row.corpus}:{row.speaker}" if len(corpora) > 1 else row.speaker


def reading_order(name: str) -> tuple[tuple[bool, int, str], ...]:
    """Sort numbers as numbers and before names, before and after the colon of ``emodb:10``."""
    parts = name.split(":")
    return tuple((not part.isdecimal(), int(part) if part.isdecimal() else 0, part) for part in parts)


def listed(names: Iterable[str], most: int | None = None) -> str:
    """Return names in reading order for a message, as ``1, 2, 3 and 21 more (24 in all)``.

    Args:
        names: The names.
        most: How many to name; None names all.
    """
    ordered = sorted(names, key=reading_order)
    if most is None or len(ordered) <= most:
        return ", ".join(ordered)
    return f"{', '.join(ordered[:most])} and {len(ordered) - most} more ({len(ordered)} in all)"


def speaker_name(speaker: int | str) -> str:
    """Return the one spelling of a speaker: ``7``, ``"7"``, ``"07"`` and ``"7.0"`` are the same person."""
    name = " ".join(str(speaker).split())
    number = _WHOLE.fullmatch(name)
    return str(int(number[1])) if number else name


def unique(rows: Iterable[tuple[str, Row]]) -> Manifest:
    """Make a manifest of (place, row) pairs; every row whose key is used twice is left out, by name."""
    pairs = list(rows)
    places: dict[str, list[str]] = defaultdict(list)
    for place, row in pairs:
        places[row.key].append(place)
    kept = tuple(row for _, row in pairs if len(places[row.key]) == 1)
    broken = [
        ClipError(key, None, f"the key is used {len(found)} times ({', '.join(found)}); keys must be unique")
        for key, found in places.items()
        if len(found) > 1
    ]
    return Manifest(kept, tuple(broken))


def read_rows(path: Path, corpus: str) -> list[tuple[str, Row]]:
    """Read a CSV table; relative paths resolve against the table's folder.

    Args:
        path: The table, UTF-8, with a header. ``key`` is required, and one of ``video``, ``audio`` and ``text``. A
            name with a meaning is known in any case.
        corpus: Corpus name of rows whose table has no such column.

    Returns:
        Each row with its place in the table, as ``line 7``.

    Raises:
        CorpusError: The table is missing or unreadable, lacks a column, or has one twice.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file, _no_search_for_cycles():
            lines = csv.reader(file)
            header = [_KNOWN.get(name.strip().lower(), name.strip()) for name in next(lines, [])]
            _check_header(path, header)
            read = _row_reader(header, path.parent, corpus)
            return [(f"line {lines.line_num}", read(line)) for line in lines if line]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise CorpusError(f"the table {path} cannot be read: {reason}; give a UTF-8 CSV file with a header") from error


def write_manifest(path: Path, rows: Iterable[Row]) -> None:
    """Write a manifest as a CSV table with paths relative to its folder; the file appears whole or not at all."""
    rows = list(rows)
    extras = sorted({name for row in rows for name in row.extra})
    with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([*COLUMNS, *extras])
        writer.writerows([*_cells(row, path.parent), *(row.extra.get(name, "") for name in extras)] for row in rows)


def _check_header(path: Path, names: Sequence[str]) -> None:
    header = set(names)
    if twice := [name for name in _KNOWN if names.count(name) > 1]:
        raise CorpusError(f"the table {path} has more than one column {listed(twice)}; leave one of each")
    if "key" not in header or not header & {"video", "audio", "text"}:
        raise CorpusError(
            f"the table {path} has the columns {', '.join(names) or 'none'}; "
            "it needs 'key' and at least one of 'video', 'audio' and 'text'"
        )


@contextmanager
def _no_search_for_cycles() -> Iterator[None]:
    """Pause Python's search for reference cycles: rows have none, and it would look at each of them again and again."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _row_reader(header: Sequence[str], folder: Path, corpus: str) -> Callable[[Sequence[str]], Row]:
    """Return what turns a line of cells into a row; a table may have 100,000 of them, so columns are found once."""
    width = len(header)  # the place of an empty cell, which stands for every column that the table lacks
    place = {name: i for i, name in enumerate(header) if name}
    extras = [(name, i) for name, i in place.items() if name not in COLUMNS]
    key, owner, speaker, label, video, audio, text = (place.get(name, width) for name in COLUMNS)
    shared: dict[str, str] = {}  # one string for all rows of a corpus or a label
    speakers: dict[str, str | None] = {}

    def read(line: Sequence[str]) -> Row:
        cells = [*map(str.strip, line[:width])]
        cells += [""] * (width + 1 - len(cells))
        seen, heard, said, who = cells[video], cells[audio], cells[label], cells[speaker]
        if who not in speakers:
            speakers[who] = speaker_name(who) or None
        face = folder / seen if seen else None
        return Row(  # by position: names would take a tenth longer
            cells[key],
            shared.setdefault(cells[owner], cells[owner]) or corpus,
            speakers[who],
            shared.setdefault(said, said) or None,
            face,
            face if heard == seen else folder / heard if heard else None,
            cells[text] or None,
            {name: cells[i] for name, i in extras if cells[i]},
        )

    return read


def _cells(row: Row, folder: Path) -> list[str]:
    video, audio = _relative(row.video, folder), _relative(row.audio, folder)
    values = (row.key, row.corpus, row.speaker, row.label, video, audio, row.text)
    return [value or "" for value in values]


def _relative(path: Path | None, folder: Path) -> str | None:
    """Return a path as seen from a folder; most lie below it, and need no look at the working directory."""
    if path is None:
        return None
    rest = path.as_posix().removeprefix(f"{folder.as_posix()}/")
    if len(rest) < len(path.as_posix()) and ".." not in rest:
        return rest
    return Path(os.path.relpath(path, folder)).as_posix()
