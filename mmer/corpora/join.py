"""Several corpora to one manifest, so that they can be trained together; every row keeps its corpus."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

from mmer.corpora.manifest import Manifest, unique


def join(manifests: Sequence[Manifest]) -> Manifest:
    """Join manifests.

    A key that two corpora share gets the corpus in front: ``ravdess/01-05-02-01-02-13``. A key that is there twice in
    one corpus is left out, by name.
    """
    owners: dict[str, set[str]] = defaultdict(set)
    for row in (row for manifest in manifests for row in manifest.rows):
        owners[row.key].add(row.corpus)
    rows = [
        replace(row, key=f"{row.corpus}/{row.key}") if len(owners[row.key]) > 1 else row
        for manifest in manifests
        for row in manifest.rows
    ]
    joined = unique((f"corpus {row.corpus}", row) for row in rows)
    broken = [error for manifest in manifests for error in manifest.broken]
    notes = [_said(manifest, note, len(manifests)) for manifest in manifests for note in manifest.notes]
    return Manifest(joined.rows, (*broken, *joined.broken), tuple(notes))


def _said(manifest: Manifest, note: str, count: int) -> str:
    """Say of which of several corpora a note speaks."""
    return f"{manifest.rows[0].corpus}: {note}" if count > 1 and manifest.rows else note
