"""``mmer faces``: a quick look at what the detector makes of some files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from mmer.cli import main


def test_findings_are_printed_and_drawn(
    odd_media: dict[str, Path], bad_media: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = [odd_media["a face.mp4"], odd_media["spaces ünd 顔 %03d.mp4"], bad_media["no face.mp4"]]
    assert main(["faces", *map(str, files), "--output", str(tmp_path / "sheet.png")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(f"{files[0]}: a face in 100% of the frames, ")
    assert lines[2] == f"{files[2]}: no face"
    assert lines[3] == f"contact sheet: {tmp_path / 'sheet.png'}"
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.height > 3 * 190


def test_findings_are_also_json(odd_media: dict[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    file = odd_media["face at times.mp4"]
    assert main(["faces", str(file), "--format", "json", "--detect-every", "3"]) == 0
    (finding,) = json.loads(capsys.readouterr().out)
    assert finding.keys() == {"file", "share", "size", "height_share", "jitter"}
    assert finding["file"] == str(file) and 0 < finding["share"] < 0.5


def test_file_that_cannot_be_read_is_named_and_the_others_are_looked_at(
    odd_media: dict[str, Path], bad_media: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken, good = bad_media["zero bytes.mp4"], odd_media["a face.mp4"]
    assert main(["faces", str(broken), str(good), "--format", "json", "--output", str(tmp_path / "a.png")]) == 2
    shown = capsys.readouterr()
    assert f"mmer: error: clip {broken}: the file is empty (0 bytes)" in shown.err
    first, second = json.loads(shown.out)
    assert first == {"file": str(broken), "error": "the file is empty (0 bytes)"}
    assert second["share"] == 1
    assert (tmp_path / "a.png").is_file()


def test_wrong_name_of_the_sheet_is_refused_before_anything_is_read(
    odd_media: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["faces", str(odd_media["a face.mp4"]), "--output", "sheet.jpg"]) == 2
    shown = capsys.readouterr()
    assert shown.out == "" and "sheet.jpg does not end in .png" in shown.err


def test_sheet_s_folder_is_made(odd_media: dict[str, Path], tmp_path: Path) -> None:
    assert main(["faces", str(odd_media["a face.mp4"]), "--output", str(tmp_path / "a" / "ü" / "sheet.png")]) == 0
    assert [path.name for path in (tmp_path / "a" / "ü").iterdir()] == ["sheet.png"]


def test_sheet_of_nothing_is_not_drawn(
    bad_media: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["faces", str(bad_media["zero bytes.mp4"]), "--output", str(tmp_path / "sheet.png")]) == 2
    assert capsys.readouterr().out == "" and list(tmp_path.iterdir()) == []


def test_detector_without_its_model_is_refused(odd_media: dict[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["faces", str(odd_media["a face.mp4"]), "--detector", "yunet"]) == 2
    assert "yunet wants the path or URL of its ONNX file" in capsys.readouterr().err
