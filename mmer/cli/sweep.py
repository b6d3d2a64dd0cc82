"""``mmer sweep``: trials of a sweep of Weights & Biases on this machine, without an account."""

from __future__ import annotations

import argparse
import json
import shlex
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock

from mmer.atomic import replacing
from mmer.cli.parser import (
    Parser,
    add_device,
    add_format,
    add_results,
    check_folder,
    ended_by_sigterm,
    natural,
    positive,
)
from mmer.errors import ConfigError, SweepError

if TYPE_CHECKING:  # they load optuna, and --help is quick
    from mmer.training.sweep_file import Sweep
    from mmer.training.sweep_plan import SweepPlan

_SHOWN = 10  # trials in the table
_MANY = 30  # complete trials from which importance can be believed
_STUDY = "study.json"  # which study a folder is of


def add(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.description = (
        "Train the trials of a sweep, each in a process of its own, and say which settings are best on the validation "
        "speakers. The file is a sweep of Weights & Biases; wandb sweep and wandb agent take it too. Started again, it "
        "goes on; several processes, on one machine or on many, may work on one study. Behind -- come further flags of "
        "train.py fit."
    )
    if isinstance(parser, Parser):
        parser.rest = "overrides"
    what = parser.add_argument_group("what is swept")
    what.add_argument("file", type=Path, metavar="FILE", help="the sweep, a YAML as in configs/sweeps/")
    what.add_argument(
        "--trials", type=positive, metavar="N", help="finished trials of the whole study; of a grid, its first points"
    )
    what.add_argument("--seed", type=natural, default=0, help="of what is drawn")
    what.add_argument(
        "--pruner",
        choices=("none", "median", "halving", "hyperband"),
        help="end bad trials early; if not given, as the file says, whose hyperband is halving here",
    )
    work = parser.add_argument_group("who does what")
    add_results(work, "folder of the trials and of what is found")
    work.add_argument("--jobs", type=positive, default=1, metavar="M", help="trials at once; they share the cores")
    tried = "times that a trial which is killed is tried again; if not given, as the study has it, or 2"
    work.add_argument("--retries", type=natural, help=tried)
    work.add_argument("--storage", metavar="URL", help="database of the study; if not given, a journal in --output")
    work.add_argument("--study", metavar="NAME", help="name of the study, if not the file's")
    work.add_argument("--report", action="store_true", help="train nothing: show what is found so far")
    work.add_argument("--dry-run", action="store_true", help="check all, show what would be trained, and do nothing")
    add_format(work, "what is found, or what would be done")
    add_device(work)
    parser.set_defaults(run=_sweep, overrides=[])


def _sweep(args: argparse.Namespace) -> int:
    check_folder(args.output)
    if find_spec("optuna") is None:
        raise ConfigError("mmer sweep needs optuna: pip install 'mmer[sweep]'")
    if args.report:
        return _report(args)
    from mmer.training.devices import check_device
    from mmer.training.study import name_storage
    from mmer.training.sweep_file import read_sweep
    from mmer.training.sweep_plan import make_plan

    check_device(args.device)
    sweep = read_sweep(args.file)
    wanted = _wanted(args, sweep)
    own = {"study": args.study or sweep.name, "storage": name_storage(args.storage)}
    _check_mark(args, own)
    plan = make_plan(sweep, args.overrides, seed=args.seed, pruner=args.pruner)
    if args.dry_run:
        _show_plan(args, plan, wanted)
        return 0
    with ended_by_sigterm():
        return _work(args, plan, wanted, own)


def _work(args: argparse.Namespace, plan: SweepPlan, wanted: int, own: Mapping[str, str]) -> int:
    from mmer.training.refuse import check_accelerator
    from mmer.training.study import closing_storage, open_storage, open_study
    from mmer.training.sweep import run_trials

    if args.device == "auto":  # else it has said itself what is here
        check_accelerator(plan.settings["trainer"]["accelerator"])
    with closing_storage(open_storage(args.storage, args.output)) as storage:
        args.output.mkdir(parents=True, exist_ok=True)
        with FileLock(args.output / ".lock"):  # of two that begin it at once, the second sees what the first wants
            _check_mark_again(args, own)
            study = open_study(storage, own["study"], plan)
            _mark(args, own)
        how = {"wanted": wanted, "retries": args.retries, "jobs": args.jobs}
        run_trials(plan, study, storage, args.output, **how, device=args.device)
        summary = _summarise(args, plan, study)
    wanted, finished = min(wanted, summary["wanted"]), summary["finished"]  # somebody else may want fewer by now
    if finished < wanted:
        raise SweepError(f"{wanted - finished} of {wanted} trials cannot be trained; sweep.json says why")
    return 0


def _report(args: argparse.Namespace) -> int:
    from mmer.training.study import DEFINITION, JOURNAL, closing_storage, load_study, name_storage, open_storage
    from mmer.training.sweep_file import read_sweep
    from mmer.training.sweep_plan import planned_before

    if args.dry_run or args.overrides:
        raise ConfigError("--report shows what is found; leave --dry-run and flags out")
    sweep = read_sweep(args.file)
    name = args.study or sweep.name
    if args.storage is None and not (args.output / JOURNAL).is_file():
        raise SweepError(f"{args.output} holds no study; begin one without --report, or name its --storage")
    own = {"study": name, "storage": name_storage(args.storage)}
    _check_mark(args, own)
    with closing_storage(open_storage(args.storage, args.output)) as storage:
        study = load_study(storage, name)
        held = study.user_attrs.get(DEFINITION)
        if held is None:
            raise SweepError(f"study {name} is not of mmer sweep; give another --study")
        plan = planned_before(sweep, held, name)
        args.output.mkdir(parents=True, exist_ok=True)
        with FileLock(args.output / ".lock"):
            _check_mark_again(args, own)
            _mark(args, own)
        _summarise(args, plan, study)
    return 0


def _summarise(args: argparse.Namespace, plan: SweepPlan, study: Any) -> dict[str, Any]:
    """Write what was found, print it, and return it."""
    from mmer.training.study import name_storage
    from mmer.training.sweep_report import summarise, write_summary

    place = name_storage(args.storage)
    command = _without_password(args.command, args.storage, place)
    summary = summarise(plan, study, args.output, storage=place, command=command)
    write_summary(plan, summary, args.output)
    if args.format == "json":
        print(json.dumps(summary, indent=2))
    else:
        print("\n".join(_lines(summary, args.output)))
    return summary


def _without_password(command: str, url: str | None, shown: str) -> str:
    """Return a command with an address as it may be shown."""
    return command if url is None else shlex.join(word.replace(url, shown) for word in shlex.split(command))


def _wanted(args: argparse.Namespace, sweep: Sweep) -> int:
    """Return how many trials there are to be."""
    limits: list[int | None] = [args.trials, sweep.run_cap]
    if sweep.method == "grid":
        limits.append(len(sweep.points()))
    given = [limit for limit in limits if limit is not None]
    if not given:
        raise ConfigError(f"--trials must be given: {sweep.method} has no end of its own, and no run_cap")
    return min(given)


def _check_mark(args: argparse.Namespace, own: Mapping[str, str]) -> None:
    """Refuse a folder that is not of this study.

    Raises:
        SweepError: It is of another, or holds other things.
    """
    path = args.output / _STUDY
    if path.is_file():
        try:
            held = json.loads(path.read_text(encoding="utf-8"))
            found = f"study {held['study']} of {held['storage']}"
        except (ValueError, KeyError, TypeError) as error:
            raise SweepError(f"{path} is not what mmer sweep writes; name another --output") from error
        if held != own:
            raise SweepError(f"{args.output} holds {found}; name another --output")
        return
    inside = args.output.iterdir() if args.output.is_dir() else ()
    if strange := [each.name for each in inside if not each.name.startswith((".", "study.log"))]:
        raise SweepError(
            f"{args.output} holds other things than a sweep, as {strange[0]}; name a new or an empty folder"
        )


def _check_mark_again(args: argparse.Namespace, own: Mapping[str, str]) -> None:
    """Refuse a folder that another process has made its own since; whoever asks holds its lock.

    Raises:
        SweepError: It is another study's.
    """
    if (args.output / _STUDY).is_file():
        _check_mark(args, own)


def _mark(args: argparse.Namespace, own: Mapping[str, str]) -> None:
    """Write into the folder which study it is of."""
    with replacing(args.output / _STUDY) as temporary:
        temporary.write_text(json.dumps(own) + "\n", encoding="utf-8")


def _show_plan(args: argparse.Namespace, plan: SweepPlan, wanted: int) -> None:
    """Print what there is to do, and how one trial is done."""
    from mmer.training.child import share_threads
    from mmer.training.study import name_storage
    from mmer.training.sweep_report import best_command

    first = plan.sweep.samples()[0]
    run = {"flags": plan.flags(first, args.device), "threads": share_threads(args.jobs)}
    command = best_command(plan, run, args.output / "trials" / "0")
    shown = {
        "name": plan.sweep.name,
        "study": args.study or plan.sweep.name,
        "storage": name_storage(args.storage),
        "method": plan.sweep.method,
        "metric": plan.sweep.metric,
        "goal": plan.sweep.goal,
        "chance": plan.chance,
        "pruner": plan.pruner,
        "trials": wanted,
        "jobs": args.jobs,
        "epochs": plan.epochs,
        "threads": run["threads"],
        "parameters": {name: str(domain) for name, domain in plan.sweep.domains.items()},
        "example": command,
    }
    if args.format == "json":
        print(json.dumps(shown, indent=2))
        return
    print(
        f"{shown['name']}: {shown['method']}, {wanted} trials of {plan.epochs or '?'} epochs, {args.jobs} at once, "
        f"{shown['threads']} threads each; {plan.sweep.goal} {plan.sweep.metric}; pruner {plan.pruner}"
    )
    for name, domain in plan.sweep.domains.items():
        print(f"  {name}: {domain}")
    print(f"one trial: {command}")


def _lines(summary: Mapping[str, Any], output: Path) -> Iterator[str]:
    """Yield what was found, for people."""
    counts = ", ".join(f"{count} {state}" for state, count in summary["counts"].items())
    yield f"{summary['name']}: {summary['finished']} of {summary['wanted']} trials finished ({counts or 'none yet'})"
    best = summary["best"]
    if best is None:
        yield "no trial was trained to its end"
        return
    yield from _table(summary)
    if summary["importance"] is not None:
        whole = summary["counts"].get("complete", 0)
        shares = ", ".join(f"{name} {share:.2f}" for name, share in summary["importance"].items())
        hint = "; so few are a hint at most" if whole < _MANY else ""
        yield f"importance ({summary['importance_by']}, of {whole} complete trials{hint}): {shares}"
    yield f"picture: {output / 'parallel.png'}; everything: {output / 'sweep.json'}"
    chance = "" if summary["chance"] is None else f" (chance {summary['chance']:.3f})"
    yield f"best {summary['metric']}: {best['value']}{chance}, trial {best['number']}, epoch {best['epoch']}"
    yield f"note: {summary['note']}"
    yield f"best command: {best['command']}"


def _table(summary: Mapping[str, Any]) -> Iterator[str]:
    from mmer.training.sweep_report import short_names

    names = short_names(list(summary["parameters"]))
    sign = -1 if summary["goal"] == "maximize" else 1
    known = [trial for trial in summary["trials"] if trial["state"] in ("complete", "pruned")]
    ranked = sorted(known, key=lambda trial: (trial["state"] != "complete", sign * (trial["value"] or 0.0)))
    rows = [["trial", summary["metric"], "epochs", "state", *names.values()]]
    for trial in ranked[:_SHOWN]:
        value = "-" if trial["value"] is None else f"{trial['value']:.4f}"
        params = [_cell(trial["params"].get(name)) for name in names]
        rows.append([str(trial["number"]), value, str(trial["epochs"]), trial["state"], *params])
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for row in rows:
        yield "  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True))
    if len(ranked) > _SHOWN:
        yield f"... and {len(ranked) - _SHOWN} more in sweep.json"


def _cell(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
