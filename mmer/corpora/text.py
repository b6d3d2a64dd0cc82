"""Words alone: GoEmotions (Demszky et al. 2020), and any table of texts and labels."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal, get_args

from mmer.corpora.manifest import Manifest, Row, speaker_name, unique
from mmer.corpora.named import find_files
from mmer.emotions import GOEMOTIONS_GROUPS
from mmer.errors import ClipError, ConfigError, CorpusError

Grouping = Literal["own", "ekman"]
"""GoEmotions' labels as they are, or in Ekman's groups as its owners put them."""

_COUNTS = {"train": 43_410, "dev": 5426, "test": 5427}
CLIPS = sum(_COUNTS.values())

_PARTS = {"train": "train", "dev": "validation", "test": "test"}
_TABLE = re.compile(r"(?:goemotions_(?:\w+_)?)?(train|dev|test)")
_LABELS = re.compile(r"emotions|(?:\w+_)?labels")
_GROUP_OF = {word: group for group, words in GOEMOTIONS_GROUPS.items() for word in words}
_COLUMNS = ("key", "corpus", "speaker", "label", "text")


def read_goemotions(folder: Path, grouping: Grouping = "own") -> Manifest:
    """Find GoEmotions' ``train.tsv``, ``dev.tsv`` and ``test.tsv``, and the names of their labels beside them.

    A comment with several labels is no clip of a single emotion; it is left out and counted. In Ekman's groups fewer
    have several.

    Args:
        folder: Holds the tables of text, label ids and comment id, and ``emotions.txt`` or ``labels.txt``; names with
            ``goemotions_`` in front are understood too.
        grouping: What the labels are.

    Raises:
        CorpusError: The folder is missing, or holds no table or no names of labels.
        ConfigError: There is no such grouping.
    """
    if grouping not in get_args(Grouping):
        raise ConfigError(f"GoEmotions has no grouping {grouping!r}; choose one of {', '.join(get_args(Grouping))}")
    tables = _tables(folder)
    pairs: list[tuple[str, Row]] = []
    broken: list[ClipError] = []
    notes = []
    for part in (part for part in _COUNTS if part in tables):
        good, bad, count, several = _read_part(part, tables[part], _label_names(tables[part].parent), grouping)
        pairs += good
        broken += bad
        known = _COUNTS[part]
        total = f" is complete: {known:,}" if count == known else f": {count:,} of {known:,}"
        notes.append(f"{part}{total} comments; {several:,} with several labels were left out")
    absent = [part for part in _COUNTS if part not in tables]
    if absent:
        notes.append(f"there is no {' and no '.join(f'{part}.tsv' for part in absent)}")
    manifest = unique(pairs)
    return Manifest(manifest.rows, (*broken, *manifest.broken), tuple(notes))


def _tables(folder: Path) -> Mapping[str, Path]:
    tables: dict[str, Path] = {}
    for path in find_files(folder, (".tsv",)):
        match = _TABLE.fullmatch(path.stem)
        if match is None:
            continue
        if match[1] in tables:
            raise CorpusError(
                f"{tables[match[1]]} and {path} are both the {match[1]} part; give a folder with one of them"
            )
        tables[match[1]] = path
    if not tables:
        raise CorpusError(f"{folder} holds none of GoEmotions' tables train.tsv, dev.tsv, test.tsv")
    return tables


def _label_names(folder: Path) -> list[str]:
    found = [path for path in sorted(folder.glob("*.txt")) if _LABELS.fullmatch(path.stem)]
    if len(found) != 1:
        names = " and ".join(path.name for path in found) or "no file"
        raise CorpusError(
            f"{folder} has {names} with the names of the labels; it needs one, emotions.txt or labels.txt"
        )
    return _read_file(found[0]).split()


def _read_part(
    part: str, path: Path, names: Sequence[str], grouping: Grouping
) -> tuple[list[tuple[str, Row]], list[ClipError], int, int]:
    """Return a part's comments of one label, its broken lines, its number of lines, and of those of several labels."""
    ids = {str(place): name if grouping == "own" else _GROUP_OF.get(name, name) for place, name in enumerate(names)}
    good, broken, several = [], [], 0
    lines = [(number, line) for number, line in enumerate(_read_file(path).split("\n"), 1) if line.strip()]
    for number, line in lines:
        try:
            key, labels, text = _comment(path, number, line, ids)
        except ClipError as error:
            broken.append(error)
            continue
        if len(labels) > 1:
            several += 1
            continue
        row = Row(key, "goemotions", label=labels.pop(), text=text, extra={"split": _PARTS[part]})
        good.append((f"{path.name} line {number}", row))
    return good, broken, len(lines), several


