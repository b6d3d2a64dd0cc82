"""``mmer faces``: what the face detector makes of some files, before a corpus is prepared."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from itertools import starmap
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args, get_type_hints

import numpy as np

from mmer.cli.parser import add_format
from mmer.config import PrepareConfig
from mmer.errors import ClipError

if TYPE_CHECKING:
    from mmer.media.container import Source
    from mmer.media.faces import Boxes, FaceDetector
    from mmer.media.faces.sheet import SheetRow

_SETTINGS = ("detector", "detector_model", "detect_every", "detect_size", "align", "max_seconds")
_FRAMES = 6  # of each file on the sheet


def add(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    default = PrepareConfig()
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE", help="videos, as FOLDER/*.mp4")
    parser.add_argument("--output", type=Path, metavar="SHEET.png", help="contact sheet to draw: a row for every file")
    parser.add_argument(
        "--detector",
        choices=get_args(get_type_hints(PrepareConfig)["detector"]),
        default=default.detector,
        help="what finds faces",
    )
    parser.add_argument("--detector-model", help="yunet's ONNX file: a path, or URL#sha256=CHECKSUM")
    parser.add_argument("--detect-every", type=int, default=default.detect_every, help="look at every k-th frame")
    parser.add_argument(
        "--detect-size",
        type=int,
        default=default.detect_size,
        help="longer side of the searched picture, in pixels; a face must fill 20",
    )
    parser.add_argument("--align", action=argparse.BooleanOptionalAction, default=default.align, help="level the eyes")
    parser.add_argument("--max-seconds", type=float, default=default.max_seconds, help="longest video accepted")
    add_format(parser, "the findings")
    parser.set_defaults(run=_faces)


def _faces(args: argparse.Namespace) -> int:
    from mmer.media.container import Source
    from mmer.media.faces import build_detector
    from mmer.media.faces.sheet import check_name, draw_sheet

    if args.output is not None:
        check_name(args.output)
        args.output.parent.mkdir(parents=True, exist_ok=True)
    config = PrepareConfig(**{name: getattr(args, name) for name in _SETTINGS})
    detect = build_detector(config)
    findings, readable = [], []
    for file in args.files:
        source = Source(str(file), file, config.max_seconds)
        try:
            finding, boxes = _examine(source, config, detect)
            readable.append((source, finding, boxes))
        except ClipError as error:
            print(f"mmer: error: {error}", file=sys.stderr)
            finding = {"file": source.key, "error": error.reason}
        findings.append(finding)
    sheet = args.output if readable else None
    if sheet is not None:
        draw_sheet(starmap(_row, readable), sheet)  # a row at a time, for frames are large and files may be many
    if args.format == "json":
        print(json.dumps(findings, indent=2))
    else:
        _print_table(findings, sheet)
    return 2 if any("error" in finding for finding in findings) else 0


def _examine(source: Source, config: PrepareConfig, detect: FaceDetector | None) -> tuple[dict[str, Any], Boxes]:
    """Return what is found in a file, and its boxes."""
    from mmer.media.faces import FaceStatistics, read_faces

    try:
        clip = read_faces(source, config, detect)
        found, boxes = clip.statistics, clip.boxes
    except ClipError as error:
        if "no face" not in error.reason:
            raise
        found, boxes = FaceStatistics(0.0, 0.0, 0.0, 0.0), np.zeros((0, 4), np.float32)
    return {"file": source.key, **asdict(found)}, boxes


def _row(source: Source, finding: Mapping[str, Any], boxes: Boxes) -> SheetRow:
    from mmer.data.sheet import sample_frames
    from mmer.media.faces.sheet import SheetRow

    frames = sample_frames(source, _FRAMES)
    return SheetRow(
        f"{source.path.name}: {_words(finding)}",
        [frame.image for _, frame in frames],
        [boxes[index] if len(boxes) else None for index, _ in frames],
    )


def _words(finding: Mapping[str, Any]) -> str:
    if finding["share"] == 0:
        return "no face"
    return (
        f"a face in {finding['share']:.0%} of the frames, {finding['size']:.0f} pixels wide "
        f"({finding['height_share']:.0%} of the height), jitter {finding['jitter']:.1%}"
    )


def _print_table(findings: Sequence[Mapping[str, Any]], sheet: Path | None) -> None:
    for finding in findings:
        if "error" not in finding:
            print(f"{finding['file']}: {_words(finding)}")
    if sheet is not None:
        print(f"contact sheet: {sheet}")
