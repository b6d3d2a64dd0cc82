"""Which trial of a study is whose: begun in turn, held while it is trained, and taken from those that are gone.

Processes that share a folder tell each other by file locks who is alive; those that share a database alone, by signs of
life in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from time import monotonic
from typing import Any

from filelock import FileLock, Timeout
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import BaseStorage, RDBStorage, fail_stale_trials
from optuna.study import Study
from optuna.trial import FrozenTrial, Trial, TrialState

from mmer.training.slots import END, SLOT, End, Slot, alive, find_slots, is_over, judge
from mmer.training.study import HEARTBEAT, WANTED, distributions, quietly, unfinished
from mmer.training.sweep_plan import SweepPlan


class Claims:
    """The trials of a study, as one of the processes sees them that work on it.

    Args:
        plan: The sweep.
        study: Its study.
        storage: Where the study is kept.
        folder: Where the trials go, of this process and of those that share it.
    """

    def __init__(self, plan: SweepPlan, study: Study, storage: BaseStorage, folder: Path) -> None:
        self.finished = 0
        self.wanted = 0
        self.over = False
        self._plan, self._study, self._storage, self._folder = plan, study, storage, folder / "trials"
        self._grid = plan.sweep.method == "grid"
        self._distributions = distributions(plan.sweep)
        self._lock = FileLock(folder / ".lock")  # one begins a trial, or looks who is dead, at a time
        self._held: dict[int, FileLock] = {}
        self._beats: dict[int, float] = {}

    def look(self) -> None:
        """Count what is finished, and see whether anything is left to do."""
        slots = self._slots(self._trials())
        self.finished = sum(slot.state == "finished" for slot in slots)
        self.over = is_over(slots, self.wanted, grid=self._grid)

    def take(self) -> Trial | None:
        """Begin a trial and hold it; None where there is none to begin."""
        with self._lock, quietly():
            while (trial := self._ask()) is not None:
                self._live(trial.number)
                claim = self._claim(trial.number)
                claim.acquire()
                reason = judge(self._trials(), trial.number, self.wanted, self._plan.retries, grid=self._grid)
                if reason is None:
                    self._held[trial.number] = claim
                    return trial
                self.fail(trial, reason)
                claim.release()
        return None

    def drop(self, number: int) -> None:
        """Let go of a trial."""
        self._held.pop(number).release()
        self._beats.pop(number, None)

    def beat(self) -> None:
        """Tell a database every few seconds that the trials that are held are trained."""
        for number in self._held:
            if monotonic() - self._beats.get(number, -float("inf")) >= HEARTBEAT / 2:
                self._live(number)
                self._beats[number] = monotonic()

    def fail(self, trial: Trial, end: End) -> None:
        """Fail a trial and say why, unless somebody else has."""
        with suppress(UpdateFinishedTrialError):
            trial.set_user_attr(END, end)
        self._study.tell(trial, state=TrialState.FAIL, skip_if_finished=True)

    def is_dead(self, number: int) -> bool:
        """Tell whether a trial is to be tried again."""
        slots = self._slots(self._trials())
        return any(slot.state == "dead" and slot.trials[-1].number == number for slot in slots)

    def bury(self) -> list[int]:
        """Fail trials whose process is gone, so that they are tried again, and return their numbers."""
        found = []
        with self._lock, quietly():
            for trial in unfinished(self._study):
                if trial.number not in self._held and self._is_deserted(trial.number):
                    self._study.tell(trial.number, state=TrialState.FAIL, skip_if_finished=True)
                    found.append(trial.number)
            fail_stale_trials(self._study)
        return found

    def _ask(self) -> Trial | None:
        slots = self._slots(self._trials())
        if is_over(slots, self.wanted, grid=self._grid):
            return None
        for slot in slots:
            if slot.state == "dead":
                self._study.enqueue_trial(_settings(slot.trials[-1]), user_attrs={SLOT: slot.number})
        queued = any(slot.state in ("waiting", "dead") for slot in slots)
        if not queued and (self._grid or len(alive(slots)) >= self.wanted):
            return None
        return self._study.ask(self._distributions)

    def _is_deserted(self, number: int) -> bool:
        """Tell whether nobody holds a trial that runs; of one that began in another folder, its heartbeat tells."""
        claim = self._claim(number)
        if not Path(claim.lock_file).exists():
            return not isinstance(self._storage, RDBStorage)  # a journal is the folder's own
        try:
            with claim:
                return True
        except Timeout:
            return False

    def _claim(self, number: int) -> FileLock:
        """Return what whoever trains a trial holds; a killed holder keeps nobody out."""
        self._folder.mkdir(exist_ok=True)
        return FileLock(self._folder / f".{number}.lock", blocking=False)

    def _live(self, number: int) -> None:
        """Tell a database that somebody trains a trial."""
        if isinstance(self._storage, RDBStorage):
            study = self._storage.get_study_id_from_name(self._study.study_name)
            self._storage.record_heartbeat(self._storage.get_trial_id_from_study_id_trial_number(study, number))

    def _trials(self) -> list[FrozenTrial]:
        return self._study.get_trials(deepcopy=False)

    def _slots(self, trials: Sequence[FrozenTrial]) -> list[Slot]:
        self.wanted = int(self._study.user_attrs[WANTED])
        return find_slots(trials, self._plan.retries, grid=self._grid)


def _settings(trial: FrozenTrial) -> dict[str, Any]:
    """Return a trial's parameters, also of one that died before it had taken all of a point of a grid."""
    return {**trial.system_attrs.get("fixed_params", {}), **trial.params}
