"""``mmer prepare``: raw files to a prepared folder."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, get_args, get_type_hints

from mmer.cli.parser import add_format, add_strict, add_workers, folder, labels, named_path
from mmer.config import PrepareConfig
from mmer.corpora.catalogue import CORPORA, Corpus, find_corpus
from mmer.corpora.manifest import Manifest
from mmer.errors import ConfigError

_HELP = {
    "detector": "what finds faces; none: the clips are faces already",
    "detector_model": "yunet's ONNX file: a path, or URL#sha256=CHECKSUM",
    "detect_every": "look for faces in every k-th frame",
    "detect_size": "longer side of the picture that the detector searches, in pixels; a face must fill 20 of them",
    "align": "turn every face so that its eyes are level",
    "margin": "room around the face, as a share of its side",
    "size": "side of the stored face frames, in pixels",
    "quality": "JPEG quality of the stored frames, 1 to 100",
    "sample_rate": "rate of the stored sound, in Hz",
    "max_seconds": "longest clip accepted",
    "transcripts": "where the words come from: the corpus, a .txt, .srt or .vtt beside the clip, or faster-whisper",
    "whisper_model": "faster-whisper's model: a name, or a local folder",
}
_MOST = 12  # values of a count that are printed
_SHOWN = 30  # clips left out that are named on the screen; the file names all


def add(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments: a sub-command for every corpus that has an adapter."""
    kinds = parser.add_subparsers(required=True, metavar="KIND", dest="kind")
    for corpus in CORPORA:
        kind = kinds.add_parser(corpus.name, help=corpus.title, description=f"{corpus.title}: {corpus.layout}")
        kind.add_argument("source", type=Path, metavar="SRC", help="the corpus; mmer corpora says what must lie there")
        kind.add_argument("destination", type=folder, metavar="DST", help="prepared folder, new or interrupted")
        for name, values in corpus.options.items():
            kind.add_argument(
                _flag(name), dest=f"option_{name}", choices=values, default=values[0], help=f"{corpus.title}'s {name}"
            )
        _add_settings(kind, PrepareConfig(**corpus.prepare))
        _add_others(kind)


def _flag(option: str) -> str:
    """Return the flag of a reader's option; ``--labels`` is a label set, so that of an option is another."""
    return "--labels-from" if option == "labels" else f"--{option.replace('_', '-')}"


def _add_settings(parser: argparse.ArgumentParser, default: PrepareConfig) -> None:
    """Add a flag for every setting; the corpus's own defaults show in ``--help``."""
    hints = get_type_hints(PrepareConfig)
    for name, text in _HELP.items():
        flag, value, kind = f"--{name.replace('_', '-')}", getattr(default, name), hints[name]
        if kind is bool:
            parser.add_argument(flag, action=argparse.BooleanOptionalAction, default=value, help=text)
        elif isinstance(value, int | float):
            parser.add_argument(flag, type=type(value), default=value, help=text)
        elif type(None) in get_args(kind):
            parser.add_argument(flag, default=value, help=text)
        else:
            parser.add_argument(flag, choices=get_args(kind) or None, default=value, help=text)
    parser.add_argument(
        "--features",
        type=named_path("NAME=PATH", "action_units=openface.csv"),
        action="append",
        default=[],
        metavar="NAME=PATH",
        help="precomputed descriptors to join by key, as action_units=openface.csv: a folder of KEY.npy, .npz or .csv, "
        "an .npz file or a CSV table; may be repeated",
    )


def _add_others(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--labels", help="label set, or class names with commas; clips of other labels are left out by name"
    )
    add_strict(parser)
    parser.add_argument("--no-sheet", dest="sheet", action="store_false", help="draw no faces.png")
    add_format(parser, "the summary")
    add_workers(parser)
    parser.set_defaults(run=_prepare)


def _prepare(args: argparse.Namespace) -> int:
    from mmer.data.prepare import prepare_corpus
    from mmer.data.summary import summarise

    features = _features(args.features)
    config = replace(_config(args), features=tuple(sorted(features)))
    manifest = _read(find_corpus(args.kind), args)
    for note in manifest.notes:
        print(note, file=sys.stderr)
    done = prepare_corpus(manifest, args.destination, config, features=features, workers=args.workers, sheet=args.sheet)
    for note in done.notes[len(manifest.notes) :]:
        print(note, file=sys.stderr)
    summary = summarise(done)
    if args.format == "json":
        print(json.dumps({"folder": str(args.destination), **summary}, indent=2))
    else:
        _print_summary(summary, args.destination)
    _warn(summary, args.destination)
    return 3 if done.skipped and args.strict else 0


def _config(args: argparse.Namespace) -> PrepareConfig:
    names = [field.name for field in fields(PrepareConfig) if field.name != "features"]
    return PrepareConfig(**{name: getattr(args, name) for name in names})


def _features(pairs: Sequence[tuple[str, Path]]) -> dict[str, Path]:
    features = dict(pairs)
    if len(features) < len(pairs):
        raise ConfigError(f"--features names {len(pairs)} streams and {len(features)} names; each name once")
    return features


def _read(corpus: Corpus, args: argparse.Namespace) -> Manifest:
    manifest = corpus.read(args.source, **{name: getattr(args, f"option_{name}") for name in corpus.options})
    return manifest if args.labels is None else manifest.known(labels(args.labels))


def _print_summary(summary: Mapping[str, Any], folder: Path) -> None:
    kinds = summary["modalities"]
    print(
        f"{summary['prepared']} of {summary['clips']} clips in {folder}: "
        f"{kinds['video']} with a face, {kinds['audio']} with a voice, {kinds['text']} with words"
    )
    for name, count in summary["features"].items():
        print(f"features {name}: {count} clips")
    for name in ("labels", "speakers"):
        print(f"{name}: {_counts(summary[name])}")
    faces = summary["faces"]
    if faces["share"] is not None:
        print(
            f"faces, median: in {100 * faces['share']:.0f}% of the frames, {faces['size']:.0f} pixels wide, "
            f"moving by {100 * faces['jitter']:.1f}% of that a frame"
        )


def _counts(counts: Mapping[str, int]) -> str:
    named = ", ".join(f"{value} {count}" for value, count in list(counts.items())[:_MOST])
    return named if len(counts) <= _MOST else f"{named}, ... ({len(counts)} in all)"


def _warn(summary: Mapping[str, Any], folder: Path) -> None:
    """Say on standard error what should worry a human: what was left out, why, and where to read all of it."""
    for warning in summary["warnings"]:
        print(f"mmer: warning: {warning}", file=sys.stderr)
    skipped = summary["skipped"]
    if not skipped:
        return
    for reason, count in summary["reasons"].items():
        print(f"{count} x {reason}", file=sys.stderr)
    for clip in skipped[:_SHOWN]:
        where = "" if clip["path"] in (None, clip["key"]) else f" ({clip['path']})"
        print(f"left out: clip {clip['key']}{where}: {clip['reason']}", file=sys.stderr)
    if len(skipped) > _SHOWN:
        print(f"left out: {len(skipped) - _SHOWN} more", file=sys.stderr)
    print(
        f"mmer: warning: {len(skipped)} of {summary['clips']} clips were left out; "
        f"all names and reasons are in {folder / 'skipped.csv'}",
        file=sys.stderr,
    )
