"""``mmer predict``: answers for files."""

from __future__ import annotations

import argparse
import csv
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

from mmer.cli.parser import add_device
from mmer.config import Modality
from mmer.errors import ClipError


def add(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("files", nargs="+", metavar="FILE", help="video or sound files")
    parser.add_argument("--checkpoint", type=Path, required=True, help="a checkpoint that train.py wrote")
    parser.add_argument("--format", choices=("table", "json", "csv"), default="table", help="how to print the answers")
    parser.add_argument(
        "--modalities", nargs="+", choices=get_args(Modality), help="read only these, as audio where the face is hidden"
    )
    add_device(parser)
    parser.set_defaults(run=_predict)


def _predict(args: argparse.Namespace) -> int:
    from mmer.corpora.manifest import DEMO_CORPUS
    from mmer.inference.predictor import Prediction, Predictor

    predictor = Predictor.from_checkpoint(args.checkpoint, args.device)
    if DEMO_CORPUS in predictor.card.corpora:
        print("mmer: warning: trained on drawn faces: its answers say nothing of people", file=sys.stderr)
    if predictor.card.leaks:
        leaks = "; ".join(predictor.card.leaks)
        print(f"mmer: warning: chosen under a leaky split, so it is worse than its scores: {leaks}", file=sys.stderr)
    answers: list[Prediction] = []
    failed = False
    for file in args.files:
        try:
            answers.append(predictor.predict(file, args.modalities))
        except ClipError as error:
            failed = True
            voice = "; --modalities audio reads the voice alone" if "no face" in error.reason else ""
            print(f"mmer: error: {error}{voice}", file=sys.stderr)
    if answers:
        _PRINTERS[args.format](answers)
    return 2 if failed else 0


def _print_table(answers: Sequence[Any]) -> None:
    for answer in answers:
        ranked = sorted(answer.probabilities.items(), key=lambda item: -item[1])
        print(f"{answer.key}: {answer.label} ({', '.join(answer.modalities)}; {answer.seconds:.1f} s)")
        for name, probability in ranked:
            print(f"  {name:<12}{100 * probability:6.1f}%  {'#' * round(40 * probability)}".rstrip())


def _print_json(answers: Sequence[Any]) -> None:
    print(json.dumps([_plain(answer) for answer in answers], indent=2))


def _print_csv(answers: Sequence[Any]) -> None:
    writer = csv.writer(sys.stdout, lineterminator="\n")
    names = list(answers[0].probabilities)
    writer.writerow(["file", "predicted", "modalities", "seconds", *names])
    for answer in answers:
        shares = [f"{answer.probabilities[name]:.6f}" for name in names]
        writer.writerow([answer.key, answer.label, "+".join(answer.modalities), f"{answer.seconds:.3f}", *shares])


_PRINTERS = {"table": _print_table, "json": _print_json, "csv": _print_csv}


def _plain(answer: Any) -> dict[str, Any]:
    return {
        "file": answer.key,
        "predicted": answer.label,
        "probabilities": answer.probabilities,
        "modalities": list(answer.modalities),
        "seconds": round(answer.seconds, 3),
        "views": answer.views,
    }
