"""``mmer predict``: answers for files."""

from __future__ import annotations

import argparse
import csv
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from mmer.cli.parser import add_device
from mmer.config import Modality
from mmer.errors import ClipError, ConfigError

if TYPE_CHECKING:
    from mmer.checkpoint import Card
    from mmer.inference.frames import FramePredictions
    from mmer.inference.predictor import Prediction, Predictor


def add(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("files", nargs="*", metavar="FILE", help="video or sound files")
    parser.add_argument("--text", metavar="WORDS", help="words: of the one file, or alone without any")
    parser.add_argument("--checkpoint", type=Path, required=True, help="a checkpoint that train.py wrote")
    parser.add_argument("--format", choices=("table", "json", "csv"), default="table", help="how to print the answers")
    parser.add_argument(
        "--frames", action="store_true", help="answer for every step of the files, of a model with head: frame"
    )
    add_modalities(parser)
    add_device(parser)
    parser.set_defaults(run=_predict)


def add_modalities(parser: argparse.ArgumentParser) -> None:
    """Add ``--modalities``."""
    parser.add_argument(
        "--modalities", nargs="+", choices=get_args(Modality), help="read only these, as audio where the face is hidden"
    )


def _predict(args: argparse.Namespace) -> int:
    from mmer.inference.predictor import Predictor

    if len(args.files) > 1 and args.text is not None:
        raise ConfigError(f"--text gives the words of one file and {len(args.files)} are named; name one, or none")
    if not args.files and args.text is None:
        raise ConfigError("there is nothing to answer for; name files, or give words with --text")
    if args.frames and not args.files:
        raise ConfigError("--frames answers for the steps of files and none is named; name some, or leave it out")
    predictor = Predictor.from_checkpoint(args.checkpoint, args.device)
    warn_of(predictor.card)
    if args.frames:
        return _predict_frames(args, predictor)
    answers: list[Prediction] = []
    failed = False
    for file in args.files or [None]:
        try:
            if file is None:
                answers.append(predictor.predict_text(args.text))
            else:
                answers.append(predictor.predict(file, args.modalities, args.text))
        except ClipError as error:
            failed = True
            complain(error)
    if answers:
        _PRINTERS[args.format](answers)
    return 2 if failed else 0


def _predict_frames(args: argparse.Namespace, predictor: Predictor) -> int:
    answers: list[FramePredictions] = []
    for file in args.files:
        try:
            answers.append(predictor.predict_frames(file, args.modalities, args.text))
        except ClipError as error:
            complain(error)
    if answers:
        _FRAME_PRINTERS[args.format](answers)
    return 2 if len(answers) < len(args.files) else 0


def warn_of(card: Card) -> None:
    """Say on standard error what must be known of a checkpoint before its answers are used."""
    from mmer.corpora.manifest import DEMO_CORPUS

    if DEMO_CORPUS in card.corpora:
        print("mmer: warning: trained on drawn faces: its answers say nothing of people", file=sys.stderr)
    if card.leaks:
        leaks = "; ".join(card.leaks)
        print(f"mmer: warning: chosen under a leaky split, so it is worse than its scores: {leaks}", file=sys.stderr)


def complain(error: ClipError) -> None:
    """Say on standard error why a file has no answer."""
    advice = ""
    if "no face" in error.reason:
        advice = "; --modalities audio reads the voice alone"
    elif "no text" in error.reason:
        advice = "; --text gives its words, or a .txt, .srt or .vtt file of its name beside it"
    print(f"mmer: error: {error}{advice}", file=sys.stderr)


def describe(answer: Prediction) -> str:
    """Return an answer on one line; an unsure one says so first."""
    where = ", ".join(answer.modalities) + (f"; {answer.seconds:.1f} s" if answer.seconds else "")
    if answer.threshold is None or not answer.abstains:
        return f"{answer.key}: {answer.label} ({where})"
    found, least = 100 * answer.probabilities[answer.label], 100 * answer.threshold
    return f"{answer.key}: unsure: {answer.label} at {found:.1f}%, below {least:.1f}% ({where})"


def _print_table(answers: Sequence[Prediction]) -> None:
    for answer in answers:
        ranked = sorted(answer.probabilities.items(), key=lambda item: -item[1])
        print(describe(answer))
        for name, probability in ranked:
            print(f"  {name:<12}{100 * probability:6.1f}%  {'#' * round(40 * probability)}".rstrip())


def _print_json(answers: Sequence[Prediction]) -> None:
    print(json.dumps([_plain(answer) for answer in answers], indent=2))


def _print_csv(answers: Sequence[Prediction]) -> None:
    writer = csv.writer(sys.stdout, lineterminator="\n")
    names = list(answers[0].probabilities)
    writer.writerow(["file", "predicted", "abstains", "modalities", "seconds", *names])
    for answer in answers:
        abstains, read = "yes" if answer.abstains else "no", "+".join(answer.modalities)
        shares = [f"{answer.probabilities[name]:.6f}" for name in names]
        writer.writerow([answer.key, answer.label, abstains, read, f"{answer.seconds:.3f}", *shares])


def _print_frame_table(answers: Sequence[FramePredictions]) -> None:
    for answer in answers:
        print(f"{answer.key} ({', '.join(answer.modalities)}; {answer.seconds:.1f} s)")
        widths = [max(6, len(name)) for name in answer.labels]
        wide = max(9, *widths)
        titles = (f"{name:>{width}}" for name, width in zip(answer.labels, widths, strict=True))
        print("  ".join([f"{'time':>7}", f"{'predicted':<{wide}}", *titles]))
        for time, predicted, row in answer.steps:
            shares = (f"{100 * share:>{width - 1}.1f}%" for share, width in zip(row, widths, strict=True))
            print("  ".join([f"{time:6.2f}s", f"{predicted:<{wide}}", *shares]))


def _print_frame_json(answers: Sequence[FramePredictions]) -> None:
    print(json.dumps([_plain_frames(answer) for answer in answers], indent=2))


def _plain_frames(answer: FramePredictions) -> dict[str, Any]:
    return {
        "file": answer.key,
        "modalities": list(answer.modalities),
        "seconds": round(answer.seconds, 3),
        "frames": [
            {
                "time": round(time, 4),
                "predicted": predicted,
                "probabilities": dict(zip(answer.labels, row, strict=True)),
            }
            for time, predicted, row in answer.steps
        ],
    }


def _print_frame_csv(answers: Sequence[FramePredictions]) -> None:
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(["file", "time", "predicted", *answers[0].labels])
    for answer in answers:
        for time, predicted, row in answer.steps:
            writer.writerow([answer.key, f"{time:.4f}", predicted, *(f"{share:.6f}" for share in row)])


_FRAME_PRINTERS = {"table": _print_frame_table, "json": _print_frame_json, "csv": _print_frame_csv}

_PRINTERS = {"table": _print_table, "json": _print_json, "csv": _print_csv}


def _plain(answer: Prediction) -> dict[str, Any]:
    return {
        "file": answer.key,
        "predicted": answer.label,
        "abstains": answer.abstains,
        "probabilities": answer.probabilities,
        "modalities": list(answer.modalities),
        "seconds": round(answer.seconds, 3),
        "views": answer.views,
    }
