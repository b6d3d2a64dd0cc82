"""``evaluate.py``: a checkpoint to scores."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from mmer.cli.parser import add_device, natural, positive, red
from mmer.corpora.manifest import listed
from mmer.errors import ConfigError

_MOST = 30  # scored speakers that are named on the screen


def add(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("--checkpoint", type=Path, required=True, help="a checkpoint that train.py wrote")
    parser.add_argument("--data.root", dest="root", type=Path, help="prepared folder, if not the one it was trained on")
    parser.add_argument(
        "--data.part", dest="part", choices=("train", "validation", "test"), default="test", help="part of the split"
    )
    parser.add_argument("--output", type=Path, required=True, help="folder for the results")
    parser.add_argument("--json", action="store_true", help="print metrics.json on standard output, and nothing else")
    parser.add_argument("--batch-size", type=positive, default=16, help="clips in a batch")
    parser.add_argument("--workers", type=natural, default=0, help="processes that read clips")
    add_device(parser)
    parser.set_defaults(run=_evaluate)


def _evaluate(args: argparse.Namespace) -> int:
    from mmer.evaluation.evaluate import evaluate_checkpoint
    from mmer.inference.predictor import choose_device

    if args.output.exists() and not args.output.is_dir():
        raise ConfigError(f"--output {args.output} is a file; name a folder")
    evaluation = evaluate_checkpoint(
        args.checkpoint,
        args.root,
        args.part,
        device=choose_device(args.device),
        batch_size=args.batch_size,
        workers=args.workers,
    )
    evaluation.write(args.output)
    if args.json:
        print(json.dumps(evaluation.metrics, indent=2))
    else:
        _print_scores(evaluation.metrics, args.output)
    return 0


def _print_scores(metrics: dict[str, Any], output: Path) -> None:
    if metrics["corpus"]["synthetic"]:
        print("SYNTHETIC demo corpus: a test bed, not a result")
    if metrics["leaks"]:
        print(red(f"LEAKY split, the scores are too high: {'; '.join(metrics['leaks'])}", sys.stdout))
    if metrics["part"] != "test":
        print(red(f"NOT A TEST: the {metrics['part']} part took part in making the checkpoint", sys.stdout))
    for note in metrics["notes"]:
        print(f"note: {note}")
    people = listed(metrics["speakers"]["scored"], _MOST)
    print(f"{metrics['protocol']}, {metrics['part']} {f'speakers {people}' if people else 'clips'}")
    print(f"{'read':<14}{'clips':>6}{'accuracy':>10}{'95% interval':>18}{'UAR':>8}{'macro F1':>10}")
    for name, part in metrics["modalities"].items():
        low, high = part["interval"]["accuracy"]
        interval = f"{100 * low:.1f} to {100 * high:.1f}"
        scores = (
            f"{100 * part['accuracy']:>9.1f}%{interval:>18}{100 * part['uar']:>7.1f}%{100 * part['macro_f1']:>9.1f}%"
        )
        print(f"{name:<14}{part['n']:>6}{scores}")
    print(f"{'chance':<20}{100 * metrics['chance']:>9.1f}%")
    print(f"report: {output / 'index.html'}")
