"""The ``mmer`` command and ``evaluate.py``.

Each command is a module with ``add(parser)``; what it needs is imported when it runs, so that ``--help`` is quick.
"""

from __future__ import annotations

from collections.abc import Sequence

from mmer import __version__
from mmer.cli import corpora, doctor, download, faces, manifest, predict, prepare, score, split, synthesize
from mmer.cli.parser import Parser, run


def main(args: Sequence[str] | None = None) -> int:
    """Run ``mmer`` and return its exit code."""
    parser = Parser(prog="mmer", description="Multimodal emotion recognition from faces, voices and words.")
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    synthesize.add(commands.add_parser("synthesize", help="write a demo corpus of drawn, talking faces"))
    corpora.add(commands.add_parser("corpora", help="list the corpora: where to get them, what must lie where"))
    download.add(commands.add_parser("download", help="fetch a corpus from its owner"))
    manifest.add(commands.add_parser("manifest", help="list the clips of one corpus or several in one table"))
    faces.add(commands.add_parser("faces", help="show what the face detector makes of some videos"))
    prepare.add(commands.add_parser("prepare", help="crop faces and resample sound once, before training"))
    split.add(commands.add_parser("split", help="show and write the folds of a protocol: who trains, who is tested"))
    predict.add(commands.add_parser("predict", help="recognise the emotion in video and sound files"))
    doctor.add(commands.add_parser("doctor", help="check that this machine has what mmer needs"))
    return run(parser, parser.parse_args(args))


def evaluate(args: Sequence[str] | None = None) -> int:
    """Run ``evaluate.py`` and return its exit code."""
    parser = Parser(prog="evaluate.py", description="Score a checkpoint on the speakers that it has never seen.")
    score.add(parser)
    return run(parser, parser.parse_args(args))
