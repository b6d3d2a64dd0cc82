"""``evaluate.py``: checkpoints and tables of answers to scores."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from mmer.cli.parser import (
    add_copies,
    add_degrade,
    add_inference,
    add_results,
    check_folder,
    check_tables,
    labels,
    names,
    natural,
    positive,
    shard_config,
)
from mmer.cli.scores import add_resamples, add_scores_format, show
from mmer.config import SplitConfig
from mmer.corpora.protocols import PROTOCOLS
from mmer.data.store import as_root
from mmer.errors import ConfigError

if TYPE_CHECKING:  # they load torch, and --help is quick
    from mmer.evaluation.system import System

SCORES = (
    "accuracy", "uar", "macro_f1", "weighted_f1", "top2", "auroc", "average_precision", "ece", "brier", "log_loss"
)  # fmt: skip
"""By what systems can be sorted; :mod:`mmer.evaluation.metrics` knows them too, and loads much."""

_SPLIT = "data.split."  # how the flags of another split begin


class Named(NamedTuple):
    """A path, and what the user calls it where he does."""

    name: str | None
    path: Path


def add(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    what = parser.add_argument_group("what is scored", "At least one; both options take several and may be repeated.")
    what.add_argument(
        "--checkpoint",
        type=named,
        nargs="+",
        action="extend",
        metavar="[NAME=]FILE",
        help="checkpoints that train.py wrote",
    )
    what.add_argument(
        "--predictions",
        type=named,
        nargs="+",
        action="extend",
        metavar="[NAME=]FILE",
        help="answers of any system: tables, CSV or Parquet, as docs/metrics.md says",
    )
    what.add_argument("--labels", help="class names of the tables, with commas, or the name of a label set")
    _add_clips(parser)
    _add_measures(parser)
    where = parser.add_argument_group("what is written")
    add_results(where)
    where.add_argument("--table", choices=("csv", "parquet"), default="csv", help="how to write the answers")
    add_scores_format(where)
    run = parser.add_argument_group("how checkpoints run")
    add_inference(run)
    parser.set_defaults(run=_evaluate)


def _add_clips(parser: argparse.ArgumentParser) -> None:
    clips = parser.add_argument_group(
        "on which clips checkpoints are scored",
        "Without a protocol: a part of each checkpoint's own split, or all of a corpus that it has never seen.",
    )
    clips.add_argument("--data.root", type=as_root, metavar="DIR", help="prepared folder or shards, if another one")
    add_copies(clips)
    clips.add_argument("--data.part", choices=("train", "validation", "test"), default="test", help="part of the split")
    clips.add_argument("--data.split.protocol", metavar="NAME", help=f"another split: {PROTOCOLS}")
    clips.add_argument("--data.split.fold", type=positive, help="its fold, from 1")
    for part in ("test", "validation", "train"):
        clips.add_argument(
            f"--data.split.{part}", type=names, metavar="NAMES", help=f"its {part} speakers, with commas"
        )
    clips.add_argument("--data.split.column", help="column that says the part (table only)")
    clips.add_argument("--data.split.file", help="CSV table of key and part (table only)")
    clips.add_argument("--data.split.seed", type=int, help="seed of random_leaky")
    clips.add_argument("--data.split.duplicates", choices=("refuse", "drop"), help="the same sound twice")
    clips.add_argument(
        "--allow-leak",
        dest="data.split.allow_leak",
        action="store_true",
        default=None,
        help="score whom the checkpoint has learned from, and mark the result",
    )


def _add_measures(parser: argparse.ArgumentParser) -> None:
    measures = parser.add_argument_group("what is measured")
    measures.add_argument("--metric", choices=SCORES, default="uar", help="by which systems are sorted")
    add_resamples(measures)
    measures.add_argument("--seed", type=natural, default=0, help="seed of the bootstrap")
    add_degrade(measures)
    measures.add_argument(
        "--explain", type=natural, default=0, metavar="K", help="explain K answers: the surest wrong and right ones"
    )
    measures.add_argument(
        "--log",
        type=named,
        nargs="+",
        action="extend",
        metavar="[NAME=]DIR",
        help="folders of runs whose training is shown; without this those beside the checkpoints",
    )
    measures.add_argument("--no-log", action="store_true", help="show no training")


def _evaluate(args: argparse.Namespace) -> int:
    from mmer.evaluation.columns import check_suffix
    from mmer.evaluation.measure import measure
    from mmer.evaluation.results import Evaluation

    _check(args)
    check_suffix(Path(f"predictions.{args.table}"))
    systems = _read_systems(args)
    metrics = measure(systems, metric=args.metric, resamples=args.resamples, seed=args.seed, command=args.command)
    Evaluation(metrics, systems).write(args.output, args.table)
    show(metrics, args.output, args.format)
    return 0


def _check(args: argparse.Namespace) -> None:
    """Refuse flags that do not go together, before anything is read."""
    if not args.checkpoint and not args.predictions:
        raise ConfigError("there is nothing to score; give --checkpoint FILE, --predictions FILE, or both")
    check_folder(args.output)
    for flag, given in (("--degrade", args.degrade), ("--explain", args.explain)):
        if given and not args.checkpoint:
            raise ConfigError(
                f"{flag} runs a model, and --predictions are answers; give a --checkpoint, or leave it out"
            )
    if args.labels is not None and not args.predictions:
        raise ConfigError("--labels names the classes of --predictions; a checkpoint knows its own, so leave it out")
    if args.no_log and args.log:
        raise ConfigError("--log and --no-log contradict each other; leave one of them out")
    split = _split_settings(args)
    if split and "protocol" not in split:
        flags = ", ".join("--allow-leak" if name == "allow_leak" else f"--data.split.{name}" for name in split)
        raise ConfigError(f"{flags}: of which split? Name it by --data.split.protocol, or leave this out")
    root, part = getattr(args, "data.root"), getattr(args, "data.part")
    for flag, given in (("--data.root", root), ("--data.part", part != "test"), ("--data.split.protocol", split)):
        if given and not args.checkpoint:
            raise ConfigError(f"{flag} chooses clips for a checkpoint to answer; give one, or leave it out")
    check_tables("--predictions", [each.path for each in args.predictions or ()], args.output)


def _read_systems(args: argparse.Namespace) -> list[System]:
    """Read what is to be scored: all that is quick to read first, and then let the checkpoints answer."""
    from mmer.evaluation.results import evaluate_predictions, number_names, system_name

    checkpoints, tables = args.checkpoint or [], args.predictions or []
    called = number_names([each.name or system_name(each.path) for each in (*checkpoints, *tables)])
    classes, logs = None if args.labels is None else labels(args.labels).names, _read_logs(called, args)
    read = [
        evaluate_predictions(each.path, name=name, labels=classes)
        for each, name in zip(tables, called[len(checkpoints) :], strict=True)
    ]
    systems = [*_answer(args, called, read), *read] if checkpoints else read
    return [
        replace(system, training={"runs": logs[system.name]}) if logs[system.name] else system for system in systems
    ]


def _answer(args: argparse.Namespace, called: Sequence[str], tables: Sequence[System]) -> Iterator[System]:
    """Let the checkpoints answer, one after the other."""
    from mmer.evaluation.evaluate import check_classes, evaluate_checkpoint
    from mmer.inference.predictor import choose_device

    device, split, shards = choose_device(args.device), _split_settings(args), shard_config(args)
    check_classes([each.path for each in args.checkpoint], tables)
    for each, name in zip(args.checkpoint, called, strict=False):
        yield evaluate_checkpoint(
            each.path,
            getattr(args, "data.root"),
            getattr(args, "data.part"),
            name=name,
            shards=shards,
            split=SplitConfig(**split) if split else None,
            device=device,
            batch_size=args.batch_size,
            workers=args.workers,
            degrade=args.degrade or (),
            explain=args.explain,
        )


def _read_logs(called: Sequence[str], args: argparse.Namespace) -> dict[str, list[dict[str, Any]]]:
    """Read the course of the trainings: of the runs that are named, or of those that the checkpoints lie in."""
    from mmer.evaluation.training_log import read_log

    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in called}
    for log in args.log or ():
        name = log.name or (called[0] if len(called) == 1 else "")
        if name not in runs:
            raise ConfigError(f"--log {log.path}: of which system? Say NAME={log.path} with one of {', '.join(runs)}")
        runs[name].append(read_log(log.path, log.path.absolute().name))
    found = () if args.log or args.no_log else zip(called, args.checkpoint or (), strict=False)
    for name, checkpoint in found:
        folder = checkpoint.path.absolute().parent
        if folder.name == "checkpoints":
            with suppress(ConfigError):  # nobody asked for it, and a checkpoint may have been moved
                runs[name].append(read_log(folder.parent, folder.parent.name))
    return runs


def _split_settings(args: argparse.Namespace) -> dict[str, Any]:
    """Return what was said of another split than the checkpoints' own."""
    given = {name.removeprefix(_SPLIT): value for name, value in vars(args).items() if name.startswith(_SPLIT)}
    return {name: value for name, value in given.items() if value is not None}


def named(text: str) -> Named:
    """Read ``[NAME=]PATH``; a path that exists may have an equals sign."""
    name, equals, path = text.partition("=")
    if not equals or not name or "/" in name or Path(text).exists():
        return Named(None, Path(text))
    return Named(name, Path(path))
