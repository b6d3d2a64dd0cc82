"""``mmer crossval``: every fold of a protocol trained and tested, and one report of all."""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmer.cli.parser import (
    add_degrade,
    add_device,
    add_results,
    add_seeds,
    check_folder,
    ended_by_sigterm,
    positive,
    red,
)
from mmer.cli.scores import add_resamples, add_scores_format, show
from mmer.corpora.manifest import listed
from mmer.corpora.protocols import PROTOCOLS
from mmer.errors import ConfigError, CrossvalError

if TYPE_CHECKING:  # they load torch, and --help is quick
    from mmer.training.plan import Plan, Task

_NAMED = 5  # tasks that a message names


def add(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.description = (
        "Train and test every fold of a protocol, and pool the answers in one report. A task is one fold of one seed. "
        "Started again, it goes on: a finished task is never redone, and a broken one begins anew. Several processes, "
        "on one machine or on many, may work in the same folder."
    )
    what = parser.add_argument_group("what is trained")
    what.add_argument("--config", type=Path, metavar="FILE", help="settings of train.py, a YAML")
    what.add_argument("--protocol", metavar="NAME", help=PROTOCOLS)
    add_seeds(what, "seeds of the trainings")
    what.add_argument("--data.root", dest="root", metavar="DIR", help="prepared folder, if not the config's")
    what.add_argument(
        "--duplicates", choices=("refuse", "drop"), help="the same sound twice, if not as the config says"
    )
    what.add_argument("--allow-leak", action="store_true", help="train although parts share something, and mark it")
    what.add_argument("overrides", nargs="*", metavar="-- FLAG", help="further flags of train.py fit, behind --")
    measures = parser.add_argument_group("what is measured")
    measures.add_argument("--no-oracle", action="store_true", help="do not watch the test speakers in every epoch")
    measures.add_argument(
        "--calibrate",
        choices=("none", "temperature", "vector"),
        default="none",
        help="calibrate each fold on its validation speakers",
    )
    add_degrade(measures)
    add_resamples(measures)
    work = parser.add_argument_group("who does what")
    add_results(work, "folder of the cross-validation")
    work.add_argument("--jobs", type=positive, default=1, metavar="N", help="tasks at once; they share the cores")
    work.add_argument("--tasks", type=positive, nargs="+", metavar="N", help="do these alone, as a cluster's job")
    work.add_argument("--join", action="store_true", help="train nothing: pool what is finished, and write the report")
    work.add_argument("--partial", action="store_true", help="join although tasks are missing; the report says so")
    work.add_argument("--dry-run", action="store_true", help="show the plan and what it costs, and do nothing")
    add_scores_format(work, "the scores, or the plan")
    add_device(work)
    parser.set_defaults(run=_crossval)


def _crossval(args: argparse.Namespace) -> int:
    _check(args)
    if args.join:
        return _join(args)
    from mmer.training.devices import check_device
    from mmer.training.plan import begin, merge

    plan = _plan(args)
    if args.dry_run:
        plan = merge(args.output, plan)
        _show_plan(plan, _chosen(args, plan), args)
        return 0
    check_device(args.device)
    _chosen(args, merge(args.output, plan))  # a wrong number is refused before anything is written
    plan = begin(args.output, plan)
    _warn(plan)
    with ended_by_sigterm():
        return _work(args, plan)


def _work(args: argparse.Namespace, plan: Plan) -> int:
    """Do the tasks, and write the report where all are finished."""
    from mmer.training.crossval import run_tasks, write_report

    tasks, every = _chosen(args, plan), plan.tasks(args.output)
    if failed := run_tasks(plan, tasks, jobs=args.jobs, device=args.device):
        raise CrossvalError(
            f"{len(failed)} of {len(tasks)} tasks failed: {listed(map(str, failed))}; mend the cause and start again: "
            "what is finished is kept"
        )
    if missing := [task.name for task in every if not task.finished]:
        print(
            f"mmer crossval: {len(missing)} of {len(every)} tasks are not finished: {listed(missing, _NAMED)}; whoever "
            f"finishes the last one writes the report, or: mmer crossval --join --output {args.output}",
            file=sys.stderr,
        )
        return 0
    show(write_report(plan, args.output, command=args.command, resamples=args.resamples), args.output, args.format)
    return 0


def _join(args: argparse.Namespace) -> int:
    from mmer.training.crossval import write_report
    from mmer.training.plan import read_plan

    plan = read_plan(args.output)
    if plan is None:
        raise CrossvalError(f"{args.output} holds no cross-validation; begin one with --config and --protocol")
    metrics = write_report(plan, args.output, command=args.command, resamples=args.resamples, partial=args.partial)
    show(metrics, args.output, args.format)
    return 0


def _check(args: argparse.Namespace) -> None:
    """Refuse flags that do not go together, before anything is read."""
    wanted = [name for name in ("config", "protocol") if getattr(args, name) is None]
    if args.join and (len(wanted) < 2 or args.tasks or args.dry_run or args.overrides):
        raise ConfigError("--join pools what is there; leave --config, --protocol, --tasks, --dry-run and flags out")
    if not args.join and wanted:
        raise ConfigError(f"{' and '.join(f'--{name}' for name in wanted)} must be given, or --join")
    if args.partial and not args.join:
        raise ConfigError("--partial is for --join; leave it out")
    if args.config is not None and not args.config.is_file():
        raise ConfigError(f"--config {args.config} does not exist; name a YAML of train.py's settings")
    check_folder(args.output)


def _plan(args: argparse.Namespace) -> Plan:
    from mmer.training.plan import Extras, make_plan
    from mmer.training.settings import check_overrides

    check_overrides(args.overrides)
    flags = [f"--data.root={args.root}"] if args.root is not None else []
    flags += [f"--data.split.duplicates={args.duplicates}"] if args.duplicates is not None else []
    flags += ["--data.split.allow_leak=true"] if args.allow_leak else []
    extras = Extras(not args.no_oracle, args.calibrate, tuple(args.degrade or ()))
    return make_plan(args.config, args.protocol, args.seeds, extras, args.jobs, [*flags, *args.overrides])


def _chosen(args: argparse.Namespace, plan: Plan) -> list[Task]:
    """Return the tasks that this process may do: those of its seeds, or those that are named."""
    tasks = plan.tasks(args.output)
    if args.tasks is None:
        return [task for task in tasks if task.seed in args.seeds]
    if strangers := [number for number in args.tasks if number > len(tasks)]:
        raise ConfigError(f"--tasks {listed(map(str, strangers))}: the plan has the tasks 1 to {len(tasks)}")
    return [task for task in tasks if task.number in args.tasks]


def _show_plan(plan: Plan, tasks: Sequence[Task], args: argparse.Namespace) -> None:
    """Print what there is to do, what it costs, and how one task is done."""
    command = [word for word in shlex.split(args.command) if word != "--dry-run"]
    end = command.index("--") if "--" in command else len(command)
    one = shlex.join([*command[:end], "--tasks", str(tasks[0].number), *command[end:]])
    described = [_describe(plan, task) for task in tasks]
    if args.format == "json":
        shown: dict[str, Any] = {
            "protocol": plan.protocol,
            "seeds": plan.seeds,
            "epochs": plan.epochs,
            "threads": plan.threads,
        }
        shown |= {"tasks": described, "cost": _cost(described), "one_task": one, "left_out": plan.left_out}
        print(json.dumps(shown, indent=2))
        return
    _warn(plan)
    print(
        f"{plan.name}: {plan.protocol}, {len(tasks)} tasks of {plan.epochs or '?'} epochs, {plan.threads} threads each"
    )
    print("\n".join(_plan_lines(described)))
    print(f"one task: {one}")


def _plan_lines(tasks: Sequence[dict[str, Any]]) -> Iterator[str]:
    widths = {"task": 4, "seed": 6, "fold": 6, "state": 10, "train": 7, "validation": 12, "test": 6}
    yield "".join(f"{name:>{width}}" for name, width in widths.items()) + "  tested; validated on"
    for task in tasks:
        cells = {**task, **task["clips"]}
        people = [listed(task["speakers"][part], _NAMED) or "nobody known" for part in ("test", "validation")]
        yield "".join(f"{cells[name]:>{width}}" for name, width in widths.items()) + f"  {'; '.join(people)}"
    if cost := _cost(tasks):
        yield f"cost: {cost['all']:,} clips to read in all, {cost['left']:,} of them still to do"
    else:
        yield "cost: nobody knows, for trainer.max_epochs does not end the training"


def _cost(tasks: Sequence[dict[str, Any]]) -> dict[str, int] | None:
    """Return how many clips are read in all, and by the tasks that are not finished."""
    if any(task["cost"] is None for task in tasks):
        return None
    left = sum(task["cost"] for task in tasks if task["state"] != "finished")
    return {"all": sum(task["cost"] for task in tasks), "left": left}


def _describe(plan: Plan, task: Task) -> dict[str, Any]:
    fold = plan.fold(task.fold)
    return {
        "task": task.number,
        "seed": task.seed,
        "fold": task.fold,
        "state": task.state,
        "speakers": fold.speakers,
        "clips": fold.clips,
        "cost": plan.cost(task),
    }


def _warn(plan: Plan) -> None:
    """Say on standard error what should worry a human: leaks first, then folds that cannot be filled."""
    for leak in dict.fromkeys(leak for fold in plan.folds for leak in fold.leaks):
        print(red(f"mmer crossval: LEAKY split, the scores will be too high: {leak}", sys.stderr), file=sys.stderr)
    for reason in plan.left_out:
        print(f"mmer crossval: left out: {reason}", file=sys.stderr)
