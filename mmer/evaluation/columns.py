"""Tables of named columns: CSV, or Parquet with the extra of that name."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmer.atomic import replacing
from mmer.corpora.manifest import listed
from mmer.errors import ConfigError, PredictionsError

SUFFIXES = (".csv", ".parquet")
"""Of the files that can be read and written."""

_NAMED = 5  # lines that an error names


@dataclass(frozen=True, slots=True)
class Columns:
    """A table as it was read: text, whatever it means.

    Args:
        path: The file.
        values: The cells of each column, without spaces around them.
        lines: The number of each row in the file; in a Parquet file the first row is 1.
    """

    path: Path
    values: Mapping[str, Sequence[str]]
    lines: Sequence[int]

    def __len__(self) -> int:
        return len(self.lines)

    def where(self, rows: Iterable[Any]) -> str:
        """Say where rows are, as ``lines 3, 7 and 12 more (14 in all)``."""
        return _named_lines(self.lines[row] for row in rows)


def read_columns(path: Path) -> Columns:
    """Read a table with a header.

    Args:
        path: A CSV file (UTF-8, commas) or a Parquet file, known by its suffix.

    Raises:
        PredictionsError: It is missing, unreadable or no table, or has a column twice.
        ConfigError: Parquet files cannot be read here.
    """
    check_suffix(path)
    try:
        header, rows, lines = _read_parquet(path) if path.suffix == ".parquet" else _read_csv(path)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())
        raise PredictionsError(
            f"the predictions {path} cannot be read: {reason}; give a UTF-8 CSV file with a header, or a Parquet file"
        ) from error
    if twice := sorted({name for name in header if header.count(name) > 1}):
        raise PredictionsError(f"{path} has more than one column {listed(twice)}; leave one of each")
    cells = rows or [()] * len(header)
    return Columns(path, dict(zip(header, cells, strict=True)), lines)


def write_columns(path: Path, columns: Mapping[str, Sequence[str] | NDArray[np.float64]]) -> None:
    """Write a table; numbers are written so that they are read again as the same numbers.

    Args:
        path: The file; its suffix says in which format.
        columns: The columns, text or numbers, in their order.

    Raises:
        ConfigError: Neither of the formats, or Parquet cannot be written here.
    """
    check_suffix(path)
    with replacing(path) as temporary:
        if path.suffix == ".parquet":
            arrow, parquet = _pyarrow()
            parquet.write_table(arrow.table(dict(columns)), temporary)
            return
        texts = [map(repr, x.tolist()) if isinstance(x, np.ndarray) else x for x in columns.values()]
        with temporary.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(columns)
            writer.writerows(zip(*texts, strict=True))


def check_suffix(path: Path) -> None:
    """Raise a ConfigError unless a file's suffix is that of a table that can be read and written here."""
    if path.suffix not in SUFFIXES:
        raise ConfigError(
            f"predictions {path}: the name must end in {' or '.join(SUFFIXES)}; rename it or export it so"
        )
    if path.suffix == ".parquet":
        _pyarrow()


def _named_lines(numbers: Iterable[int]) -> str:
    lines = [str(number) for number in numbers]
    return f"line{'s' * (len(lines) > 1)} {listed(lines, _NAMED)}"


def _read_csv(path: Path) -> tuple[list[str], list[tuple[str, ...]], Sequence[int]]:
    rows, lines = [], []
    with path.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.reader(file)
        header = [name.strip() for name in next(reader, [])]
        for row in reader:
            if row:
                rows.append(row)
                lines.append(reader.line_num)
    if ragged := [line for line, row in zip(lines, rows, strict=True) if len(row) != len(header)]:
        where = _named_lines(ragged)
        raise PredictionsError(f"{path}: not the {len(header)} cells of the header on {where}; mend the table")
    return header, [tuple(cell.strip() for cell in column) for column in zip(*rows, strict=True)], lines


def _read_parquet(path: Path) -> tuple[list[str], list[tuple[str, ...]], Sequence[int]]:
    arrow, parquet = _pyarrow()
    try:
        table = parquet.read_table(path)
    except arrow.ArrowException as error:
        raise OSError("it is no whole Parquet file") from error
    columns = [tuple("" if x is None else str(x).strip() for x in column.to_pylist()) for column in table.columns]
    return table.column_names, columns, range(1, table.num_rows + 1)


def _pyarrow() -> tuple[Any, Any]:
    """Return pyarrow and its Parquet module."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise ConfigError("Parquet files need pyarrow: pip install 'mmer[parquet]', or use CSV") from error
    return pyarrow, pyarrow.parquet
