"""A contact sheet shows every clip in a row, with what was found and what was not."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mmer.errors import ConfigError
from mmer.media.faces.sheet import SheetRow, draw_sheet

BOX = np.array([160, 120, 100, 0.0], np.float32)
BLUE = np.full((240, 320, 3), (20, 40, 120), np.uint8)


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB")).astype(int)


def green(sheet: np.ndarray) -> np.ndarray:
    return (sheet[..., 1] > sheet[..., 0] + 80) & (sheet[..., 1] > sheet[..., 2] + 80)


def red(sheet: np.ndarray) -> np.ndarray:
    return (sheet[..., 0] > sheet[..., 1] + 80) & (sheet[..., 0] > sheet[..., 2] + 80)


def test_box_is_drawn_where_the_face_is(tmp_path: Path) -> None:
    draw_sheet([SheetRow("a clip", [BLUE], [BOX])], tmp_path / "sheet.png")
    sheet = pixels(tmp_path / "sheet.png")
    frame = np.argwhere((sheet == (20, 40, 120)).all(axis=-1))
    (top, left), (bottom, right) = frame.min(axis=0), frame.max(axis=0) + 1
    scale = (right - left) / 320
    assert bottom - top == pytest.approx(240 * scale, abs=1)
    rows, columns = np.nonzero(green(sheet))
    edges = [(rows.min() - top), (rows.max() - top), (columns.min() - left), (columns.max() - left)]
    np.testing.assert_allclose(np.array(edges) / scale, [70, 170, 110, 210], atol=4)
    assert not red(sheet).any()


def test_rolled_box_is_drawn_rolled(tmp_path: Path) -> None:
    for name, roll in (("level", 0.0), ("rolled", np.pi / 4)):
        draw_sheet([SheetRow("", [BLUE], [np.array([160, 120, 100, roll])])], tmp_path / f"{name}.png")
    widths = [np.ptp(np.nonzero(green(pixels(tmp_path / f"{name}.png")))[1]) for name in ("level", "rolled")]
    assert widths[1] / widths[0] == pytest.approx(np.sqrt(2), rel=0.05)


@pytest.mark.parametrize("box", [None, np.full(4, np.nan, np.float32)])
def test_frame_without_a_face_is_marked(box: np.ndarray | None, tmp_path: Path) -> None:
    draw_sheet([SheetRow("a clip", [BLUE], [box])], tmp_path / "sheet.png")
    assert red(pixels(tmp_path / "sheet.png")).any() and not green(pixels(tmp_path / "sheet.png")).any()


def test_clips_of_any_shape_and_number_of_frames_share_a_sheet(tmp_path: Path) -> None:
    rows = [
        SheetRow("wide", [BLUE] * 6, [BOX] * 6),
        SheetRow("upright", [BLUE.transpose(1, 0, 2)] * 3, [None] * 3),
        SheetRow("tiny", [BLUE[:48, :48]], [np.array([24, 24, 40, 0])]),
        SheetRow("unreadable", [], []),
    ]
    draw_sheet(rows, tmp_path / "sheet.png")
    height, width = pixels(tmp_path / "sheet.png").shape[:2]
    assert width > 6 * 200 and height > 3 * 190


@pytest.mark.parametrize("title", ["ünd 顔 😀.mp4", "no \udcff Unicode", "a\nb", ""])
def test_any_title_can_be_drawn(title: str, tmp_path: Path) -> None:
    draw_sheet([SheetRow(title, [BLUE], [BOX])], tmp_path / "sheet.png")
    assert green(pixels(tmp_path / "sheet.png")).any()


def test_title_is_never_cut_off(tmp_path: Path) -> None:
    for name, title in (("short", "x"), ("long", "x" * 300)):
        draw_sheet([SheetRow(title, [BLUE], [BOX])], tmp_path / f"{name}.png")
    assert pixels(tmp_path / "long.png").shape[1] > 2000 > pixels(tmp_path / "short.png").shape[1]


def test_letters_beyond_ascii_have_shapes_of_their_own(tmp_path: Path) -> None:
    sheets = []
    for name in ("ü", "é"):
        draw_sheet([SheetRow(name, [BLUE], [BOX])], tmp_path / "sheet.png")
        sheets.append(pixels(tmp_path / "sheet.png"))
    assert (sheets[0] != sheets[1]).any()


def test_sheet_is_a_png(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"a contact sheet is a PNG file, and sheet\.jpg does not end in \.png"):
        draw_sheet([SheetRow("a clip", [BLUE], [BOX])], tmp_path / "sheet.jpg")
    assert list(tmp_path.iterdir()) == []


def test_folder_is_no_sheet(tmp_path: Path) -> None:
    (tmp_path / "sheet.png").mkdir()
    with pytest.raises(ConfigError, match=r"sheet\.png is a folder; name a file in it"):
        draw_sheet([SheetRow("a clip", [BLUE], [BOX])], tmp_path / "sheet.png")


def test_rows_are_let_go_of_as_they_are_drawn(tmp_path: Path) -> None:
    """A thousand files have a thousand rows of large frames."""
    frames: list[weakref.ref[np.ndarray]] = []
    alive = []

    def rows() -> Iterator[SheetRow]:
        for index in range(5):
            alive.append(sum(frame() is not None for frame in frames))
            frame = BLUE.copy()
            frames.append(weakref.ref(frame))
            yield SheetRow(str(index), [frame], [BOX])

    draw_sheet(rows(), tmp_path / "sheet.png")
    assert max(alive) <= 1
