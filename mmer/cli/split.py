"""``mmer split``: the folds of a protocol, shown and written."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmer.cli.parser import add_format, check_folder, names, positive, red
from mmer.config import SplitConfig
from mmer.corpora.manifest import Row, listed
from mmer.corpora.protocols import PROTOCOLS
from mmer.errors import ConfigError, CorpusError

_MOST_CLASSES = 12  # that still fit a line
_MOST_SPEAKERS = 6  # of a part that are named on the screen


def add(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("manifest", type=Path, metavar="MANIFEST", help="prepared folder, manifest.csv or any table")
    add_protocol(parser)
    parser.add_argument("--output", type=Path, metavar="DIR", help="write all folds there: fold-1.csv, ..., folds.json")
    add_format(parser, "the folds")
    parser.set_defaults(run=_split)


def add_protocol(parser: argparse.ArgumentParser, protocols: str = PROTOCOLS) -> None:
    """Add the flags that say how clips are dealt.

    Args:
        parser: The command's.
        protocols: What a protocol may be called.
    """
    default = SplitConfig()
    parser.add_argument("--protocol", required=True, help=protocols)
    parser.add_argument("--fold", type=positive, help="one fold alone, from 1; all of them where this is left out")
    for part in ("test", "validation", "train"):
        parser.add_argument(f"--{part}", type=names, help=f"speakers of the {part} part, with commas (speakers only)")
    parser.add_argument("--column", default=default.column, help="column that says the part (table only)")
    parser.add_argument("--file", help="CSV table of key and part, instead of the manifest's own column (table only)")
    parser.add_argument("--seed", type=int, default=default.seed, help="seed of random_leaky")
    parser.add_argument("--allow-leak", action="store_true", help="deal although parts share something, and mark it")
    parser.add_argument(
        "--duplicates", choices=("refuse", "drop"), default=default.duplicates, help="the same sound twice"
    )


def split_config(args: argparse.Namespace) -> SplitConfig:
    """Return how clips are dealt, of all the flags but ``--fold``."""
    return SplitConfig(
        protocol=args.protocol,
        test=args.test or (),
        validation=args.validation or (),
        train=args.train,
        column=args.column,
        file=args.file,
        seed=args.seed,
        allow_leak=args.allow_leak,
        duplicates=args.duplicates,
    )


def _split(args: argparse.Namespace) -> int:
    from mmer.corpora.folds import deal_folds, describe_folds, fold_path, write_folds

    if args.output is not None and args.fold is not None:
        raise ConfigError("--output writes every fold of a protocol; leave --fold out")
    if args.output is not None:
        check_folder(args.output)
    rows, config = _read(args.manifest), split_config(args)
    folds, empty = deal_folds(rows, config, args.fold)
    for reason in empty:
        print(f"left out: {reason}", file=sys.stderr)
    if args.output is not None:
        write_folds(args.output, rows, config, folds)
    described = describe_folds(rows, config, folds)
    if args.format == "json":
        print(json.dumps(described, indent=2))
        return 0
    print(f"{len(rows):,} clips, {config.protocol}")
    _print_folds(described["folds"])
    if args.output is not None:
        first = fold_path(args.output, folds[0].number)
        print(f"written to {args.output}; train with: --data.split.protocol=table --data.split.file={first}")
    return 0


def _read(path: Path) -> Sequence[Row]:
    """Read a prepared folder, shards or a table; the rows of a table that are no clips are left out by name."""
    if path.is_dir():
        from mmer.data.shards import open_corpus

        return open_corpus(path).rows
    from mmer.corpora.table import read_table

    manifest = read_table(path)
    for error in manifest.broken:
        print(f"left out: {error}", file=sys.stderr)
    if not manifest.rows:
        raise CorpusError(f"the table {path} has no clips; give one that lists some")
    return manifest.rows


def _print_folds(folds: Sequence[dict[str, Any]]) -> None:
    """Print a line for each part of each fold; the columns are the genders and the classes that occur."""
    parts = [part for fold in folds for part in fold["parts"].values()]
    genders, labels = (sorted({name for part in parts for name in part[kind]}) for kind in ("gender", "labels"))
    shown = labels if len(labels) <= _MOST_CLASSES else []
    columns = ["clips", "speakers", *genders, *shown]
    print(f"{'fold':<6}{'part':<12}{'  '.join(columns)}  who")
    for fold in folds:
        for name, part in fold["parts"].items():
            counts = [part["clips"], len(part["speakers"]) or "-", *(part["gender"].get(g, 0) for g in genders)]
            counts += [part["labels"].get(label, 0) for label in shown]
            cells = "  ".join(f"{count:>{len(column)}}" for count, column in zip(counts, columns, strict=True))
            print(f"{fold['fold']:<6}{name:<12}{cells}  {listed(part['speakers'], _MOST_SPEAKERS) or '-'}")
        for leak in fold["leaks"]:
            print(red(f"      LEAKY: {leak}", sys.stdout))
        for note in fold["notes"]:
            print(f"      note: {note}")
    if not shown:
        print(f"{len(labels)} classes: --format json counts them")
