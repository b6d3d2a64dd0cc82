"""The contact sheet of a prepared folder: some clips with their boxes, for a human to see whether it worked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from mmer.config import PrepareConfig
from mmer.corpora.manifest import Row
from mmer.data.clip import PreparedClip
from mmer.errors import ClipError
from mmer.media.container import Source
from mmer.media.faces.sheet import SheetRow, draw_sheet
from mmer.media.video import Frame, read_video

_WORST = 6  # clips whose face is lost most often or jumps most
_FACELESS = 3  # at most so many of these show no face at all
_SPREAD = 6  # clips that are spread evenly over the others
_FRAMES = 6  # of each clip


def write_sheet(
    path: Path, sources: Sequence[Row], rows: Sequence[Row], skipped: Sequence[ClipError], config: PrepareConfig
) -> None:
    """Draw the sheet; where no clip was to show a face, there is none.

    Args:
        path: Where to write it.
        sources: The rows that were prepared, which name the raw files.
        rows: Those that are ready.
        skipped: What was left out.
        config: How they were prepared.
    """
    videos = {row.key: row.video for row in sources if row.video is not None}
    faceless = [error.key for error in skipped if error.key in videos and "no face in any" in error.reason][:_FACELESS]
    lines = [_faceless(_source(key, videos, config)) for key in faceless]
    for row in choose([row for row in rows if row.video is not None], _WORST - len(lines)):
        lines.append(_shown(row, _source(row.key, videos, config)))
    if lines:
        draw_sheet(lines, path)
    else:
        path.unlink(missing_ok=True)


def choose(rows: Sequence[Row], worst: int) -> list[Row]:
    """Return the rows whose faces are found worst, the worst first, and some that are spread over the others."""
    ranked = sorted(rows, key=lambda row: (float(row.extra["face_share"]), -float(row.extra["face_jitter"]), row.key))
    chosen = {row.key for row in ranked[:worst]}
    others = [row for row in rows if row.key not in chosen]
    step = max(1.0, len(others) / _SPREAD)
    return ranked[:worst] + [others[int((i + 0.5) * step)] for i in range(min(_SPREAD, len(others)))]


def _source(key: str, videos: Mapping[str, Path], config: PrepareConfig) -> Source:
    return Source(key, videos[key], config.max_seconds)


def _faceless(source: Source) -> SheetRow:
    images = [frame.image for _, frame in sample_frames(source, _FRAMES)]
    return SheetRow(f"{source.key}: no face, left out", images, [None] * len(images))


def _shown(row: Row, source: Source) -> SheetRow:
    assert row.video is not None, "only clips with a face are chosen"
    boxes = PreparedClip.load(row.video, row.key, ["video"]).boxes
    frames = sample_frames(source, _FRAMES)
    found = row.extra
    title = (
        f"{row.key}: a face in {float(found['face_share']):.0%} of the frames, "
        f"{float(found['face_size']):.0f} pixels wide, jitter {float(found['face_jitter']):.1%}"
    )
    return SheetRow(title, [frame.image for _, frame in frames], [boxes[index] for index, _ in frames])


def sample_frames(source: Source, count: int) -> list[tuple[int, Frame]]:
    """Return some frames of a video, from the first to the last, with their places; only a few are held at a time."""
    kept: list[tuple[int, Frame]] = []
    step, last = 1, None
    for index, frame in enumerate(read_video(source)):
        last = index, frame
        if index % step == 0:
            kept.append(last)
        if len(kept) == 2 * count:
            kept, step = kept[::2], 2 * step
    if last is not None and kept[-1] != last:
        kept.append(last)
    places = np.linspace(0, len(kept) - 1, min(count, len(kept))).round().astype(int)
    return [kept[place] for place in places]
