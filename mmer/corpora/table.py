"""Any data set as a CSV table: key, video, audio, text, label, speaker and free extra columns."""

from __future__ import annotations

from pathlib import Path

from mmer.corpora.manifest import Manifest, Row, read_rows, unique
from mmer.errors import ClipError


def read_table(path: Path) -> Manifest:
    """Read a table; a row that cannot be a clip is left out by name, the others stay.

    Args:
        path: A CSV file; relative paths in it resolve against its folder. Its stem names the corpus, unless it has a
            ``corpus`` column.

    Raises:
        CorpusError: The table itself cannot be used.
    """
    good, broken = [], []
    for place, row in read_rows(path, corpus=path.stem):
        fault = _fault(place, row)
        if fault is None:
            good.append((place, row))
        else:
            broken.append(fault)
    manifest = unique(good)
    return Manifest(manifest.rows, (*broken, *manifest.broken))


def _fault(place: str, row: Row) -> ClipError | None:
    """Say what keeps a row from being a clip; whether its files exist is seen when they are read."""
    if not row.key:
        return ClipError(f"at {place}", None, "the row has no key")
    if row.video is None and row.audio is None and row.text is None:
        return ClipError(row.key, None, f"the row ({place}) names no video, no audio and no text")
    return None
