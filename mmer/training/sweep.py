"""A sweep on this machine: trials as processes of their own, watched, ended early, and tried again where they die."""

from __future__ import annotations

import re
import shutil
import socket
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from signal import SIGRTMAX
from time import monotonic, sleep

from filelock import FileLock
from optuna.exceptions import StorageInternalError, UpdateFinishedTrialError
from optuna.storages import BaseStorage
from optuna.study import Study
from optuna.trial import Trial, TrialState
from tqdm import tqdm

from mmer.errors import SweepError
from mmer.training.child import Child, share_threads, stop
from mmer.training.claims import Claims
from mmer.training.course import Course
from mmer.training.devices import find_seats
from mmer.training.slots import RUN, End
from mmer.training.study import add_points, ask_for
from mmer.training.sweep_plan import SweepPlan

COMPLAINT = "complaint"
"""Attribute of a failed trial: what it said."""

EPOCH = "epoch"
"""Attribute of a trial: the epoch at which it was best, from 0."""

_PAUSE = 0.25  # seconds between two looks at the children
_ROUND = 2.0  # seconds between two looks at the others
_SAME = 2  # given up with the same words, and none finished: it is no bad luck
_LOST = re.compile(
    r"DataLoader worker .*(killed by signal|exited unexpectedly)|process (\d+ )?of this training (is gone|was ended)"
    r"|processes of this training have not met"
)
"""What a training says that has lost a process that reads clips for it, or that learns with it."""
_SIGNALLED = range(129, 128 + SIGRTMAX + 1)  # how shells and handlers say that a signal ended a program


@dataclass(slots=True)
class _Job:
    """A trial at work: the child that trains it, and how it goes; whether it is ended early, or is another's by now."""

    trial: Trial
    child: Child
    course: Course
    seat: int
    pruned: bool = False
    lost: bool = False


def run_trials(
    plan: SweepPlan,
    study: Study,
    storage: BaseStorage,
    folder: Path,
    *,
    wanted: int,
    retries: int | None = None,
    jobs: int = 1,
    device: str = "auto",
    progress: bool = True,
) -> None:
    """Train until as many trials of the study are finished as are wanted, by this process or by others.

    Whatever ends this process ends its children, and their trials are tried again by the others or by the next.

    Args:
        plan: The sweep.
        study: Its study.
        storage: Where the study is kept.
        folder: Where the trials go.
        wanted: How many trials of the study are to finish; the last that is asked for counts for all.
        retries: How many times a trial that dies is tried again; of this too the last counts, and None leaves it.
        jobs: How many are trained at once.
        device: Where: ``cpu``, ``cuda``, ``cuda:1``, ...; ``auto`` leaves it to the config.
        progress: Whether to show a progress bar on standard error.

    Raises:
        SweepError: It makes no sense to go on.
    """
    ask_for(study, wanted, retries)
    if plan.sweep.method == "grid":
        with FileLock(folder / ".lock"):
            add_points(study, plan.sweep.points()[:wanted])
    worker = _Worker(plan, study, storage, folder, jobs, device)
    with tqdm(total=wanted, desc=plan.sweep.name, unit="trial", disable=not progress) as bar:
        try:
            worker.clear()
            while worker.step():
                bar.total, bar.n = worker.claims.wanted, worker.claims.finished
                if progress and worker.course != bar.postfix:
                    bar.set_postfix_str(worker.course)
                sleep(_PAUSE)
            bar.n = worker.claims.finished
            bar.refresh()
        finally:
            worker.leave()


