"""A sweep on this machine: trials as processes of their own, watched, ended early, and tried again where they die.

Processes that share a folder tell each other by file locks who is alive; those that share a database alone, by signs of
life in it.
"""

from __future__ import annotations

import json
import re
import shutil
import socket
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from signal import SIGRTMAX
from time import monotonic, sleep
from typing import Any

from filelock import FileLock, Timeout
from optuna.exceptions import StorageInternalError, UpdateFinishedTrialError
from optuna.storages import BaseStorage, RDBStorage, fail_stale_trials
from optuna.study import Study
from optuna.trial import FrozenTrial, Trial, TrialState
from pydantic import TypeAdapter
from tqdm import tqdm

from mmer.config import ModelConfig, ShardConfig, SplitConfig
from mmer.corpora.splits import make_split
from mmer.data.shards import open_corpus
from mmer.data.store import as_root
from mmer.errors import ConfigError, SweepError
from mmer.evaluation.training_log import read_log
from mmer.training.child import Child, share_threads, stop
from mmer.training.devices import device_flags, find_seats
from mmer.training.settings import read_several
from mmer.training.slots import END, SLOT, End, Slot, alive, find_slots, judge
from mmer.training.study import HEARTBEAT, WANTED, Pruner, add_points, distributions, quietly, unfinished
from mmer.training.sweep_file import Sweep, check_flags, read_sweep

RUN = "run"
"""Attribute of a trial: where and how it was trained."""

COMPLAINT = "complaint"
"""Attribute of a failed trial: what it said."""

EPOCH = "epoch"
"""Attribute of a trial: the epoch at which it was best, from 0."""

_PAUSE = 0.25  # seconds between two looks at the children
_ROUND = 2.0  # seconds between two looks at the others
_SAME = 2  # given up with the same words, and none finished: it is no bad luck
_LOST = re.compile(
    r"DataLoader worker .*(killed by signal|exited unexpectedly)|process (\d+ )?of this training (is gone|was ended)"
)
"""What a training says that has lost a process that reads clips for it, or that learns with it."""
_SIGNALLED = range(129, 128 + SIGRTMAX + 1)  # how shells and handlers say that a signal ended a program


@dataclass(frozen=True, slots=True)
class SweepPlan:
    """What there is to sweep; every process that works on it has the same.

    Args:
        sweep: The file.
        overrides: Further flags of ``train.py fit``, for every trial.
        seed: Seed of what is drawn.
        retries: How many times a trial that dies is tried again.
        pruner: When trials are ended early.
        settings: All settings of the first sample.
        module: The module that trains.
    """

    sweep: Sweep
    overrides: tuple[str, ...] = ()
    seed: int = 0
    retries: int = 2
    pruner: Pruner = "none"
    settings: dict[str, Any] = field(default_factory=dict)
    module: str = "mmer.training"

    @property
    def epochs(self) -> int | None:
        """How many epochs a trial lasts; None where the settings end it otherwise, or where it is swept."""
        epochs = self.settings.get("trainer", {}).get("max_epochs")
        swept = "trainer.max_epochs" in self.sweep.domains
        return int(epochs) if epochs is not None and epochs > 0 and not swept else None

    @property
    def on_one_device(self) -> bool:
        """Whether a trial wants a single device; one that wants several finds them itself."""
        return self.settings.get("trainer", {}).get("devices", "auto") in ("auto", 1, "1")

    @property
    def chance(self) -> float | None:
        """What guessing scores, of a metric of which that is known."""
        if not self.settings or self.sweep.metric != "val/uar":
            return None
        model = TypeAdapter(ModelConfig).validate_python(self.settings["model"]["config"])
        return 1 / len(model.label_set.names)

    def definition(self) -> dict[str, Any]:
        """Return what two processes must agree on; how many workers read clips changes no number."""
        sweep = asdict(self.sweep)
        parameters = {name: str(domain) for name, domain in self.sweep.domains.items()}
        settings = json.loads(json.dumps(self.settings))
        for part, name in (("trainer", "default_root_dir"), ("data", "workers")):
            settings.get(part, {}).pop(name, None)
        kept = {name: sweep[name] for name in ("method", "metric", "goal", "fixed", "halving")}
        return {
            **kept,
            "parameters": parameters,
            "seed": self.seed,
            "retries": self.retries,
            "pruner": self.pruner,
            "settings": settings,
        }

    def flags(self, params: dict[str, Any], device: str) -> list[str]:
        """Return the flags of a trial, but for its folder."""
        alone = ["--trainer.devices=1"] if device == "auto" and self.on_one_device else []  # whatever else is there
        return [*self.sweep.flags(params), *device_flags(device), *alone, *self.overrides]


