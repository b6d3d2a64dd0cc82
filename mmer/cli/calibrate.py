"""``mmer calibrate``: probabilities that mean what they say, fitted on validation speakers, kept in the checkpoint."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from mmer.calibration import CalibrationMethod
from mmer.cli.parser import add_copies, add_format, add_inference, red, shard_config
from mmer.data.store import as_root
from mmer.errors import ConfigError

if TYPE_CHECKING:
    from mmer.evaluation.calibrate import Fit
    from mmer.evaluation.predictions import Predictions

_SHOWN = {"log_loss": "log loss", "ece": "ECE", "brier": "Brier", "accuracy": "accuracy"}
_PERCENT = ("ece", "accuracy")


def add(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("checkpoint", type=Path, metavar="CHECKPOINT", help="a checkpoint that train.py wrote")
    parser.add_argument(
        "--method",
        choices=get_args(CalibrationMethod),
        default="temperature",
        help="one number for all classes, or a scale and a bias for each",
    )
    parser.add_argument(
        "--precision",
        type=_share,
        metavar="P",
        help="abstain below a probability, so that of the answers that are left this share is right, as 0.8",
    )
    parser.add_argument("--remove", action="store_true", help="take the calibration out of the checkpoint")
    parser.add_argument("--data.root", dest="root", type=as_root, help="prepared folder, if not its own")
    add_copies(parser)
    parser.add_argument("--output", type=Path, metavar="NEW.ckpt", help="file to write, if not the checkpoint itself")
    add_format(parser, "the numbers")
    add_inference(parser)
    parser.set_defaults(run=_calibrate)


def _calibrate(args: argparse.Namespace) -> int:
    from mmer.checkpoint import write_calibration
    from mmer.evaluation.calibrate import calibrate_checkpoint
    from mmer.inference.predictor import choose_device

    target = args.output or args.checkpoint
    if args.output is not None and (args.output.is_dir() or not args.output.parent.is_dir()):
        raise ConfigError(f"--output {args.output} cannot be a file; name one in a folder that exists")
    if args.remove:
        if args.precision is not None:
            raise ConfigError("--remove and --precision contradict each other; leave one of them out")
        write_calibration(args.checkpoint, None, args.output)
        removed = json.dumps({"checkpoint": str(target), "calibration": None}, indent=2)
        print(removed if args.format == "json" else f"{target} has no calibration")
        return 0
    fit = calibrate_checkpoint(
        args.checkpoint,
        args.root,
        shards=shard_config(args),
        method=args.method,
        precision=args.precision,
        device=choose_device(args.device),
        batch_size=args.batch_size,
        workers=args.workers,
    )
    write_calibration(args.checkpoint, fit.calibration, args.output)
    if args.format == "json":
        print(json.dumps({"checkpoint": str(target), **_plain(fit)}, indent=2))
    else:
        _print(fit)
        print(f"written: {target}")
    return 0


def _share(text: str) -> float:
    """Read a share between 0 and 1."""
    try:
        share = float(text)
    except ValueError:
        share = 0.0
    if not 0 < share < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no share between 0 and 1, as 0.8")
    return share


def _plain(fit: Fit) -> dict[str, Any]:
    """Return all that is printed as plain data."""
    from mmer.config import to_plain

    about = fit.about
    answers = {"raw": fit.raw, "calibrated": fit.fitted, "held_out": fit.held_out}
    return {
        "protocol": about["protocol"],
        "leaks": about["leaks"],
        "synthetic": about["corpus"]["synthetic"],
        "calibration": to_plain(fit.calibration),
        "precision": _precision(fit),
        "chance": 1 / len(fit.raw.names),
        **{name: None if found is None else _scores(found) for name, found in answers.items()},
    }


def _scores(predictions: Predictions) -> dict[str, dict[str, float | None]]:
    """Return what a calibration changes, with intervals."""
    from mmer.evaluation.intervals import Units, bootstrap
    from mmer.evaluation.metrics import score

    values, intervals = score(predictions), bootstrap(predictions, Units.of(predictions))
    found: dict[str, dict[str, float | None]] = {}
    for name in _SHOWN:
        interval = intervals[name]
        low, high = (None, None) if interval is None else (interval.low, interval.high)
        found[name] = {"value": values[name], "low": low, "high": high}
    return found


def _precision(fit: Fit) -> float | None:
    """Return the share of right answers of those that are not withheld."""
    if fit.calibration.threshold is None:
        return None
    given = fit.fitted.where(fit.fitted.probabilities.max(axis=1) >= fit.calibration.threshold)
    return float((given.predicted == given.label).mean())


def _print(fit: Fit) -> None:
    from mmer.corpora.manifest import listed

    found, calibration = _plain(fit), fit.calibration
    if found["synthetic"]:
        print(red("SYNTHETIC demo corpus: a test bed, not a result", sys.stdout))
    if found["leaks"]:
        print(red(f"LEAKY split, the probabilities are too high: {'; '.join(found['leaks'])}", sys.stdout))
    people = f" speakers {listed(calibration.speakers, 30)}" if calibration.speakers else ""
    print(f"{found['protocol']}, validation{people}: {calibration.clips} clips")
    columns = {"raw": "raw", "calibrated": "calibrated", "held_out": "speaker held out"}
    shown = {title: found[name] for name, title in columns.items() if found[name] is not None}
    print(f"{'':<10}{''.join(f'{title:>26}' for title in shown)}")
    for name, title in _SHOWN.items():
        print(f"{title:<10}{''.join(f'{_cell(name, scores[name]):>26}' for scores in shown.values())}")
    print(f"{'chance':<10}{100 * found['chance']:>25.1f}%")
    for line in _describe(fit, found["precision"]):
        print(line)


def _cell(name: str, score: dict[str, Any]) -> str:
    """Return a score and its interval."""
    factor, digits, unit = (100, 1, "%") if name in _PERCENT else (1, 3, "")
    value = f"{factor * score['value']:.{digits}f}{unit}"
    if score["low"] is None:
        return value
    return f"{value} ({factor * score['low']:.{digits}f} to {factor * score['high']:.{digits}f})"


def _describe(fit: Fit, precision: float | None) -> list[str]:
    """Say what was fitted, when it abstains, and what the numbers are worth."""
    calibration, lines = fit.calibration, []
    if calibration.method == "temperature":
        lines.append(f"temperature {1 / calibration.scale[0]:.3f}")
    else:
        parts = zip(fit.raw.names, calibration.scale, calibration.bias, strict=True)
        lines.append("scale and bias: " + ", ".join(f"{name} {scale:.2f} {bias:+.2f}" for name, scale, bias in parts))
        absent = [name for i, name in enumerate(fit.raw.names) if not (fit.raw.label == i).any()]
        if absent:
            lines.append(f"note: there is no clip of {', '.join(absent)}, so it can only become rarer")
    if calibration.threshold is not None and calibration.coverage is not None and precision is not None:
        lines.append(
            f"abstains below {100 * calibration.threshold:.1f}%: {100 * calibration.coverage:.1f}% of these clips are "
            f"answered, {100 * precision:.1f}% of them right"
        )
    lines.append("note: 'calibrated' is on the very clips of the fit; evaluate.py scores it on the test speakers")
    return lines
