"""The ``mmer`` command and ``evaluate.py``.

What a subcommand needs is imported when it runs, so that ``--help`` is quick.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import sys
from collections import Counter
from collections.abc import Sequence
from concurrent.futures.process import BrokenProcessPool
from dataclasses import fields
from pathlib import Path
from typing import Any, NoReturn, get_args

from mmer import __version__
from mmer.config import Modality, PrepareConfig
from mmer.emotions import label_set
from mmer.errors import ClipError, ConfigError, MmerError


class Parser(argparse.ArgumentParser):
    """A parser that takes no abbreviations and explains a mistake on one line."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(allow_abbrev=False, formatter_class=argparse.ArgumentDefaultsHelpFormatter, **kwargs)

    def error(self, message: str) -> NoReturn:
        """Print the mistake and exit with code 2."""
        self.exit(2, f"{self.prog}: error: {message} (see {self.prog} --help)\n")


def main(args: Sequence[str] | None = None) -> int:
    """Run ``mmer`` and return its exit code."""
    parser = Parser(prog="mmer", description="Multimodal emotion recognition from faces, voices and words.")
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_synthesize(commands.add_parser("synthesize", help="write a demo corpus of drawn, talking faces"))
    _add_prepare(commands.add_parser("prepare", help="crop faces and resample sound once, before training"))
    _add_predict(commands.add_parser("predict", help="recognise the emotion in video and sound files"))
    _add_doctor(commands.add_parser("doctor", help="check that this machine has what mmer needs"))
    return _run(parser, parser.parse_args(args))


def evaluate(args: Sequence[str] | None = None) -> int:
    """Run ``evaluate.py`` and return its exit code."""
    parser = Parser(prog="evaluate.py", description="Score a checkpoint on the speakers that it has never seen.")
    parser.add_argument("--checkpoint", type=Path, required=True, help="a checkpoint that train.py wrote")
    parser.add_argument("--data.root", dest="root", type=Path, help="prepared folder, if not the one it was trained on")
    parser.add_argument(
        "--data.part", dest="part", choices=("train", "validation", "test"), default="test", help="part of the split"
    )
    parser.add_argument("--output", type=Path, required=True, help="folder for the results")
    parser.add_argument("--json", action="store_true", help="print metrics.json on standard output, and nothing else")
    parser.add_argument("--batch-size", type=_positive, default=16, help="clips in a batch")
    parser.add_argument("--workers", type=_natural, default=0, help="processes that read clips")
    _add_device(parser)
    parser.set_defaults(run=_evaluate)
    return _run(parser, parser.parse_args(args))