def _comment(path: Path, number: int, line: str, ids: Mapping[str, str]) -> tuple[str, set[str], str]:
    """Return a comment's key, labels and text."""
    cells = [cell.strip() for cell in line.split("\t")]
    labels = {ids.get(place) for place in cells[1].split(",")} if len(cells) == 3 else {None}
    known = {label for label in labels if label is not None}
    if len(known) < len(labels) or not all(cells):
        reason = f"it is not a text, label ids from 0 to {len(ids) - 1} and a comment's id, with tabs between"
        raise ClipError(f"at line {number}", path, reason)
    return cells[2], known, cells[0]


def read_text(path: Path) -> Manifest:
    """Read a table of texts: a column ``text``, and where there are such ``label``, ``key``, ``speaker`` and others.

    A row without a key is called by its line, as ``reviews-17``.

    Args:
        path: A CSV or TSV file, UTF-8, with a header; commas, tabs and semicolons part its cells. Its stem names the
            corpus, unless it has a column ``corpus``.

    Raises:
        CorpusError: The file is missing or unreadable, or has no column ``text``.
    """
    pairs, broken = [], []
    for number, cells in _read_cells(path):
        if "text" in cells:
            pairs.append((f"line {number}", _row(cells, path.stem, number)))
        else:
            broken.append(ClipError(cells.get("key", f"at line {number}"), path, f"line {number} has no text"))
    manifest = unique(pairs)
    return Manifest(manifest.rows, (*broken, *manifest.broken))


def _read_cells(path: Path) -> Iterator[tuple[int, Mapping[str, str]]]:
    """Yield each line's filled cells by column, with the line's number."""
    text = _read_file(path)
    reader = csv.reader(
        io.StringIO(text, newline=""), delimiter=max(",\t;", key=text.partition("\n")[0].count), strict=True
    )
    try:
        columns = [name.strip().lower() for name in next(reader, [])]
        if "text" not in columns:
            given = ", ".join(columns) or "none"
            raise CorpusError(f"{path} has the columns {given}; it needs 'text', and 'label' to train")
        if len(set(columns)) < len(columns):
            raise CorpusError(f"{path} has the columns {', '.join(columns)}; each name may be there once")
        for line in reader:
            cells = {name: cell.strip() for name, cell in zip(columns, line, strict=False) if cell.strip()}
            if cells:
                yield reader.line_num, cells
    except csv.Error as error:
        reason = f"line {reader.line_num}: {error}"
        raise CorpusError(
            f"{path} cannot be read: {reason}; a cell that begins with a quotation mark ends with one"
        ) from error


def _row(cells: Mapping[str, str], corpus: str, number: int) -> Row:
    speaker = cells.get("speaker")
    return Row(
        key=cells.get("key", f"{corpus}-{number}"),
        corpus=cells.get("corpus", corpus),
        speaker=None if speaker is None else speaker_name(speaker),
        label=cells.get("label"),
        text=cells["text"],
        extra={name: cell for name, cell in cells.items() if name and name not in _COLUMNS},
    )


def _read_file(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise CorpusError(f"{path} cannot be read: {reason}; give a UTF-8 file") from error
