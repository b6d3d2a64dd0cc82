"""What a sweep found: its trials, the best command, which parameters mattered, and a picture."""

from __future__ import annotations

import json
import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from filelock import FileLock
from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from mmer import __version__
from mmer.atomic import replacing
from mmer.evaluation.report.parallel import Axis, Line, draw_parallel
from mmer.evaluation.report.style import draw_png
from mmer.training.course import better
from mmer.training.domains import Choice, Domain, show_value
from mmer.training.slots import END, RUN, find_slots, slot_of
from mmer.training.study import WANTED, quietly, retries_of
from mmer.training.sweep import COMPLAINT, EPOCH
from mmer.training.sweep_plan import SweepPlan

FORMAT = 1
"""Version of sweep.json."""

EVALUATOR = "PED-ANOVA"
"""How importance is measured (Watanabe et al., 2023); it needs no other library."""

OPTIMISTIC = (
    "a score chosen among many trials on the same validation speakers is too high; touch the test once, with "
    "evaluate.py, and report that"
)
"""What is to be known of the best score."""

_ENOUGH = 4  # finished trials, below which nothing is said of importance


def summarise(plan: SweepPlan, study: Study, folder: Path, *, storage: str, command: str) -> dict[str, Any]:
    """Return what a sweep has found so far, as sweep.json has it.

    Args:
        plan: The sweep.
        study: Its study.
        folder: Where the trials went.
        storage: Where the study is kept, without a password.
        command: The command that asks for it.
    """
    trials = study.get_trials(deepcopy=False)
    wanted = study.user_attrs.get(WANTED)
    best = _best(trials, plan.sweep.goal)
    slots = find_slots(trials, retries_of(study.user_attrs), grid=plan.sweep.method == "grid")
    done = {slot.number for slot in slots if slot.state == "finished"}
    told = [trial for trial in trials if trial.state is not TrialState.WAITING or slot_of(trial) not in done]
    importance = _importance(study, trials)
    return {
        "format": FORMAT,
        "mmer": __version__,
        "command": command,
        "name": plan.sweep.name,
        "study": study.study_name,
        "storage": storage,
        "method": plan.sweep.method,
        "metric": plan.sweep.metric,
        "goal": plan.sweep.goal,
        "chance": plan.chance,
        "seed": plan.seed,
        "pruner": plan.pruner,
        "wanted": wanted,
        "finished": len(done),
        "counts": dict(Counter(map(_state, told))),
        "parameters": {name: str(domain) for name, domain in plan.sweep.domains.items()},
        "trials": [_plain(plan, trial) for trial in told],
        "best": None if best is None else _describe_best(plan, best, folder),
        "importance": importance,
        "importance_by": None if importance is None else EVALUATOR,
        "note": OPTIMISTIC,
    }


def write_summary(plan: SweepPlan, summary: Mapping[str, Any], folder: Path) -> None:
    """Write sweep.json and parallel.png."""
    with FileLock(folder / ".report.lock"):  # several processes may find at once that everything is finished
        with replacing(folder / "sweep.json") as temporary:
            temporary.write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
        picture = _picture(plan, summary)
        if picture is not None:
            with replacing(folder / "parallel.png") as temporary:
                temporary.write_bytes(picture)


def best_command(plan: SweepPlan, run: Mapping[str, Any], folder: Path) -> str:
    """Return the command line that trains a trial again; on a processor it gives the same numbers.

    Args:
        plan: The sweep.
        run: How the trial was trained.
        folder: Where the new run goes.
    """
    program = (
        ["python", plan.sweep.program] if Path(plan.sweep.program).is_file() else ["python", "-m", "mmer.training"]
    )
    words = [*program, *run["flags"], f"--trainer.default_root_dir={folder}"]
    return f"OMP_NUM_THREADS={run['threads']} {shlex.join(words)}"


def short_names(names: Sequence[str]) -> dict[str, str]:
    """Return as much of the end of each dotted name as tells it from the others."""
    found = {}
    for name in names:
        words = name.split(".")
        ends = [".".join(words[-count:]) for count in range(1, len(words) + 1)]
        found[name] = next(end for end in ends if sum(f".{other}".endswith(f".{end}") for other in names) == 1)
    return found


