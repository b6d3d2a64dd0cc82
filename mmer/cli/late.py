"""``mmer late``: several systems combined into one, fitted on validation speakers alone."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmer.cli.parser import add_inference, add_results, check_folder, natural
from mmer.cli.score import Named, named
from mmer.cli.scores import add_resamples, add_scores_format, show
from mmer.errors import ConfigError, CrossvalError

if TYPE_CHECKING:  # they load torch, and --help is quick
    from mmer.baselines.late import Combined
    from mmer.baselines.members import Member
    from mmer.training.plan import Plan

_MEMBER = "checkpoint, folder of mmer crossval, or folder with predictions.csv and, for what is fitted, validation.csv"

_WEIGHTS = "weights.csv"  # by which a folder of this command's is known again


def add(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.description = (
        "Combine systems of the same split: what each says of a clip becomes one answer. Only validation speakers are "
        "learned from; a clip for which some have no answer is combined of the others."
    )
    parser.add_argument("members", type=named, nargs="+", metavar="[NAME=]MEMBER", help=_MEMBER)
    parser.add_argument(
        "--method",
        choices=("average", "logistic", "forest"),
        default="logistic",
        help="mean of the probabilities, or what is fitted on them: logistic regression or a random forest",
    )
    add_results(parser)
    parser.add_argument("--data.root", dest="root", type=Path, help="prepared folder, if not the checkpoints' own")
    parser.add_argument("--seed", type=natural, default=0, help="of the search and of forests")
    add_resamples(parser)
    add_scores_format(parser)
    add_inference(parser)
    parser.set_defaults(run=_late)


def _late(args: argparse.Namespace) -> int:
    from mmer.baselines.extra import check_extra
    from mmer.baselines.late import combine
    from mmer.baselines.members import align
    from mmer.evaluation.measure import measure
    from mmer.evaluation.results import Evaluation

    if _fits(args):
        check_extra("sklearn")
    if len(args.members) < 2:
        raise ConfigError("one system is not combined with anything; name two or more")
    _check_output(args)
    combined = combine(align(_read(args)), args.method, seed=args.seed)
    metrics = measure([combined.system], resamples=args.resamples, command=args.command)
    Evaluation(metrics, [combined.system]).write(args.output)
    combined.write_weights(args.output / _WEIGHTS)
    if args.format == "table":
        _print_weights(combined, args.output)
    show(metrics, args.output, args.format)
    return 0


def _check_output(args: argparse.Namespace) -> None:
    """Refuse a folder where a system's answers would be taken for those of the combination, or be lost.

    Raises:
        ConfigError: It is one.
    """
    from mmer.baselines.members import TEST, VALIDATION
    from mmer.training.plan import read_plan

    check_folder(args.output)
    unlike = (args.output / TEST).exists() and not (args.output / _WEIGHTS).exists()
    fitted = (args.output / VALIDATION).exists()
    tasks = args.output.is_dir() and read_plan(args.output) is not None
    if unlike or fitted or tasks or args.output.resolve() in [each.path.resolve() for each in args.members]:
        raise ConfigError(f"--output {args.output} holds the answers of one system; name another folder")


def _read(args: argparse.Namespace) -> list[Member]:
    """Read what is to be combined; nothing is asked of a checkpoint before all is known to be there."""
    from mmer.baselines.members import read_folder
    from mmer.evaluation.results import number_names, system_name
    from mmer.training.plan import read_plan

    given: Sequence[Named] = args.members
    if missing := [str(each.path) for each in given if not each.path.exists()]:
        raise ConfigError(f"{', '.join(missing)} does not exist; name a {_MEMBER}")
    called = number_names([each.name or system_name(each.path) for each in given])
    plans = [read_plan(each.path) if each.path.is_dir() else None for each in given]
    members = []
    for name, each, plan in zip(called, given, plans, strict=True):
        if plan is not None:
            members.append(_of_plan(name, each.path, plan, args))
        elif each.path.is_dir():
            members.append(read_folder(name, each.path, fitted=_fits(args)))
        else:
            members.append(_of_checkpoint(name, each.path, args))
    return members


def _of_checkpoint(name: str, path: Path, args: argparse.Namespace) -> Member:
    """Let a checkpoint answer for the test part of its own split, and for the validation part where that is fitted."""
    from mmer.baselines.members import Answers, Member

    validation = _ask(path, "validation", args) if _fits(args) else None
    return Member(name, {("", ""): Answers(validation, _ask(path, "test", args))})


def _fits(args: argparse.Namespace) -> bool:
    """Tell whether the method learns anything; a mean does not."""
    fits: bool = args.method != "average"
    return fits


def _of_plan(name: str, folder: Path, plan: Plan, args: argparse.Namespace) -> Member:
    """Read what the tasks of a cross-validation answered in their tests; their checkpoints answer for what is fitted.

    Raises:
        CrossvalError: A task is not finished.
    """
    from mmer.baselines.members import TEST, Answers, Member
    from mmer.evaluation.predictions import Predictions

    tasks = plan.tasks(folder)
    if missing := [task.name for task in tasks if not task.finished]:
        raise CrossvalError(f"{folder}: {len(missing)} of {len(tasks)} tasks are not finished, {missing[0]} the first")
    found = {}
    for task in tasks:
        validation = None
        if _fits(args):
            print(f"{name}: {task.name}, validation speakers", file=sys.stderr)
            validation = _ask(task.folder / "checkpoints" / "best.ckpt", "validation", args)
        test = Predictions.read(task.folder / TEST, plan.classes)
        found[str(task.seed), str(task.fold)] = Answers(validation, test)
    return Member(name, found)


def _ask(checkpoint: Path, part: Any, args: argparse.Namespace) -> Any:
    """Return a checkpoint's answers about a part of its own split."""
    from mmer.evaluation.evaluate import evaluate_checkpoint
    from mmer.inference.predictor import choose_device

    return evaluate_checkpoint(
        checkpoint,
        args.root,
        part,
        device=choose_device(args.device),
        batch_size=args.batch_size,
        workers=args.workers,
    ).predictions


def _print_weights(combined: Combined, output: Path) -> None:
    """Print how much each member counted."""
    for name, share in combined.shares().items():
        print(f"{name:<30}{100 * share:>6.1f}% of the weights")
    print(f"fold by fold: {output / _WEIGHTS}")