class _Worker:
    """One process's share of a sweep."""

    def __init__(
        self, plan: SweepPlan, study: Study, storage: BaseStorage, folder: Path, jobs: int, device: str
    ) -> None:
        self.plan, self.study, self.folder = plan, study, folder
        self.jobs, self.device = jobs, device
        self.seats = find_seats(device) if plan.on_one_device else [{}]
        self.threads = share_threads(jobs)
        self.claims = Claims(plan, study, storage, folder)
        self.running: list[_Job] = []
        self.course = ""
        self.looked = -float("inf")
        self.complaints: list[str] = []

    def step(self) -> bool:
        """Look at everything once; False where there is nothing left to do."""
        before = len(self.running)
        for job in tuple(self.running):
            if self._is_over(job):
                self.running.remove(job)  # at once: what another one raises is not to touch it
                self.claims.drop(job.trial.number)
        if len(self.running) < before or monotonic() - self.looked >= _ROUND:
            self._begin_others()
            self.looked = monotonic()
        self.course = "; ".join(map(self._say, self.running))
        return bool(self.running) or not self.claims.over

    def leave(self) -> None:
        """End what still runs; it begins anew as another trial. What had ended by itself is told."""
        stop([job.child for job in self.running])
        for job in self.running:
            with suppress(SweepError, StorageInternalError, UpdateFinishedTrialError, OSError):
                self._leave(job)
        self.running = []
        self.claims.leave()
        with suppress(StorageInternalError, OSError):
            self.clear()

    def clear(self) -> None:
        """Drop the checkpoints of all trials in this folder that others, or a broken look, have left there."""
        for trial in self.claims.given_up():
            folder = self._folder_of(trial.number)
            if trial.user_attrs.get(RUN, {}).get("folder") == str(folder):
                _drop_checkpoints(folder)

    def _leave(self, job: _Job) -> None:
        """Tell the study of a trial that was stopped."""
        number = job.trial.number
        told = self.claims.state(number).is_finished()
        if not told and job.child.poll() == 0:
            self._is_over(job)
        elif not told and job.pruned:
            self._finish(job, TrialState.PRUNED)
        else:
            self.claims.fail(number, "interrupted")

    def _begin_others(self) -> None:
        self.claims.beat()
        for number in self.claims.bury():
            _drop_checkpoints(self._folder_of(number))
            hope = "; it is tried again" if self.claims.is_dead(number) else ""
            self._print(f"trial {number} has lost its process{hope}")
        while len(self.running) < self.jobs and (trial := self.claims.take()) is not None:
            self._train(trial)
        self.claims.look()
        self._check_luck()

    def _train(self, trial: Trial) -> None:
        folder = self._folder_of(trial.number)
        with suppress(FileNotFoundError):
            shutil.rmtree(folder)
        folder.mkdir(parents=True)
        seat = min(set(range(self.jobs)) - {job.seat for job in self.running})
        flags = self.plan.flags(trial.params, self.device)
        run = {"flags": flags, "threads": self.threads, "host": socket.gethostname(), "folder": str(folder)}
        trial.set_user_attr(RUN, run)
        child = Child(
            self.plan.module,
            [*flags, f"--trainer.default_root_dir={folder}", "--trainer.enable_progress_bar=false"],
            folder / "train.log",
            self.threads,
            self.seats[seat % len(self.seats)],
        )
        self.running.append(_Job(trial, child, Course(folder, self.plan.sweep.metric, self.plan.sweep.goal), seat))

    def _folder_of(self, number: int) -> Path:
        return self.folder / "trials" / str(number)

    def _is_over(self, job: _Job) -> bool:
        """Look at a trial: tell what is new of it, and end it where it should; True where it has ended.

        One that is ended early is killed, for nothing of it is kept, and over at a later look: nobody waits for it.
        """
        code = job.child.poll()
        if job.lost:
            self._forget(job, code)
            return code is not None
        try:
            if code == 0:
                job.pruned = False  # it was quicker
            if not job.pruned and self._tell_epochs(job, done=code is not None):
                job.pruned = True
                job.child.kill()
            if code is not None:
                self._conclude(job, code)
        except UpdateFinishedTrialError:  # the others have not heard of us for long, and have given it to somebody
            self._print(f"trial {job.trial.number} was taken for dead and given to another; this one is dropped")
            job.lost = True
            job.child.kill()
            self._forget(job, code)
        return code is not None

    def _forget(self, job: _Job, code: int | None) -> None:
        """Drop the checkpoints of a trial that another one has by now, as soon as nothing writes them any more."""
        if code is not None and self.claims.state(job.trial.number) is TrialState.FAIL:
            _drop_checkpoints(job.course.folder)

    def _tell_epochs(self, job: _Job, *, done: bool) -> bool:
        """Tell the study what each new epoch made of a trial: the best so far; True where it should end early."""
        whole = self.plan.epochs_of(job.trial.params)
        for epoch, value in job.course.read(whole=done):
            job.trial.report(job.course.add(epoch, value), epoch + 1)
            last = done or (whole is not None and epoch + 1 >= whole)
            if not last and job.trial.should_prune():
                return True
        return False

    def _conclude(self, job: _Job, code: int) -> None:
        """Tell the study how a training ended."""
        if job.pruned:
            self._finish(job, TrialState.PRUNED)
        elif code == 0 and (job.course.best is not None or not job.course.is_named()):
            self._finish(job, TrialState.COMPLETE)
        elif code == 0:
            self._print(f"trial {job.trial.number} ended with no {self.plan.sweep.metric} that is a number")
            self._finish(job, TrialState.PRUNED)
        elif any(job.course.folder.glob("nonfinite*.json")):
            self._print(f"trial {job.trial.number} ended early: {job.child.complaint()}")
            self._finish(job, TrialState.PRUNED)
        else:
            self._say_failure(job, code)

    def _finish(self, job: _Job, state: TrialState) -> None:
        """Tell the study what a trial was worth: its best epoch, whose checkpoint is kept."""
        if job.course.best is None and state is TrialState.COMPLETE:
            self.claims.fail(job.trial.number, "mistake")
            raise SweepError(f"trial {job.trial.number} {job.course.logged()}; see {job.child.log}")
        if job.course.best is not None:
            job.trial.set_user_attr(EPOCH, job.course.epoch)
        if state is TrialState.COMPLETE:
            self.study.tell(job.trial, job.course.best, skip_if_finished=True)
            return
        self.study.tell(job.trial, state=state, skip_if_finished=True)
        _drop_checkpoints(job.course.folder)

    def _say_failure(self, job: _Job, code: int) -> None:
        complaint = job.child.complaint()
        killed = code < 0 or code in _SIGNALLED or _LOST.search(complaint) is not None
        end: End = "died" if killed else "mistake"
        job.trial.set_user_attr(COMPLAINT, complaint)
        self.claims.fail(job.trial.number, end)
        _drop_checkpoints(job.course.folder)
        again = self.claims.is_dead(job.trial.number)
        if not again:
            self.complaints.append(complaint)
        hope = "; it is tried again" if again else ""
        self._print(f"trial {job.trial.number} failed: {complaint}{hope}; see {job.child.log}")

    def _check_luck(self) -> None:
        """Go no further where trials fail again and again.

        Raises:
            SweepError: They do.
        """
        hopeless = not self.claims.finished and any(self.complaints.count(each) >= _SAME for each in self.complaints)
        if hopeless or len(self.complaints) > self.claims.wanted:
            raise SweepError(
                f"{len(self.complaints)} trials failed, the last: {self.complaints[-1]}; mend the cause and start "
                "again; where settings change, with another --study and --output"
            )

    def _say(self, job: _Job) -> str:
        now, whole = job.course.last + 2, self.plan.epochs_of(job.trial.params)
        epochs = str(now) if whole is None else f"{min(now, whole)}/{whole}"
        best = "" if job.course.best is None else f", {job.course.best:.3f}"
        return f"{job.trial.number}: epoch {epochs}{best}"

    @staticmethod
    def _print(message: str) -> None:
        tqdm.write(f"mmer sweep: {message}", file=sys.stderr)


def _drop_checkpoints(folder: Path) -> None:
    """Remove the checkpoints of a trial that nobody will choose."""
    shutil.rmtree(folder / "checkpoints", ignore_errors=True)