@dataclass(slots=True)
class _Job:
    """A trial at work: its claim, and the child that trains it."""

    trial: Trial
    claim: FileLock
    child: Child
    folder: Path
    seat: int
    size: int = 0
    told: int = -1
    best: float | None = None
    epoch: int = -1
    beat: float = -float("inf")


def make_plan(
    file: Path, overrides: Sequence[str], *, seed: int = 0, retries: int = 2, pruner: Pruner | None = None
) -> SweepPlan:
    """Read a sweep and check all of it: that each parameter is a setting, that every value is one that it can have.

    Args:
        file: The sweep.
        overrides: Further flags of ``train.py fit``.
        seed: Seed of what is drawn.
        retries: How many times a trial that dies is tried again.
        pruner: When trials are ended early; None does as the file says.

    Raises:
        MmerError: It cannot work.
    """
    sweep = read_sweep(file)
    check_flags(overrides, sweep)
    found = read_several([[*sweep.flags(params), *overrides] for params in sweep.samples()])
    for settings in found:
        _check_settings(settings)
    ended: Pruner = "none" if sweep.halving is None else "halving"
    return SweepPlan(sweep, tuple(overrides), seed, retries, pruner or ended, found[0])


def run_trials(
    plan: SweepPlan,
    study: Study,
    storage: BaseStorage,
    folder: Path,
    *,
    wanted: int,
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
        jobs: How many are trained at once.
        device: Where: ``cpu``, ``cuda``, ``cuda:1``, ...; ``auto`` leaves it to the config.
        progress: Whether to show a progress bar on standard error.

    Raises:
        SweepError: It makes no sense to go on.
    """
    study.set_user_attr(WANTED, wanted)
    if plan.sweep.method == "grid":
        with FileLock(folder / ".lock"):
            add_points(study, plan.sweep.points()[:wanted])
    worker = _Worker(plan, study, storage, folder, jobs, device)
    with tqdm(total=wanted, desc=plan.sweep.name, unit="trial", disable=not progress) as bar:
        try:
            while worker.step():
                bar.total, bar.n = worker.wanted, worker.finished
                if progress and worker.course != bar.postfix:
                    bar.set_postfix_str(worker.course)
                sleep(_PAUSE)
            bar.n = worker.finished
            bar.refresh()
        except StorageInternalError as error:
            raise SweepError(f"the study can no longer be written to: {str(error.__cause__ or error)[:200]}") from error
        finally:
            worker.leave()


def is_over(slots: Sequence[Slot], wanted: int, *, grid: bool) -> bool:
    """Tell whether there is nothing left to do."""
    finished = sum(slot.state == "finished" for slot in slots)
    return finished >= wanted or (grid and all(slot.state in ("finished", "gone") for slot in slots))


def better(value: float, best: float | None, goal: str) -> bool:
    """Tell whether a value is better than the best."""
    return best is None or (value > best if goal == "maximize" else value < best)


class _Worker:
    """One process's share of a sweep."""

    def __init__(
        self, plan: SweepPlan, study: Study, storage: BaseStorage, folder: Path, jobs: int, device: str
    ) -> None:
        self.plan, self.study, self.storage, self.folder = plan, study, storage, folder
        self.jobs, self.device = jobs, device
        self.grid = plan.sweep.method == "grid"
        self.seats = find_seats(device) if plan.on_one_device else [{}]
        self.threads = share_threads(jobs)
        self.distributions = distributions(plan.sweep)
        self.lock = FileLock(folder / ".lock")  # one begins a trial, or looks who is dead, at a time
        self.running: list[_Job] = []
        self.finished = 0
        self.wanted = 0
        self.course = ""
        self.over = False
        self.looked = -float("inf")
        self.complaints: list[str] = []

    def step(self) -> bool:
        """Look at everything once; False where there is nothing left to do."""
        ended = [job for job in self.running if self._is_over(job)]
        for job in ended:
            self.running.remove(job)
            job.claim.release()
        if ended or monotonic() - self.looked >= _ROUND:
            self._begin_others()
            self.looked = monotonic()
        self.course = "; ".join(map(self._say, self.running))
        return bool(self.running) or not self.over

    def leave(self) -> None:
        """End what still runs; others try it again."""
        stop([job.child for job in self.running])
        for job in self.running:
            with suppress(StorageInternalError):
                self._fail(job.trial, "interrupted")
            job.claim.release()
        self.running = []

    def _begin_others(self) -> None:
        for job in self.running:
            self._beat(job)
        self._bury()
        while len(self.running) < self.jobs and self._begin():
            pass
        slots = self._slots(self._trials())
        self.finished = sum(slot.state == "finished" for slot in slots)
        self.over = is_over(slots, self.wanted, grid=self.grid)
        self._check_luck()

    def _begin(self) -> bool:
        """Begin a trial, if there is one to begin; False where there is none."""
        with self.lock, quietly():
            slots = self._slots(self._trials())
            if is_over(slots, self.wanted, grid=self.grid):
                return False
            for slot in slots:
                if slot.state == "dead":
                    self.study.enqueue_trial(slot.trials[-1].params, user_attrs={SLOT: slot.number})
            queued = any(slot.state in ("waiting", "dead") for slot in slots)
            if not queued and (self.grid or len(alive(slots)) >= self.wanted):
                return False
            trial = self.study.ask(self.distributions)
            self._live(trial)
            claim = self._claim(trial.number)
            claim.acquire()
            reason = judge(self._trials(), trial.number, self.wanted, self.plan.retries, grid=self.grid)
            if reason is not None:
                self._fail(trial, reason)
                claim.release()
                return True
            self._train(trial, claim)
        return True

    def _train(self, trial: Trial, claim: FileLock) -> None:
        folder = self.folder / "trials" / str(trial.number)
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
        job = _Job(trial, claim, child, folder, seat)
        self.running.append(job)
        self._beat(job)

    def _is_over(self, job: _Job) -> bool:
        """Look at a trial: tell what is new of it, and end it where it should; True where it has ended."""
        code = job.child.poll()
        try:
            pruned = self._tell_epochs(job, done=code is not None)
            if pruned:
                stop([job.child])
                self._finish(job, TrialState.PRUNED)
            elif code == 0:
                self._finish(job, TrialState.COMPLETE)
            elif code is not None and any(job.folder.glob("nonfinite*.json")):
                self._print(f"trial {job.trial.number} ended early: {job.child.complaint()}")
                self._finish(job, TrialState.PRUNED)
            elif code is not None:
                self._say_failure(job, code)
        except UpdateFinishedTrialError:  # the others have not heard of us for long, and have given it to somebody
            stop([job.child])
            self._print(f"trial {job.trial.number} was taken for dead and given to another; this one is dropped")
            return True
        return pruned or code is not None

    def _tell_epochs(self, job: _Job, *, done: bool) -> bool:
        """Tell the study what each new epoch made of a trial: the best so far; True where it should end early."""
        for epoch, value in self._new_epochs(job, done):
            if better(value, job.best, self.plan.sweep.goal):
                job.best, job.epoch = value, epoch
            assert job.best is not None
            job.told = epoch
            job.trial.report(job.best, epoch + 1)
            last = done or (self.plan.epochs is not None and epoch + 1 >= self.plan.epochs)
            if not last and job.trial.should_prune():
                return True
        return False

    def _new_epochs(self, job: _Job, done: bool) -> list[tuple[int, float]]:
        logs = list((job.folder / "logs").glob("version_*/metrics.csv"))
        size = sum(path.stat().st_size for path in logs)
        if size == job.size or not (done or all(map(_is_whole, logs))):
            return []
        job.size = size
        try:
            log = read_log(job.folder, str(job.trial.number))
        except ConfigError:
            return []
        values = log.get(self.plan.sweep.metric) or [None] * len(log["epochs"])
        pairs = zip(log["epochs"], values, strict=True)
        return [(epoch, value) for epoch, value in pairs if value is not None and epoch > job.told]

    def _finish(self, job: _Job, state: TrialState) -> None:
        """Tell the study what a trial was worth: its best epoch, whose checkpoint is kept."""
        if job.best is None and state is TrialState.COMPLETE:
            self._fail(job.trial, "mistake")
            raise SweepError(f"trial {job.trial.number} {self._logged(job)}; see {job.child.log}")
        if job.best is not None:
            job.trial.set_user_attr(EPOCH, job.epoch)
        if state is TrialState.COMPLETE:
            self.study.tell(job.trial, job.best, skip_if_finished=True)
            return
        self.study.tell(job.trial, state=state, skip_if_finished=True)
        _drop_checkpoints(job.folder)

    def _logged(self, job: _Job) -> str:
        try:
            log = read_log(job.folder, "")
        except ConfigError:
            return "logged no epoch at all"
        known = ", ".join(name for name in log if name.startswith("val/"))
        return f"logged no {self.plan.sweep.metric}, but {known or 'nothing of validation speakers'}"

    def _say_failure(self, job: _Job, code: int) -> None:
        complaint = job.child.complaint()
        killed = code < 0 or code in _SIGNALLED or _LOST.search(complaint) is not None
        end: End = "died" if killed else "mistake"
        job.trial.set_user_attr(COMPLAINT, complaint)
        self._fail(job.trial, end)
        _drop_checkpoints(job.folder)
        again = self._is_dead(job.trial.number)
        if not again:
            self.complaints.append(complaint)
        hope = "; it is tried again" if again else ""
        self._print(f"trial {job.trial.number} failed: {complaint}{hope}; see {job.child.log}")

    def _is_dead(self, number: int) -> bool:
        slots = self._slots(self._trials())
        return any(slot.state == "dead" and slot.trials[-1].number == number for slot in slots)

    def _fail(self, trial: Trial, end: End) -> None:
        """Fail a trial and say why, unless somebody else has."""
        with suppress(UpdateFinishedTrialError):
            trial.set_user_attr(END, end)
        self.study.tell(trial, state=TrialState.FAIL, skip_if_finished=True)

    def _bury(self) -> None:
        """Fail trials whose process is gone, so that they are tried again."""
        own = {job.trial.number for job in self.running}
        with self.lock, quietly():
            for trial in unfinished(self.study):
                if trial.number not in own and self._is_deserted(trial):
                    self.study.tell(trial.number, state=TrialState.FAIL, skip_if_finished=True)
                    hope = "; it is tried again" if self._is_dead(trial.number) else ""
                    self._print(f"trial {trial.number} has lost its process{hope}")
            fail_stale_trials(self.study)

    def _is_deserted(self, trial: FrozenTrial) -> bool:
        """Tell whether nobody holds a trial that runs; of one that began in another folder, its heartbeat tells."""
        claim = self._claim(trial.number)
        if not Path(claim.lock_file).exists():
            return not isinstance(self.storage, RDBStorage)  # a journal is the folder's own
        try:
            with claim:
                return True
        except Timeout:
            return False

    def _claim(self, number: int) -> FileLock:
        """Return what whoever trains a trial holds; a killed holder keeps nobody out."""
        folder = self.folder / "trials"
        folder.mkdir(exist_ok=True)
        return FileLock(folder / f".{number}.lock", blocking=False)

    def _beat(self, job: _Job) -> None:
        if monotonic() - job.beat >= HEARTBEAT / 2:
            self._live(job.trial)
            job.beat = monotonic()

    def _live(self, trial: Trial) -> None:
        """Tell a database that somebody trains a trial."""
        if isinstance(self.storage, RDBStorage):
            study = self.storage.get_study_id_from_name(self.study.study_name)
            self.storage.record_heartbeat(self.storage.get_trial_id_from_study_id_trial_number(study, trial.number))

    def _check_luck(self) -> None:
        """Go no further where trials fail again and again.

        Raises:
            SweepError: They do.
        """
        hopeless = not self.finished and any(self.complaints.count(each) >= _SAME for each in self.complaints)
        if hopeless or len(self.complaints) > self.wanted:
            raise SweepError(
                f"{len(self.complaints)} trials failed, the last: {self.complaints[-1]}; mend the cause and start again"
            )

    def _trials(self) -> list[FrozenTrial]:
        return self.study.get_trials(deepcopy=False)

    def _slots(self, trials: Sequence[FrozenTrial]) -> list[Slot]:
        self.wanted = int(self.study.user_attrs[WANTED])
        return find_slots(trials, self.plan.retries, grid=self.grid)

    def _say(self, job: _Job) -> str:
        now, whole = job.told + 2, self.plan.epochs
        epochs = str(now) if whole is None else f"{min(now, whole)}/{whole}"
        best = "" if job.best is None else f", {job.best:.3f}"
        return f"{job.trial.number}: epoch {epochs}{best}"

    @staticmethod
    def _print(message: str) -> None:
        tqdm.write(f"mmer sweep: {message}", file=sys.stderr)


def _check_settings(settings: dict[str, Any]) -> None:
    """Refuse trials that leave nothing to compare.

    Raises:
        MmerError: They would.
    """
    trainer = settings["trainer"]
    if trainer["fast_dev_run"] or trainer["enable_checkpointing"] is False:
        raise ConfigError("trainer.fast_dev_run and trainer.enable_checkpointing=false leave nothing to choose from")
    if trainer["logger"] is not None:
        raise ConfigError("trainer.logger takes the place of the log that a sweep reads; leave it out")
    TypeAdapter(ModelConfig).validate_python(settings["model"]["config"])
    split = TypeAdapter(SplitConfig).validate_python(settings["data"]["split"])
    shards = TypeAdapter(ShardConfig).validate_python(settings["data"].get("shards", {}))
    rows = open_corpus(as_root(settings["data"]["root"]), shards).rows
    if not make_split(rows, split).rows(rows, "validation"):
        raise ConfigError(
            "the split has no validation clips, and a sweep chooses on validation speakers; name some, as "
            "--data.split.validation=[11,12]"
        )


def _is_whole(path: Path) -> bool:
    """Tell whether a file ends with a line's end, for it may be read while it is written."""
    with path.open("rb") as file:
        file.seek(0, 2)
        if not file.tell():
            return False
        file.seek(-1, 2)
        return file.read(1) == b"\n"


def _drop_checkpoints(folder: Path) -> None:
    """Remove the checkpoints of a trial that nobody will choose."""
    shutil.rmtree(folder / "checkpoints", ignore_errors=True)
