"""The contact sheet shows the worst clips and some of the others, with the boxes that were found."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image as pillow

from mmer.config import PrepareConfig
from mmer.corpora.manifest import Manifest, Row
from mmer.data import sheet
from mmer.data.prepare import Preparation, prepare_corpus
from mmer.data.sheet import choose, sample_frames
from mmer.media.container import Source
from mmer.media.faces.sheet import SheetRow
from mmer.media.video import read_video

SMALL = PrepareConfig(size=64)


def found(key: str, share: float, jitter: float = 0.0) -> Row:
    return Row(key, "test", video=Path(key), extra={"face_share": f"{share:.3f}", "face_jitter": f"{jitter:.4f}"})


def test_half_are_the_worst_and_half_are_spread_over_the_others() -> None:
    rows = [found(f"{i:03}", 1.0) for i in range(100)]
    rows[50], rows[10], rows[70] = found("lost", 0.2), found("jumps", 1.0, 0.5), found("often lost", 0.1)
    keys = [row.key for row in choose(rows, 3)]
    assert keys[:3] == ["often lost", "lost", "jumps"]
    assert keys[3:] == ["008", "025", "041", "058", "075", "091"]


@pytest.mark.parametrize("count", [0, 1, 5, 12, 13])
def test_no_clip_is_shown_twice(count: int) -> None:
    keys = [row.key for row in choose([found(str(i), 1.0) for i in range(count)], 6)]
    assert len(keys) == len(set(keys)) == min(count, 12)


def test_frames_are_spread_from_the_first_to_the_last(odd_media: dict[str, Path]) -> None:
    source = Source("a", odd_media["face at times.mp4"])
    times = [frame.time for frame in read_video(source)]
    frames = sample_frames(source, 6)
    places = [place for place, _ in frames]
    assert [frame.time for _, frame in frames] == [times[place] for place in places]
    assert (len(places), places[0], places[-1]) == (6, 0, len(times) - 1)
    assert min(np.diff(places)) >= 2


def test_short_clip_is_shown_whole(odd_media: dict[str, Path]) -> None:
    assert [i for i, _ in sample_frames(Source("a", odd_media["two tenths.mp4"]), 6)] == [0, 1, 2, 3, 4]


def prepare(tmp_path: Path, media: dict[str, Path], names: list[str]) -> Preparation:
    rows = tuple(Row(name, "test", video=media[name]) for name in names)
    return prepare_corpus(Manifest(rows), tmp_path / "prepared", SMALL, progress=False)


def test_sheet_has_a_line_for_every_clip_and_those_left_out_for_no_face(
    tmp_path: Path, odd_media: dict[str, Path], bad_media: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[SheetRow] = []
    draw = sheet.draw_sheet
    monkeypatch.setattr(sheet, "draw_sheet", lambda rows, path: (drawn.extend(rows), draw(rows, path)))
    names = ["no face.mp4", "text.mp4", "a face.mp4", "face at times.mp4"]
    prepare(tmp_path, odd_media | bad_media, names)
    assert [row.title.split(":")[0] for row in drawn] == ["no face.mp4", "face at times.mp4", "a face.mp4"]
    hidden, sometimes, always = drawn
    assert hidden.title == "no face.mp4: no face, left out" and set(hidden.boxes) == {None}
    assert always.title.startswith("a face.mp4: a face in 100% of the frames, ")
    seen = [box is not None and bool(np.isfinite(box).all()) for box in sometimes.boxes]
    assert seen[0] and not any(seen[2:]), "the face is there in the first 6 of 31 frames"
    assert all(box is not None and np.isfinite(box).all() for box in always.boxes)
    with pillow.open(tmp_path / "prepared" / "faces.png") as image:
        assert image.format == "PNG" and min(image.size) > 300


def test_two_sheets_of_the_same_clips_are_the_same(tmp_path: Path, odd_media: dict[str, Path]) -> None:
    first, second = (tmp_path / name for name in ("first", "second"))
    for folder in (first, second):
        prepare(folder, odd_media, ["a face.mp4", "face at times.mp4"])
    assert (first / "prepared/faces.png").read_bytes() == (second / "prepared/faces.png").read_bytes()


def test_no_sheet_where_none_is_wanted(tmp_path: Path, odd_media: dict[str, Path]) -> None:
    rows = (Row("a", "test", video=odd_media["a face.mp4"]),)
    prepare_corpus(Manifest(rows), tmp_path / "prepared", SMALL, sheet=False, progress=False)
    assert not (tmp_path / "prepared" / "faces.png").exists()
