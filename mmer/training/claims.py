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
from optuna.exceptions import StorageInternalError, UpdateFinishedTrialError
from optuna.storages import BaseStorage, RDBStorage, fail_stale_trials
from optuna.study import Study
from optuna.trial import FrozenTrial, Trial, TrialState

from mmer.training.slots import END, RUN, SLOT, End, Slot, alive, find_slots, is_over, judge
from mmer.training.study import (
    DEFINITION,
    GRACE,
    HEARTBEAT,
    WANTED,
    check_definition,
    distributions,
    quietly,
    retries_of,
    unfinished,
)
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
        self._retries = 0
        self._plan, self._study, self._storage, self._folder = plan, study, storage, folder / "trials"
        self._grid = plan.sweep.method == "grid"
        self._distributions = distributions(plan.sweep)
        self._lock = FileLock(folder / ".lock")  # one begins a trial, or looks who is dead, at a time
        self._held: dict[int, FileLock] = {}
        self._beats: dict[int, float] = {}
        self._seen: dict[int, float] = {}  # when others' trials were first seen to run, of which a database must tell
        self._definition: Any = plan.definition()

    def look(self) -> None:
        """Count what is finished, and see whether anything is left to do."""
        slots = self._slots(self._trials())
        self.finished = sum(slot.state == "finished" for slot in slots)
        self.over = is_over(slots, self.wanted, grid=self._grid)

    def take(self) -> Trial | None:
        """Begin a trial and hold it; None where there is none to begin."""
        with self._lock, quietly():
            while (trial := self._ask()) is not None:
                self._held[trial.number] = self._claim(trial.number)  # first: whatever comes now, leave() finds it
                self._live(trial.number)
                self._held[trial.number].acquire()
                reason = judge(self._trials(), trial.number, self.wanted, self._retries, grid=self._grid)
                if reason is None:
                    return trial
                self.fail(trial.number, reason)
                self.drop(trial.number)
        return None

    def drop(self, number: int) -> None:
        """Let go of a trial."""
        self._held.pop(number).release()
        self._beats.pop(number, None)

    def leave(self) -> None:
        """Fail what is held or half begun, unless it is finished, and let go of it; others try it again."""
        begun = getattr(self._study.sampler, "begun", None)  # of a trial that was interrupted while it was drawn
        for number in {*self._held, *([] if begun is None else [begun])}:
            with suppress(StorageInternalError, OSError):
                self.fail(number, "interrupted")
        for number in tuple(self._held):
            self.drop(number)

    def beat(self) -> None:
        """Tell a database every few seconds that the trials that are held are trained."""
        for number in self._held:
            if monotonic() - self._beats.get(number, -float("inf")) >= HEARTBEAT / 2:
                self._live(number)
                self._beats[number] = monotonic()

    def fail(self, number: int, end: End | None) -> bool:
        """Fail a trial and say why, unless it is finished; tell whether it is failed, by whomever.

        Args:
            number: Its number.
            end: Why; None where nobody knows.
        """
        with suppress(UpdateFinishedTrialError):
            if end is not None:
                self._storage.set_trial_user_attr(self._id(number), END, end)
            self._study.tell(number, state=TrialState.FAIL, skip_if_finished=True)
        return self.state(number) is TrialState.FAIL

    def state(self, number: int) -> TrialState:
        """Return how far a trial is."""
        return self._storage.get_trial(self._id(number)).state

    def is_dead(self, number: int) -> bool:
        """Tell whether a trial is to be tried again."""
        slots = self._slots(self._trials())
        return any(slot.state == "dead" and slot.trials[-1].number == number for slot in slots)

    def given_up(self) -> list[FrozenTrial]:
        """Return the trials of which nothing is kept."""
        return self._study.get_trials(deepcopy=False, states=(TrialState.FAIL, TrialState.PRUNED))

    def bury(self) -> list[int]:
        """Fail trials whose process is gone, so that they are tried again, and return their numbers."""
        found = []
        with self._lock, quietly():
            for trial in unfinished(self._study):
                deserted = trial.number not in self._held and self._is_deserted(trial.number)
                if deserted and self.fail(trial.number, None):  # it may have been finished since
                    found.append(trial.number)
            fail_stale_trials(self._study)
            self._watch_silent()
        return found

    def _ask(self) -> Trial | None:
        slots = self._slots(self._trials())
        if is_over(slots, self.wanted, grid=self._grid):
            return None
        living = alive(slots)
        asked = living[: self.wanted]  # the others wait until somebody wants more
        for slot in asked:
            if slot.state == "dead":
                self._study.enqueue_trial(self._settings(slot.trials[-1]), user_attrs={SLOT: slot.number})
        queued = any(slot.state in ("waiting", "dead") for slot in asked)
        if not queued and (self._grid or len(living) >= self.wanted):
            return None
        return self._study.ask(self._distributions)

    def _settings(self, trial: FrozenTrial) -> dict[str, Any]:
        """Return a trial's parameters; one that died while they were drawn draws all of them anew."""
        known: dict[str, Any] = {**trial.system_attrs.get("fixed_params", {}), **trial.params}
        return known if known.keys() == self._distributions.keys() else {}

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
            self._storage.record_heartbeat(self._id(number))

    def _watch_silent(self) -> None:
        """Give a sign of life to trials that may have none in a database, once, so that it can miss the next.

        Whoever began such a trial was gone before the first; a database waits for ever for the second.
        """
        for trial in unfinished(self._study):
            if RUN in trial.user_attrs or trial.number in self._held:
                continue
            since = self._seen.setdefault(trial.number, monotonic())
            if monotonic() - since >= GRACE:
                self._live(trial.number)
                self._seen[trial.number] = float("inf")

    def _id(self, number: int) -> int:
        """Return what the storage calls a trial."""
        study = self._storage.get_study_id_from_name(self._study.study_name)
        return self._storage.get_trial_id_from_study_id_trial_number(study, number)

    def _trials(self) -> list[FrozenTrial]:
        return self._study.get_trials(deepcopy=False)

    def _slots(self, trials: Sequence[FrozenTrial]) -> list[Slot]:
        known = self._study.user_attrs
        if known.get(DEFINITION) != self._definition:  # another machine's, that began it at the same moment
            check_definition(self._study, self._plan)
            self._definition = known.get(DEFINITION)
        self.wanted, self._retries = int(known[WANTED]), retries_of(known)
        return find_slots(trials, self._retries, grid=self._grid)