def _run(parser: argparse.ArgumentParser, args: argparse.Namespace) -> int:
    try:
        return int(args.run(args))
    except MmerError as error:
        print(f"{parser.prog}: error: {error}", file=sys.stderr)
        return 2
    except BrokenProcessPool:
        print(
            f"{parser.prog}: error: a worker died, most likely of too little memory; try --workers 1",
            file=sys.stderr,
        )
        return 2
    except BrokenPipeError:  # the reader of our output has gone, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:  # a full disk, a folder that may not be written to
        print(f"{parser.prog}: error: {error.filename or 'a file'}: {error.strerror or error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"{parser.prog}: interrupted", file=sys.stderr)
        return 130


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive whole number")
    return int(text)


def _natural(text: str) -> int:
    return 0 if text == "0" else _positive(text)


def _add_device(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--device", default="auto", help="cpu, cuda, cuda:1, ..., or auto: a GPU where there is one")


# --- synthesize


def _add_synthesize(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("directory", type=Path, help="folder to write to; an interrupted corpus is completed")
    parser.add_argument("--actors", type=int, default=8, help="1 to 24")
    parser.add_argument("--takes", type=int, default=2, help="clips of each emotion and actor, 1 to 8")
    parser.add_argument("--seed", type=int, default=0, help="another seed is another corpus")
    _add_workers(parser)
    parser.set_defaults(run=_synthesize)


def _add_workers(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--workers", type=_positive, default=os.cpu_count() or 1, help="processes")


def _synthesize(args: argparse.Namespace) -> int:
    from mmer.corpora.demo import synthesize

    synthesize(args.directory, actors=args.actors, takes=args.takes, seed=args.seed, workers=args.workers)
    print(f"demo corpus in {args.directory}; next: mmer prepare ravdess {args.directory} DST")
    return 0


# --- prepare


def _add_prepare(parser: argparse.ArgumentParser) -> None:
    kinds = parser.add_subparsers(required=True, metavar="KIND", dest="kind")
    ravdess = kinds.add_parser("ravdess", help="RAVDESS, or a corpus named like it")
    ravdess.add_argument("source", type=Path, metavar="SRC", help="folder with Actor_01, Actor_02, ...")
    table = kinds.add_parser("table", help="any corpus, as a CSV table")
    table.add_argument(
        "source",
        type=Path,
        metavar="CSV",
        help="columns key, video, audio, text, label, speaker and free others; relative paths start at the table",
    )
    for kind in (ravdess, table):
        _add_settings(kind)


def _add_settings(parser: argparse.ArgumentParser) -> None:
    default = PrepareConfig()
    parser.add_argument("destination", type=Path, metavar="DST", help="prepared folder, new or interrupted")
    parser.add_argument("--crop", choices=("face", "none"), default=default.crop, help="none: the clips are faces")
    parser.add_argument("--size", type=int, default=default.size, help="side of the face frames, in pixels")
    parser.add_argument("--margin", type=float, default=default.margin, help="room around the face, as a share")
    parser.add_argument("--detect-every", type=int, default=default.detect_every, help="look at every k-th frame")
    parser.add_argument("--quality", type=int, default=default.quality, help="JPEG quality of the frames, 1 to 100")
    parser.add_argument("--sample-rate", type=int, default=default.sample_rate, help="rate of the sound, in Hz")
    parser.add_argument("--max-seconds", type=float, default=default.max_seconds, help="longest clip accepted")
    parser.add_argument(
        "--labels", help="label set, or class names with commas; clips of other labels are left out by name"
    )
    _add_workers(parser)
    parser.set_defaults(run=_prepare)


def _prepare(args: argparse.Namespace) -> int:
    from mmer.corpora.manifest import Manifest
    from mmer.corpora.ravdess import read_ravdess
    from mmer.corpora.table import read_table
    from mmer.data.prepare import prepare_corpus

    config = PrepareConfig(**{field.name: getattr(args, field.name) for field in fields(PrepareConfig)})
    manifest: Manifest = read_ravdess(args.source) if args.kind == "ravdess" else read_table(args.source)
    if args.labels is not None:
        names = [name.strip() for name in args.labels.split(",")]
        manifest = manifest.known(label_set(names if len(names) > 1 else args.labels))
    done = prepare_corpus(manifest, args.destination, config, workers=args.workers)
    for error in done.skipped:
        print(f"left out: {error}", file=sys.stderr)
    total, rows = len(done.rows) + len(done.skipped), done.rows
    faces, voices = sum(row.video is not None for row in rows), sum(row.audio is not None for row in rows)
    print(f"{len(rows)} of {total} clips in {args.destination}: {faces} with a face, {voices} with a voice")
    for name in ("label", "speaker"):
        counts = Counter(getattr(row, name) or "none" for row in rows)
        print(f"{name}s: {', '.join(f'{value} {count}' for value, count in counts.items())}")
    if done.skipped:
        print(f"{len(done.skipped)} clips left out; their names and reasons are in {args.destination / 'skipped.csv'}")
    return 0


# --- predict


def _add_predict(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("files", nargs="+", metavar="FILE", help="video or sound files")
    parser.add_argument("--checkpoint", type=Path, required=True, help="a checkpoint that train.py wrote")
    parser.add_argument("--format", choices=("table", "json", "csv"), default="table", help="how to print the answers")
    parser.add_argument(
        "--modalities", nargs="+", choices=get_args(Modality), help="read only these, as audio where the face is hidden"
    )
    _add_device(parser)
    parser.set_defaults(run=_predict)


def _predict(args: argparse.Namespace) -> int:
    from mmer.corpora.manifest import DEMO_CORPUS
    from mmer.inference.predictor import Prediction, Predictor

    predictor = Predictor.from_checkpoint(args.checkpoint, args.device)
    if DEMO_CORPUS in predictor.card.corpora:
        print("mmer: warning: trained on drawn faces: its answers say nothing of people", file=sys.stderr)
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


# --- evaluate


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
    print(f"{metrics['protocol']}, {metrics['part']} speakers {', '.join(metrics['speakers']['scored'])}")
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


# --- doctor


def _add_doctor(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--folder", type=Path, default=Path("runs"), help="where runs will be written")
    parser.add_argument("--format", choices=("table", "json"), default="table", help="how to print the findings")
    parser.set_defaults(run=_doctor)


def _doctor(args: argparse.Namespace) -> int:
    from mmer.doctor import examine

    checks = list(examine(args.folder))
    if args.format == "json":
        print(json.dumps([check.to_plain() for check in checks], indent=2))
    else:
        for check in checks:
            print(f"{'ok  ' if check.ok else 'FAIL'} {check.name}: {check.found}")
            if not check.ok:
                print(f"     mend it with: {check.remedy}")
    return 0 if all(check.ok for check in checks) else 1
