"""FER2013 (Goodfellow et al. 2013): grey faces of 48 x 48 pixels, as the owner's table or as folders of pictures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from mmer.corpora.manifest import Manifest, Row, unique
from mmer.errors import ClipError, CorpusError
from mmer.media.files import IMAGE_SUFFIXES, list_files
from mmer.media.pixels import PixelRow, iterate_rows

LABELS = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
"""FER2013's emotions in the order of its own codes 0 to 6."""

COUNTS = {"train": 28_709, "validation": 3_589, "test": 3_589}
"""Faces of each part."""

_PARTS = {"Training": "train", "PublicTest": "validation", "PrivateTest": "test"}
_FOLDERS = {"train": "train", "validation": "validation", "test": "test"} | _PARTS
_TABLES = ("fer2013.csv", "icml_face_data.csv")


def read_fer2013(path: Path) -> Manifest:
    """Read FER2013 from its table, or from folders of pictures; nobody knows who is seen, so no row has a speaker.

    The split is the owner's: Training is train, PublicTest is validation, PrivateTest is test. Where a folder called
    ``test`` joins the last two, the names of the pictures tell them apart, as ``PublicTest_1.jpg``.

    Args:
        path: ``fer2013.csv``, a folder that holds it, or a folder with ``train/<class>`` and ``test/<class>``. Where
            both are there, the table is read.

    Raises:
        CorpusError: There is neither, or the table lacks a column.
    """
    if path.is_file() and path.suffix.lower() != ".csv":
        raise CorpusError(f"{path} is no CSV table; unpack an archive first, and give fer2013.csv or the folder")
    table = next((file for file in (path, *(path / name for name in _TABLES)) if file.is_file()), None)
    rows, broken = _read_folders(path) if table is None else _read_table(table)
    manifest = unique((str(row.video), row) for row in rows)
    return Manifest(manifest.rows, (*broken, *manifest.broken), (_count(manifest.rows),))


def _read_table(table: Path) -> tuple[list[Row], list[ClipError]]:
    rows, broken = [], []
    try:
        for line in iterate_rows(table):
            try:
                rows.append(_table_row(table, line))
            except ClipError as error:
                broken.append(error)
    except ValueError as error:
        raise CorpusError(f"the table {table} cannot be read: {error}; give FER2013's own table") from error
    return rows, broken


def _table_row(table: Path, line: PixelRow) -> Row:
    key, where = f"{line.usage or 'row'}-{line.number:05d}", table / str(line.number)
    if line.usage not in _PARTS:
        raise ClipError(key, where, f"row {line.number} has the Usage {line.usage!r}; it is one of {', '.join(_PARTS)}")
    if not line.emotion.isdecimal() or int(line.emotion) >= len(LABELS):
        raise ClipError(key, where, f"row {line.number} has the emotion {line.emotion!r}; the codes are 0 to 6")
    fault = line.fault()
    if fault is not None:
        raise ClipError(key, where, fault)
    split = {"split": _PARTS[line.usage]}
    return Row(key, "fer2013", label=LABELS[int(line.emotion)], video=where, extra=split)


def _read_folders(path: Path) -> tuple[list[Row], list[ClipError]]:
    if not path.is_dir():
        raise CorpusError(f"{path} does not exist; give fer2013.csv, or the folder that holds it or train/<class>")
    parts = [folder for name in _FOLDERS if (folder := path / name).is_dir()]
    if not parts:
        raise CorpusError(f"{path} holds neither {_TABLES[0]} nor folders train/<class> and test/<class>")
    rows, broken = [], []
    for part in parts:
        for file in list_files(part):
            if file.suffix.lower() not in IMAGE_SUFFIXES:
                continue
            try:
                rows.append(_folder_row(path, file))
            except ClipError as error:
                broken.append(error)
    return rows, broken


def _folder_row(root: Path, file: Path) -> Row:
    inner = file.relative_to(root)
    key, (part, label) = inner.with_suffix("").as_posix(), inner.parts[:2]
    if label not in LABELS:
        raise ClipError(key, file, f"its folder {label!r} is no class of FER2013; the classes are {', '.join(LABELS)}")
    split = _PARTS.get(file.stem.partition("_")[0], _FOLDERS[part])
    return Row(key, "fer2013", label=label, video=file, extra={"split": split})


def _count(rows: Iterable[Row]) -> str:
    """Compare the faces of every part with those that FER2013 has."""
    counts = Counter(row.extra["split"] for row in rows)
    total = sum(COUNTS.values())
    if counts == COUNTS:
        return f"complete: {total:,} faces"
    shown = ", ".join(f"{part} {counts[part]:,} of {known:,}" for part, known in COUNTS.items())
    return f"{counts.total():,} of {total:,} faces: {shown}"
