"""The manifest: one row a clip, the one type that every corpus becomes."""

from __future__ import annotations

import csv
import os
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from mmer.atomic import replacing
from mmer.emotions import LabelSet
from mmer.errors import ClipError, ConfigError, CorpusError

COLUMNS = ("key", "corpus", "speaker", "label", "video", "audio", "text")
"""The columns with a meaning of their own; all others are kept as they are."""

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
            its samples.
    """

    key: str
    corpus: str
    speaker: str | None = None
    label: str | None = None
    video: Path | None = None
    audio: Path | None = None
    text: str | None = None
    extra: Mapping[str, str] = field(default_factory=dict)


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


def speaker_name(speaker: int | str) -> str:
    """Return the one spelling of a speaker: ``7``, ``"7"`` and ``"07"`` are the same person."""
    name = str(speaker).strip()
    return str(int(name)) if name.isdecimal() else name


def unique(rows: Iterable[tuple[str, Row]]) -> Manifest:
    """Make a manifest of (place, row) pairs; every row whose key is used twice is left out, by name."""
    pairs = list(rows)
    counts = Counter(row.key for _, row in pairs)
    kept = tuple(row for _, row in pairs if counts[row.key] == 1)
    broken = []
    for key in (key for key, count in counts.items() if count > 1):
        places = ", ".join(place for place, row in pairs if row.key == key)
        broken.append(ClipError(key, None, f"the key is used {counts[key]} times ({places}); keys must be unique"))
    return Manifest(kept, tuple(broken))


def read_rows(path: Path, corpus: str) -> list[tuple[str, Row]]:
    """Read a CSV table; relative paths resolve against the table's folder.

    Args:
        path: The table, UTF-8, with a header. ``key`` is required, and one of ``video``, ``audio`` and ``text``.
        corpus: Corpus name of rows whose table has no such column.

    Returns:
        Each row with its place in the table, as ``line 7``.

    Raises:
        CorpusError: The table is missing or unreadable, or lacks a column.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            _check_header(path, reader.fieldnames or ())
            return [(f"line {reader.line_num}", _row(line, path.parent, corpus)) for line in reader]
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


def _check_header(path: Path, names: Iterable[str]) -> None:
    header = set(names)
    if "key" not in header or not header & {"video", "audio", "text"}:
        raise CorpusError(
            f"the table {path} has the columns {', '.join(names) or 'none'}; "
            "it needs 'key' and at least one of 'video', 'audio' and 'text'"
        )


def _row(line: Mapping[str | None, str | None], folder: Path, corpus: str) -> Row:
    cells = {name: value.strip() for name, value in line.items() if name and value and value.strip()}
    speaker = cells.get("speaker")
    return Row(
        key=cells.get("key", ""),
        corpus=cells.get("corpus", corpus),
        speaker=None if speaker is None else speaker_name(speaker),
        label=cells.get("label"),
        video=folder / cells["video"] if "video" in cells else None,
        audio=folder / cells["audio"] if "audio" in cells else None,
        text=cells.get("text"),
        extra={name: value for name, value in cells.items() if name not in COLUMNS},
    )


def _cells(row: Row, folder: Path) -> list[str]:
    video, audio = (path and Path(os.path.relpath(path, folder)).as_posix() for path in (row.video, row.audio))
    values = (row.key, row.corpus, row.speaker, row.label, video, audio, row.text)
    return [value or "" for value in values]
