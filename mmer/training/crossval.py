"""Cross-validation: every fold trained, tested and pooled, by one process or by many that share a folder."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from time import sleep
from typing import Any

from filelock import FileLock, Timeout
from tqdm import tqdm

from mmer.corpora.manifest import listed
from mmer.errors import ConfigError, CrossvalError
from mmer.evaluation.measure import measure
from mmer.evaluation.results import Evaluation
from mmer.evaluation.training_log import read_log
from mmer.training.child import Child, stop
from mmer.training.devices import device_flags
from mmer.training.plan import Plan, Task, train_flags
from mmer.training.pooled import pool

_NAMED = 5  # tasks that a message names
_GLANCE = 0.5  # seconds; a plan that is being shown holds a lock for less
_PAUSE = 0.5  # seconds between two looks at the children


@dataclass(slots=True)
class _Job:
    """A task at work: its claim, and the child that trains or tests it."""

    task: Task
    claim: FileLock
    child: Child
    trains: bool = True


def run_tasks(
    plan: Plan, tasks: Sequence[Task], *, jobs: int = 1, device: str = "auto", progress: bool = True
) -> dict[int, str]:
    """Train and test tasks that are not finished, each in processes of its own.

    A task that another process works on is left to it; one that was broken off begins anew, so that it ends as if
    nothing had happened. A task that fails leaves the others alone. Whatever ends this process ends its children.

    Args:
        plan: The cross-validation.
        tasks: What to do.
        jobs: How many at once.
        device: Where to train and test: ``cpu``, ``cuda``, ``cuda:1``, ...; ``auto`` leaves the training to the config.
        progress: Whether to show a progress bar on standard error.

    Returns:
        Why tasks failed, by their numbers.
    """
    failed, waiting, running, shown = dict[int, str](), list(tasks), list[_Job](), ""
    with tqdm(total=len(tasks), desc=plan.name, unit="fold", disable=not progress) as bar:
        try:
            while waiting or running:
                while waiting and len(running) < jobs:
                    if (job := _begin(plan, waiting.pop(0), device)) is None:
                        bar.update()
                    else:
                        running.append(job)
                for job in [job for job in running if _is_over(plan, job, device, failed)]:
                    running.remove(job)
                    bar.update()
                if progress and (course := "; ".join(_course(plan, job.task) for job in running)) != shown:
                    bar.set_postfix_str(course)  # at a change alone, for the screen may be a file
                    shown = course
                sleep(_PAUSE if running else 0)
        finally:
            stop([job.child for job in running])
            for job in running:
                job.claim.release()
    return failed


def write_report(
    plan: Plan, folder: Path, *, command: str, resamples: int = 10_000, partial: bool = False
) -> dict[str, Any]:
    """Pool the finished tasks of a cross-validation, and write metrics.json, predictions.csv and the report.

    Args:
        plan: The cross-validation.
        folder: Its folder.
        command: The command that asks for it.
        resamples: How many times speakers are drawn for the intervals.
        partial: Whether to go on although tasks are missing; the report says so.

    Returns:
        The content of metrics.json.

    Raises:
        CrossvalError: Tasks are missing, or what one left cannot be read.
    """
    tasks = plan.tasks(folder)
    missing = [task for task in tasks if not task.finished]
    if missing and (not partial or len(missing) == len(tasks)):
        names = listed((task.name for task in missing), _NAMED)
        advice = "run them" if len(missing) == len(tasks) else "run them, or --partial reports without them"
        raise CrossvalError(f"{len(missing)} of {len(tasks)} tasks are not finished: {names}; {advice}")
    system = pool(plan, folder, [task for task in tasks if task not in missing], missing)
    metrics = measure([system], resamples=resamples, command=command)
    with FileLock(folder / ".report.lock"):  # several processes may find at once that everything is finished
        Evaluation(metrics, [system]).write(folder)
    return metrics


def _begin(plan: Plan, task: Task, device: str) -> _Job | None:
    """Claim a task and begin its training; None where it is finished, or another process has it."""
    task.folder.parent.mkdir(parents=True, exist_ok=True)
    claim = task.lock
    try:
        claim.acquire(timeout=_GLANCE, blocking=True)
    except Timeout:
        return None
    with ExitStack() as undone:
        undone.callback(claim.release)
        if task.finished:
            return None
        with suppress(FileNotFoundError):
            shutil.rmtree(task.folder)  # of a run that was broken off
        task.folder.mkdir()
        child = _child(plan, task, "mmer.training", [*train_flags(plan, task), *device_flags(device)])
        undone.pop_all()  # from here on the job holds the claim
        return _Job(task, claim, child)


def _is_over(plan: Plan, job: _Job, device: str, failed: dict[int, str]) -> bool:
    """Look at a job: behind its training comes its test, and then it is over; after a failure it is at once."""
    code = job.child.poll()
    if code is None:
        return False
    if code == 0 and job.trains:
        job.trains, job.child = False, _child(plan, job.task, "mmer.training.fold", _test_args(plan, job.task, device))
        return False
    if code != 0:
        reason = failed[job.task.number] = job.child.complaint()
        tqdm.write(f"mmer crossval: {job.task.name} failed: {reason}; see {job.child.log}", file=sys.stderr)
    job.claim.release()
    return True


def _test_args(plan: Plan, task: Task, device: str) -> list[str]:
    """Return the arguments of a task's test, which reads shards as this process does and not as the folder's plan."""
    return [str(task.folder), device, json.dumps(plan.settings["data"].get("shards", {}))]


def _child(plan: Plan, task: Task, module: str, args: Sequence[str]) -> Child:
    return Child(module, args, task.folder / "train.log", plan.threads)


def _course(plan: Plan, task: Task) -> str:
    """Say how far a task's training is."""
    try:
        log = read_log(task.folder, task.name)
    except ConfigError:
        return f"{task.number}: epoch 1"
    uar = (log.get("val/uar") or [None])[-1]
    epochs = "" if plan.epochs is None else f"/{plan.epochs}"
    return f"{task.number}: epoch {log['epochs'][-1] + 1}{epochs}" + ("" if uar is None else f", val/uar {uar:.3f}")
