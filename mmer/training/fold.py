"""One task of a cross-validation: what its training left is scored, kept, and read again to be pooled.

``python -m mmer.training.fold FOLDER DEVICE SHARDS`` scores; it is what :mod:`mmer.training.crossval` runs behind a
training. SHARDS says as JSON how this process reads shards, for whoever began the folder may keep copies elsewhere.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from mmer.atomic import replacing
from mmer.checkpoint import write_calibration
from mmer.config import ShardConfig
from mmer.errors import ConfigError, CrossvalError, MmerError
from mmer.evaluation.calibrate import calibrate_checkpoint
from mmer.evaluation.evaluate import evaluate_checkpoint
from mmer.evaluation.predictions import Predictions
from mmer.evaluation.system import Degraded, System
from mmer.evaluation.training_log import read_log
from mmer.inference.predictor import choose_device
from mmer.training.child import follow_parent
from mmer.training.plan import RESULT, Plan, Task, read_plan

FORMAT = 1
"""Version of result.json."""

_UNCALIBRATED = "uncalibrated"


def score_task(plan: Plan, task: Task, device: torch.device, shards: ShardConfig) -> None:
    """Let a task's best checkpoint answer for its test part, calibrated before if the plan says so.

    The folder gets predictions.csv, a table for each subset of the modalities and each degradation, and at the very end
    result.json: a task that has it is finished.

    Raises:
        CrossvalError: The training left no checkpoint.
        MmerError: It cannot be scored.
    """
    checkpoint = task.folder / "checkpoints" / "best.ckpt"
    if not checkpoint.is_file():
        raise CrossvalError(f"the training left no {checkpoint}")
    data = plan.settings["data"]
    how: dict[str, Any] = {"shards": shards, "device": device, "batch_size": data["batch_size"], "progress": False}
    raw = None
    if plan.extras.calibrate != "none":
        raw = evaluate_checkpoint(checkpoint, raw=True, **how).predictions
        fit = calibrate_checkpoint(checkpoint, method=plan.extras.calibrate, **how)
        write_calibration(checkpoint, fit.calibration)
    keep_system(task, evaluate_checkpoint(checkpoint, degrade=plan.extras.degrade, **how), raw)


def keep_system(task: Task, system: System, uncalibrated: Predictions | None = None) -> None:
    """Write what a system answered into its task's folder, with the mark of a finished task at the end."""

    def keep(name: str, answers: Predictions) -> str:
        path = task.folder / f"{name}.csv"
        path.parent.mkdir(exist_ok=True)
        _placed(answers, task).write(path)
        return name

    keep("predictions", system.predictions)
    if uncalibrated is not None:
        keep(_UNCALIBRATED, uncalibrated)
    result = {
        "format": FORMAT,
        "about": dict(system.about),
        "subsets": {name: keep(f"subsets/{name}", answers) for name, answers in system.subsets.items()},
        "degraded": [
            {
                "kind": each.kind,
                "level": each.level,
                "unit": each.unit,
                "answers": keep(f"degraded/{each.kind}-{number}", each.predictions),
            }
            for number, each in enumerate(system.degraded)
        ],
    }
    with replacing(task.folder / RESULT) as temporary:
        temporary.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


def read_system(plan: Plan, task: Task) -> tuple[System, Predictions | None]:
    """Return the system of a finished task, and its answers before calibration.

    Raises:
        CrossvalError: What the task left cannot be read.
    """
    try:
        result = json.loads((task.folder / RESULT).read_text(encoding="utf-8"))
        about, subsets, degraded = result["about"], result["subsets"], result["degraded"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CrossvalError(
            f"{task.name}: {task.folder / RESULT} cannot be read; remove it, and the task is done anew"
        ) from error

    def kept(name: str) -> Predictions:
        return _placed(Predictions.read(task.folder / f"{name}.csv", plan.classes), task)

    return System(
        task.name,
        kept("predictions"),
        about,
        oracle=kept("oracle") if plan.extras.oracle else None,
        subsets={name: kept(answers) for name, answers in subsets.items()},
        degraded=[Degraded(each["kind"], each["level"], kept(each["answers"]), each["unit"]) for each in degraded],
        training=_read_course(task),
    ), kept(_UNCALIBRATED) if plan.extras.calibrate != "none" else None


def _read_course(task: Task) -> dict[str, Any] | None:
    """Return the course of a task's training; None where it was logged elsewhere or not at all."""
    try:
        return {"runs": [read_log(task.folder, f"seed {task.seed}, fold {task.fold}")]}
    except ConfigError:
        return None


def _placed(answers: Predictions, task: Task) -> Predictions:
    """Say of each clip in which fold and by which seed's model it was tested."""
    return replace(answers, fold=(str(task.fold),) * len(answers), seed=(str(task.seed),) * len(answers))


def main(args: Sequence[str]) -> int:
    """Score the task of a folder and return an exit code: 0, or 2 after a mistake that one line explains."""
    folder, device, shards = Path(args[0]), args[1], ShardConfig(**json.loads(args[2]))
    try:
        plan = read_plan(folder.parents[1])
        tasks = plan.tasks(folder.parents[1]) if plan is not None else []
        task = next((task for task in tasks if task.folder == folder), None)
        if plan is None or task is None:
            raise CrossvalError(f"{folder} is no task of a cross-validation")
        score_task(plan, task, choose_device(device), shards)
    except MmerError as error:
        print(f"mmer crossval: error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    follow_parent()
    raise SystemExit(main(sys.argv[1:]))
