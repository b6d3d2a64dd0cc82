"""Precomputed descriptors, such as OpenFace's action units, joined to clips by their keys."""

from __future__ import annotations

import csv
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any
from zipfile import BadZipFile
from zlib import error as ZlibError

import numpy as np
from numpy.typing import NDArray

from mmer.errors import ClipError, CorpusError

Values = NDArray[np.float32]
"""One clip's stream: t steps of f numbers, [t f]."""

_UNREADABLE = (OSError, ValueError, KeyError, EOFError, csv.Error, BadZipFile, ZlibError)
_KEY_COLUMNS = ("key", "name", "filename", "file")
_DESCRIPTIONS = (
    *("label", "emotion", "speaker", "actor", "subject", "gender", "split", "fold"),  # would leak the answer
    *("", "index", "frame", "face_id", "time", "timestamp"),  # a column without a name numbers the lines
)
_TABLE_SUFFIXES = (".npy", ".npz", ".csv")
_MEDIA_SUFFIX = re.compile(r"\.(mp4|avi|flv|mov|mkv|webm|wav|flac|mp3|ogg|m4a|jpe?g|png|csv|npy)$", re.IGNORECASE)
_RAVDESS_NAME = re.compile(r"(?:\d\d-)?((?:\d\d-){5}\d\d)(?![\d-]).*")


class FeatureStream:
    """One stream of descriptors: who has it, and the numbers.

    Args:
        name: The stream's name.
        path: Where it lies, for errors.
        names: What its entries are called.
        load: Reads the entry of that name.
        notes: What a human should know of it.
    """

    def __init__(
        self,
        name: str,
        path: Path,
        names: Iterable[str],
        load: Callable[[str], NDArray[Any]],
        notes: Sequence[str] = (),
    ) -> None:
        self.name, self.path, self.notes = name, path, tuple(notes)
        self._load = load
        self._names = dict.fromkeys(names)
        self._takes: dict[str, list[str]] = defaultdict(list)
        for entry in self._names:
            self._takes[_take(entry)].append(entry)
        self._first: tuple[str, int] | None = None  # the first clip that was read, and how wide it is

    def check(self, keys: Sequence[str]) -> None:
        """Refuse a stream that has no entry for any clip: the keys do not fit.

        Raises:
            CorpusError: There is none.
        """
        if keys and not any(key in self._names or _take(key) in self._takes for key in keys):
            example = next(iter(self._names), None)
            raise CorpusError(
                f"features {self.name} of {self.path} fit none of {len(keys)} clips: an entry is called "
                f"{example!r} and a clip {keys[0]!r}; name the entries like the clips"
            )

    def read(self, key: str) -> Values | None:
        """Return a clip's numbers, or None where the stream has none.

        An entry may be named exactly like the clip, or like one of its files; RAVDESS's names also match without their
        modality and with an ending.

        Raises:
            ClipError: The entry is unreadable, has another width than the others, or holds what is no number.
        """
        entry = self._find(key)
        if entry is None:
            return None
        try:
            values = np.atleast_2d(self._load(entry))
        except _UNREADABLE as error:
            raise self._error(key, f"its entry {entry!r} is unreadable: {error}") from error
        if values.ndim != 2 or values.dtype.kind not in "fiub" or values.size == 0:
            raise self._error(key, f"it is {values.dtype} {list(values.shape)}; give numbers [f] or [t f]")
        with np.errstate(over="ignore"):  # what is too large becomes infinite and is refused below
            values = values.astype(np.float32)
        wrong = int(np.count_nonzero(~np.isfinite(values)))
        if wrong:
            raise self._error(key, f"{wrong} of its {values.size} values are not finite numbers")
        first, width = self._first = self._first or (key, values.shape[1])
        if values.shape[1] != width:
            raise self._error(key, f"it is {values.shape[1]} wide and that of {first!r} {width}; all must be as wide")
        return np.ascontiguousarray(values)

    def _find(self, key: str) -> str | None:
        if key in self._names:
            return key
        entries = self._takes.get(_take(key), [])
        if len(entries) > 1:
            raise self._error(key, f"it has several entries: {', '.join(map(repr, entries))}; keep one")
        return entries[0] if entries else None

    def _error(self, key: str, reason: str) -> ClipError:
        return ClipError(key, self.path, f"features {self.name}: {reason}")


