"""``mmer features``: descriptors of every step of a sound, in the form that ``mmer prepare --features`` takes."""

from __future__ import annotations

import argparse
from pathlib import Path

from mmer.cli.parser import add_workers
from mmer.errors import ConfigError


def add(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("data", type=Path, metavar="DATA", help="prepared folder")
    parser.add_argument("output", type=Path, metavar="OUT.npz", help="file to write, with an array for each clip")
    parser.add_argument(
        "--set",
        dest="which",
        choices=("mfcc", "voice"),
        default="mfcc",
        help="13 MFCC of every 50 ms, a step each 25 ms; or all 39 descriptors that mmer baseline counts",
    )
    add_workers(parser)
    parser.set_defaults(run=_features)


def _features(args: argparse.Namespace) -> int:
    from mmer.baselines.extra import check_extra

    check_extra("librosa")
    from mmer.baselines.inputs import write_steps
    from mmer.data.store import PreparedCorpus

    if args.output.suffix != ".npz" or args.output.is_dir() or not args.output.parent.is_dir():
        raise ConfigError(f"{args.output} cannot be written; name a file that ends in .npz, in a folder that exists")
    count = write_steps(args.output, PreparedCorpus.open(args.data), args.which, workers=args.workers)
    print(f"{count} clips described: {args.output}; next: mmer prepare ... --features {args.which}={args.output}")
    return 0