def _best(trials: Sequence[FrozenTrial], goal: str) -> FrozenTrial | None:
    """Return the best of the trials that were not ended early; the first of equals."""
    best: FrozenTrial | None = None
    for trial in trials:
        whole = trial.state is TrialState.COMPLETE and trial.value is not None
        if whole and better(float(trial.value or 0.0), None if best is None else best.value, goal):
            best = trial
    return best


def _describe_best(plan: SweepPlan, trial: FrozenTrial, folder: Path) -> dict[str, Any]:
    run = trial.user_attrs[RUN]
    return {
        "number": trial.number,
        "value": trial.value,
        "epoch": trial.user_attrs.get(EPOCH),
        "params": plan.sweep.as_written(trial.params),
        "checkpoint": str(Path(run["folder"]) / "checkpoints" / "best.ckpt"),
        "host": run["host"],
        "command": best_command(plan, run, folder / "best"),
    }


def _plain(plan: SweepPlan, trial: FrozenTrial) -> dict[str, Any]:
    told = [float(value) for value in trial.intermediate_values.values()]
    best = (max(told) if plan.sweep.goal == "maximize" else min(told)) if told else None
    run = trial.user_attrs.get(RUN, {})
    return {
        "number": trial.number,
        "slot": slot_of(trial),
        "state": _state(trial),
        "params": plan.sweep.as_written(trial.params),
        "value": trial.value if trial.state is TrialState.COMPLETE else best,
        "epoch": trial.user_attrs.get(EPOCH),
        "epochs": max(trial.intermediate_values, default=0),
        "seconds": None if trial.duration is None else round(trial.duration.total_seconds(), 1),
        "threads": run.get("threads"),
        "host": run.get("host"),
        "complaint": trial.user_attrs.get(COMPLAINT),
    }


def _state(trial: FrozenTrial) -> str:
    """Return what became of a trial; of a failed one, why."""
    if trial.state is TrialState.FAIL:
        return str(trial.user_attrs.get(END, "died"))
    return str(trial.state.name).lower()


def _importance(study: Study, trials: Sequence[FrozenTrial]) -> dict[str, float] | None:
    """Return how much each parameter mattered for being among the best; None where too little is known."""
    whole = [trial for trial in trials if trial.state is TrialState.COMPLETE]
    if len(whole) < _ENOUGH or len({trial.value for trial in whole}) < 2:
        return None
    try:
        with quietly():
            found = get_param_importances(study, evaluator=PedAnovaImportanceEvaluator())
    except (ValueError, RuntimeError):
        return None
    return {name: round(float(share), 4) for name, share in found.items()}


def _picture(plan: SweepPlan, summary: Mapping[str, Any]) -> bytes | None:
    shown = [trial for trial in summary["trials"] if trial["state"] in ("complete", "pruned") and trial["params"]]
    if not any(trial["state"] == "complete" for trial in shown):
        return None
    names = short_names(list(plan.sweep.domains))
    axes = [_axis(names[name], domain) for name, domain in plan.sweep.domains.items()]
    lines = [
        Line(
            [_place(trial["params"].get(name), domain) for name, domain in plan.sweep.domains.items()],
            float(trial["value"]),
            whole=trial["state"] == "complete",
            best=trial["number"] == summary["best"]["number"],
        )
        for trial in shown
        if trial["value"] is not None
    ]
    high_is_good = plan.sweep.goal == "maximize"
    return draw_png(draw_parallel(axes, lines, plan.sweep.metric, summary["chance"], high_is_good=high_is_good))


def _axis(name: str, domain: Domain) -> Axis:
    if isinstance(domain, Choice):
        return Axis(name, 0.0, float(max(1, len(domain.values) - 1)), words=tuple(map(show_value, domain.values)))
    return Axis(name, domain.low, domain.last, log=domain.log, whole=domain.whole)


def _place(value: Any, domain: Domain) -> float:
    return float(domain.values.index(value)) if isinstance(domain, Choice) else float(value)