def open_features(name: str, path: Path) -> FeatureStream:
    """Open a stream of features.

    Args:
        name: The stream's name.
        path: A folder with ``KEY.npy``, ``KEY.npz`` (one array each) or ``KEY.csv`` per clip, an ``.npz`` file with an
            array per clip, or one CSV table with a column ``key``, ``name`` or ``filename``; several lines of one clip
            are its steps in time. Tables have a header, and ``,`` ``;`` or tabs between their columns.

    Raises:
        CorpusError: There is nothing that could be read.
    """
    if path.is_dir():
        return _open_folder(name, path)
    try:
        if path.suffix.lower() == ".npz":
            arrays = np.load(path, allow_pickle=False)
            return FeatureStream(name, path, arrays.files, arrays.__getitem__)
        columns, clips = _read_table(path)
    except _UNREADABLE as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise CorpusError(
            f"features {name}: {path} cannot be read ({reason}); give a folder of .npy, .npz or .csv files, "
            "an .npz file, or a CSV table"
        ) from error
    return FeatureStream(name, path, clips, clips.__getitem__, [f"features {name}: {columns}"])


def _open_folder(name: str, folder: Path) -> FeatureStream:
    files = {
        path.relative_to(folder).with_suffix("").as_posix(): path
        for path in sorted(folder.rglob("*"))
        if path.suffix.lower() in _TABLE_SUFFIXES and not path.name.startswith(".")
    }
    if not files:
        raise CorpusError(f"features {name}: {folder} holds no .npy, .npz or .csv file")
    return FeatureStream(name, folder, files, lambda entry: _read_file(files[entry]))


def _read_file(path: Path) -> NDArray[Any]:
    """Read one clip's own file."""
    if path.suffix.lower() == ".csv":
        header, lines = _read_lines(path)
        columns = _number_columns(header, lines, None)
        return _numbers(lines, list(columns.values()))
    arrays = np.load(path, allow_pickle=False)
    if isinstance(arrays, np.ndarray):
        return arrays
    with arrays:
        if len(arrays.files) != 1:
            raise ValueError(f"it holds {len(arrays.files)} arrays and not one")
        only: NDArray[Any] = arrays[arrays.files[0]]
        return only


def _read_table(path: Path) -> tuple[str, Mapping[str, NDArray[np.float64]]]:
    """Read one table of many clips; say which columns were taken, and return each clip's lines in order."""
    header, lines = _read_lines(path)
    key = next((header.index(name) for name in _KEY_COLUMNS if name in header), None)
    if key is None:
        raise ValueError(f"it has no column {' or '.join(_KEY_COLUMNS)}")
    columns = _number_columns(header, lines, key)
    if not columns:
        raise ValueError("it has no column of numbers")
    clips: dict[str, list[list[str]]] = defaultdict(list)
    for line in lines:
        clips[line[key].strip()].append(line)
    left = [name for i, name in enumerate(header) if name and i != key and name not in columns]
    said = f"{len(columns)} columns" + (f", without {', '.join(left)}" if left else "")
    places = list(columns.values())
    return said, {name: _numbers(own, places) for name, own in clips.items()}


def _read_lines(path: Path) -> tuple[list[str], list[list[str]]]:
    """Return a table's header and its lines, all as long as the header."""
    with path.open(newline="", encoding="utf-8-sig") as file:
        delimiter = max(",;\t", key=file.readline().count)
        file.seek(0)
        table = [line for line in csv.reader(file, delimiter=delimiter) if line]
    if len(table) < 2:
        raise ValueError("it has a header and no lines" if table else "it is empty")
    header = [name.strip() for name in table[0]]
    short = next((i for i, line in enumerate(table) if len(line) != len(header)), None)
    if short is not None:
        raise ValueError(f"line {short + 1} has {len(table[short])} cells and the header {len(header)}")
    return header, table[1:]


def _number_columns(header: list[str], lines: list[list[str]], key: int | None) -> dict[str, int]:
    """Return the columns that hold numbers and say something of the face or the voice, with their places."""
    return {
        name: i
        for i, name in enumerate(header)
        if i != key and name.lower() not in _DESCRIPTIONS and _all_numbers(line[i] for line in lines)
    }


def _all_numbers(cells: Iterable[str]) -> bool:
    """Tell whether all cells are numbers or empty, and not all of them empty."""
    try:
        return len([float(cell) for cell in cells if cell.strip()]) > 0
    except ValueError:
        return False


def _numbers(lines: list[list[str]], places: list[int]) -> NDArray[np.float64]:
    """Return the cells of some columns; an empty one is no number."""
    return np.array([[float(line[i].strip() or "nan") for i in places] for line in lines])


def _take(name: str) -> str:
    """Return what the names of a clip's files have in common: no suffix, and of RAVDESS's the last six fields."""
    stem = _MEDIA_SUFFIX.sub("", name)
    match = _RAVDESS_NAME.fullmatch(stem)
    return stem if match is None else match[1]
