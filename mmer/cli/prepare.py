"""``mmer prepare``: raw files to a prepared folder."""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from dataclasses import fields
from pathlib import Path

from mmer.cli.parser import add_workers
from mmer.config import PrepareConfig
from mmer.emotions import label_set


def add(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    kinds = parser.add_subparsers(required=True, metavar="KIND", dest="kind")
    ravdess = kinds.add_parser("ravdess", help="RAVDESS, or a corpus named like it")
    ravdess.add_argument("source", type=Path, metavar="SRC", help="folder with Actor_01, Actor_02, ...")
    table = kinds.add_parser("table", help="any corpus, as a CSV table")
    table.add_argument(
        "source",
        type=Path,
        metavar="CSV",
        help="columns key, video, audio, text, label, speaker and free others; relative paths start at the table",
    )
    for kind in (ravdess, table):
        _add_settings(kind)


def _add_settings(parser: argparse.ArgumentParser) -> None:
    default = PrepareConfig()
    parser.add_argument("destination", type=Path, metavar="DST", help="prepared folder, new or interrupted")
    parser.add_argument(
        "--detector",
        choices=("haar", "dlib", "yunet", "none"),
        default=default.detector,
        help="none: the clips are faces",
    )
    parser.add_argument("--size", type=int, default=default.size, help="side of the face frames, in pixels")
    parser.add_argument("--margin", type=float, default=default.margin, help="room around the face, as a share")
    parser.add_argument("--detect-every", type=int, default=default.detect_every, help="look at every k-th frame")
    parser.add_argument("--quality", type=int, default=default.quality, help="JPEG quality of the frames, 1 to 100")
    parser.add_argument("--sample-rate", type=int, default=default.sample_rate, help="rate of the sound, in Hz")
    parser.add_argument("--max-seconds", type=float, default=default.max_seconds, help="longest clip accepted")
    parser.add_argument(
        "--labels", help="label set, or class names with commas; clips of other labels are left out by name"
    )
    add_workers(parser)
    parser.set_defaults(run=_prepare)


def _prepare(args: argparse.Namespace) -> int:
    from mmer.corpora.manifest import Manifest
    from mmer.corpora.ravdess import read_ravdess
    from mmer.corpora.table import read_table
    from mmer.data.prepare import prepare_corpus

    chosen = {field.name: getattr(args, field.name) for field in fields(PrepareConfig) if hasattr(args, field.name)}
    config = PrepareConfig(**chosen)
    manifest: Manifest = read_ravdess(args.source) if args.kind == "ravdess" else read_table(args.source)
    if args.labels is not None:
        names = [name.strip() for name in args.labels.split(",")]
        manifest = manifest.known(label_set(names if len(names) > 1 else args.labels))
    done = prepare_corpus(manifest, args.destination, config, workers=args.workers)
    for error in done.skipped:
        print(f"left out: {error}", file=sys.stderr)
    total, rows = len(done.rows) + len(done.skipped), done.rows
    faces, voices = sum(row.video is not None for row in rows), sum(row.audio is not None for row in rows)
    print(f"{len(rows)} of {total} clips in {args.destination}: {faces} with a face, {voices} with a voice")
    for name in ("label", "speaker"):
        counts = Counter(getattr(row, name) or "none" for row in rows)
        print(f"{name}s: {', '.join(f'{value} {count}' for value, count in counts.items())}")
    if done.skipped:
        print(f"{len(done.skipped)} clips left out; their names and reasons are in {args.destination / 'skipped.csv'}")
    return 0
