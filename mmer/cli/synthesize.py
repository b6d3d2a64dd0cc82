"""``mmer synthesize``: the demo corpus."""

from __future__ import annotations

import argparse
from pathlib import Path

from mmer.cli.parser import add_workers


def add(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("directory", type=Path, help="folder to write to; an interrupted corpus is completed")
    parser.add_argument("--actors", type=int, default=8, help="1 to 24")
    parser.add_argument("--takes", type=int, default=2, help="clips of each emotion and actor, 1 to 8")
    parser.add_argument("--seed", type=int, default=0, help="another seed is another corpus")
    add_workers(parser)
    parser.set_defaults(run=_synthesize)


def _synthesize(args: argparse.Namespace) -> int:
    from mmer.corpora.demo import synthesize

    synthesize(args.directory, actors=args.actors, takes=args.takes, seed=args.seed, workers=args.workers)
    print(f"demo corpus in {args.directory}; next: mmer prepare ravdess {args.directory} DST")
    return 0
