"""What a preparation did, counted: for the end of ``mmer prepare``, for people and for programs."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from statistics import median
from typing import Any

from mmer.config import Modality
from mmer.corpora.manifest import Row
from mmer.data.prepare import Preparation

_DETAIL = re.compile(r"'[^']*'|\d+(?:\.\d+)?")
_MODALITIES: tuple[Modality, ...] = ("video", "audio", "text")


def summarise(done: Preparation) -> dict[str, Any]:
    """Return the counts of a preparation as plain data.

    ``reasons`` counts the clips that were left out by reason, without numbers and names; ``faces`` holds medians over
    clips: the share of frames with a face, its side in pixels, and its jitter from frame to frame as a share of that.
    """
    rows, skipped = done.rows, done.skipped
    return {
        "clips": len(rows) + len(skipped),
        "prepared": len(rows),
        "modalities": {name: sum(getattr(row, name) is not None for row in rows) for name in _MODALITIES},
        "features": _count(name for row in rows for name in row.extra.get("features", "").split()),
        "labels": _count(row.label or "none" for row in rows),
        "speakers": _count(row.speaker or "none" for row in rows),
        "faces": {name: _median(rows, f"face_{name}") for name in ("share", "size", "jitter")},
        "reasons": _count(kind_of_fault(error.reason) for error in skipped),
        "skipped": [{"key": error.key, "path": error.path, "reason": error.reason} for error in skipped],
        "notes": list(done.notes),
        "warnings": list(done.warnings),
    }


def kind_of_fault(reason: str) -> str:
    """Return why a clip was left out without the numbers and names that make each reason different."""
    return _DETAIL.sub("...", reason)


def _count(values: Iterable[str]) -> dict[str, int]:
    """Count values, the most frequent first."""
    return dict(Counter(values).most_common())


def _median(rows: Sequence[Row], name: str) -> float | None:
    values = [float(row.extra[name]) for row in rows if row.extra.get(name)]
    return round(median(values), 4) if values else None
