"""The ``mmer`` command and ``evaluate.py``.

Each command is a module with ``add(parser)``; what it needs is imported when it runs, so that ``--help`` is quick.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence

from mmer import __version__
from mmer.cli import (
    baseline,
    calibrate,
    corpora,
    crossval,
    doctor,
    download,
    explain,
    faces,
    features,
    late,
    manifest,
    predict,
    prepare,
    score,
    shards,
    split,
    sweep,
    synthesize,
)
from mmer.cli.parser import Parser, run


def main(args: Sequence[str] | None = None) -> int:
    """Run ``mmer`` and return its exit code."""
    args = sys.argv[1:] if args is None else args
    parser = Parser(prog="mmer", description="Multimodal emotion recognition from faces, voices and words.")
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    synthesize.add(commands.add_parser("synthesize", help="write a demo corpus of drawn, talking faces"))
    corpora.add(commands.add_parser("corpora", help="list the corpora: where to get them, what must lie where"))
    download.add(commands.add_parser("download", help="fetch a corpus from its owner"))
    manifest.add(commands.add_parser("manifest", help="list the clips of one corpus or several in one table"))
    faces.add(commands.add_parser("faces", help="show what the face detector makes of some videos"))
    prepare.add(commands.add_parser("prepare", help="crop faces and resample sound once, before training"))
    shards.add(commands.add_parser("shards", help="write a prepared folder as shards, to stream from an object store"))
    split.add(commands.add_parser("split", help="show and write the folds of a protocol: who trains, who is tested"))
    predict.add(commands.add_parser("predict", help="recognise the emotion in video and sound files"))
    calibrate.add(commands.add_parser("calibrate", help="make a checkpoint's probabilities mean what they say"))
    crossval.add(commands.add_parser("crossval", help="train and test every fold of a protocol, and report on all"))
    sweep.add(commands.add_parser("sweep", help="train many settings, and find the best on validation speakers"))
    baseline.add(commands.add_parser("baseline", help="fit and score classical systems under the same protocols"))
    late.add(commands.add_parser("late", help="combine systems into one, fitted on validation speakers alone"))
    features.add(commands.add_parser("features", help="describe every step of a prepared folder's sounds"))
    explain.add(commands.add_parser("explain", help="draw how much each modality and each moment of files mattered"))
    doctor.add(commands.add_parser("doctor", help="check that this machine has what mmer needs"))
    return run(parser, parser.parse_args(args, argparse.Namespace(command=shlex.join(["mmer", *args]))))


def evaluate(args: Sequence[str] | None = None) -> int:
    """Run ``evaluate.py`` and return its exit code."""
    args = sys.argv[1:] if args is None else args
    parser = Parser(
        prog="evaluate.py",
        description="Score checkpoints on speakers whom they have never seen, and the answers of any other system.",
    )
    score.add(parser)
    command = shlex.join(["python", "evaluate.py", *args])
    return run(parser, parser.parse_args(args, argparse.Namespace(command=command)))
