"""What a sweep keeps and gives back when it is broken off, and what it refuses when others work on the same study."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from optuna.exceptions import StorageInternalError
from optuna.samplers import RandomSampler
from optuna.study import Study
from optuna.trial import TrialState

from mmer.errors import SweepError
from mmer.training import claims
from mmer.training import study as studies
from mmer.training import sweep as sweeps
from mmer.training.child import Child
from mmer.training.slots import END, RUN, SLOT, slot_of
from mmer.training.study import WANTED, ask_for, closing_storage
from mmer.training.sweep_plan import SweepPlan
from mmer.training.sweep_report import summarise
from tests.training.test_sweep import (
    GRID,
    begin,
    empty,
    finished,
    make,
    parameters,
    states,
    surroundings,
)

__all__ = ["surroundings"]

Work = Callable[..., sweeps._Worker]


class Done(Child):
    """A training that has ended with a score before anybody looks; ``PLAYED`` says with which code."""

    PLAYED: int | None = 0
    METRIC = "val/uar"

    def __init__(self, module: str, args: Any, log: Path, *others: Any) -> None:
        self.log, self.code = log, self.PLAYED
        course = f"epoch,step,{self.METRIC}\n0,1,0.5\n"
        for path, text in {"logs/version_0/metrics.csv": course, "checkpoints/best.ckpt": ""}.items():
            (log.parent / path).parent.mkdir(parents=True, exist_ok=True)
            (log.parent / path).write_text(text)

    def poll(self) -> int | None:
        return self.code

    def kill(self) -> None:
        self.code = -9 if self.code is None else self.code


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return empty(tmp_path / "out")


@pytest.fixture
def work(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Work:
    """Begin trials whose trainings are done at once: ``work(jobs=2)``."""

    def worker(jobs: int, url: str | None = None, plan: SweepPlan | None = None) -> sweeps._Worker:
        plan = plan or make(folder)
        study, storage = begin(plan, folder, url)
        study.set_user_attr(WANTED, jobs)
        made = sweeps._Worker(plan, study, storage, folder, jobs, "cpu")
        made._begin_others()
        return made

    monkeypatch.setattr(sweeps, "Child", Done)
    monkeypatch.setattr(sweeps, "stop", lambda children: [child.kill() for child in children])
    return worker


def kept(folder: Path) -> list[int]:
    return sorted(int(path.parent.name) for path in (folder / "trials").glob("*/checkpoints"))


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SweepError("x"), StorageInternalError("x")])
def test_a_finished_trial_keeps_its_checkpoints_whatever_comes_after_it(
    error: BaseException, folder: Path, work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = work(2)
    looked = worker._is_over

    def broken(job: sweeps._Job) -> bool:
        if job.trial.number == 0:
            return looked(job)
        job.child.code = None
        raise error

    monkeypatch.setattr(worker, "_is_over", broken)
    with pytest.raises(type(error)):
        worker.step()
    assert [job.trial.number for job in worker.running] == [1]
    worker.leave()
    assert states(worker.study) == ["complete", "interrupted"]
    assert kept(folder) == [0]


def test_a_training_that_ended_by_itself_is_told_and_kept(folder: Path, work: Work) -> None:
    """It was told by half, or not at all, when a Ctrl-C came."""
    worker = work(2)
    worker._is_over(worker.running[1])
    worker.leave()
    assert states(worker.study) == ["complete"] * 2
    assert kept(folder) == [0, 1]


def test_what_cannot_be_told_is_not_dropped(folder: Path, work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    worker = work(1)

    def gone(*args: Any) -> None:
        raise StorageInternalError("gone")

    monkeypatch.setattr(worker.claims._storage, "set_trial_state_values", gone)
    worker.leave()
    assert (worker.study.trials[0].state, kept(folder)) == (TrialState.RUNNING, [0])


def test_a_metric_that_is_missing_leaves_finished_trials_alone(
    folder: Path, work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = work(1)
    worker.study.set_user_attr(WANTED, 2)
    worker.jobs = 2
    monkeypatch.setattr(Done, "METRIC", "val/loss")
    worker._begin_others()
    with pytest.raises(SweepError, match="trial 1 logged no val/uar"):
        worker.step()
    worker.leave()
    assert states(worker.study) == ["complete", "mistake"]
    assert kept(folder) == [0]


def test_a_trial_that_is_begun_and_not_yet_trained_is_interrupted(
    folder: Path, work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*args: Any) -> None:
        raise OSError(28, "No space left on device")

    worker = work(1)
    worker.step()
    worker.study.set_user_attr(WANTED, 2)
    monkeypatch.setattr(sweeps, "Child", full)
    with pytest.raises(OSError, match="No space"):
        worker._begin_others()
    worker.leave()
    assert states(worker.study) == ["complete", "interrupted"]
    assert worker.claims._held == {}


def test_a_trial_that_is_interrupted_while_it_is_drawn_is_tried_again(
    folder: Path, work: Work, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def interrupt(*args: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(RandomSampler, "sample_independent", interrupt)
    url = f"sqlite:///{tmp_path / 'study.db'}"
    plan = make(folder)
    study, storage = begin(plan, folder, url)
    ask_for(study, 1, retries=0)
    worker = sweeps._Worker(plan, study, storage, folder, 1, "cpu")
    with pytest.raises(KeyboardInterrupt):
        worker._begin_others()
    worker.leave()
    assert states(study) == ["interrupted"]
    monkeypatch.undo()
    monkeypatch.setattr(sweeps, "Child", Done)
    other = sweeps._Worker(plan, study, storage, folder, 1, "cpu")
    other._begin_others()
    assert (states(study), slot_of(study.trials[1])) == (["interrupted", "running"], 0)
    assert study.trials[1].params.keys() == plan.sweep.domains.keys()
    with closing_storage(storage):
        other.step()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds that who waits for signs of life has waited, to be set."""
    now = [0.0]
    monkeypatch.setattr(claims, "monotonic", lambda: now[0])
    return now


def on_a_database(folder: Path, tmp_path: Path, wanted: int) -> tuple[SweepPlan, Study, Any]:
    plan = make(folder)
    study, storage = begin(plan, folder, f"sqlite:///{tmp_path / 'study.db'}")
    study.set_user_attr(WANTED, wanted)
    return plan, study, storage


def test_a_database_does_not_wait_for_a_trial_that_has_no_sign_of_life(
    folder: Path, tmp_path: Path, clock: list[float]
) -> None:
    plan, study, storage = on_a_database(folder, tmp_path, 1)
    with studies.quietly():
        study.ask()  # killed before it gave one
    held = claims.Claims(plan, study, storage, folder)
    storage.grace_period = -1  # in the database's own time
    with closing_storage(storage):
        assert (held.bury(), states(study), held.take()) == ([], ["running"], None)
        clock[0] = studies.GRACE + 1.0
        held.bury()
        held.bury()
        assert states(study) == ["fail"]
        again = held.take()
        assert again is not None and slot_of(study.trials[again.number]) == 0


def test_a_trial_that_shows_life_is_given_none_by_others(
    folder: Path, tmp_path: Path, clock: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, study, storage = on_a_database(folder, tmp_path, 2)
    with closing_storage(storage):
        own = claims.Claims(plan, study, storage, folder)
        for trained in (True, False):
            trial = own.take()
            assert trial is not None
            if trained:
                trial.set_user_attr(RUN, {})
        shown = []
        monkeypatch.setattr(storage, "record_heartbeat", shown.append)
        other = claims.Claims(plan, study, storage, empty(tmp_path / "other"))
        other.bury()
        clock[0] = studies.GRACE + 1.0
        other.bury()
    assert shown == [study.trials[1]._trial_id]


@pytest.mark.parametrize("method", ["random", "bayes"])
def test_a_trial_that_is_tried_again_moves_none_behind_it(method: str, tmp_path: Path) -> None:
    found = []
    for name, end in (("whole", None), ("broken", "interrupted")):
        folder = empty(tmp_path / name)
        study, storage = begin(make(folder, method=method), folder)
        study.set_user_attr(WANTED, 14)
        held = claims.Claims(make(folder, method=method), study, storage, folder)
        while (trial := held.take()) is not None:
            if trial.number == 1 and end is not None:
                held.fail(trial.number, "interrupted")
            else:
                study.tell(trial, trial.params["model.optim.lr"])
            held.drop(trial.number)
        found.append(parameters(finished(study)))
        assert (END in study.trials[1].user_attrs) == (end is not None)
    assert found[0] == found[1]
    assert len(set(found[0])) == 14


@pytest.mark.parametrize("broken", [False, True])
def test_a_trial_that_is_tried_again_is_counted_once_where_others_are_ended_early(broken: bool, folder: Path) -> None:
    plan = make(folder, pruner="halving")
    study, storage = begin(plan, folder)
    study.set_user_attr(WANTED, 6)
    held = claims.Claims(plan, study, storage, folder)
    ended = []
    values = [0.5, *([0.5] if broken else []), 0.4, 0.3, 0.2, 0.1, 0.45]
    for value in values:
        trial = held.take()
        assert trial is not None
        trial.report(value, 1)
        early = trial.should_prune()
        if broken and trial.number == 0:
            held.fail(0, "interrupted")
        else:
            ended.append(early)
            study.tell(trial, value)
        held.drop(trial.number)
    assert ended == [False, True, True, True, True, False]


def test_what_was_given_up_is_trained_where_more_retries_are_asked_for(folder: Path) -> None:
    plan = make(folder, method="grid", parameters=GRID)
    study, storage = begin(plan, folder)
    ask_for(study, 1, retries=0)
    studies.add_points(study, plan.sweep.points()[:1])
    held = claims.Claims(plan, study, storage, folder)
    assert held.take() is not None
    held.fail(0, None)
    held.drop(0)
    held.look()
    assert (held.take(), held.over) == (None, True)
    ask_for(study, 1, retries=1)
    ask_for(study, 1)  # somebody who asks for none
    again = held.take()
    assert again is not None and slot_of(study.trials[again.number]) == 0


def test_points_of_a_grid_come_back_after_fewer_were_asked_for(folder: Path) -> None:
    plan = make(folder, method="grid", parameters=GRID)
    study, storage = begin(plan, folder)
    study.set_user_attr(WANTED, 6)
    studies.add_points(study, plan.sweep.points())
    held = claims.Claims(plan, study, storage, folder)
    assert held.take() is not None and held.take() is not None
    held.leave()
    for wanted, jobs in ((2, 2), (6, 1)):
        study.set_user_attr(WANTED, wanted)
        while True:
            trials = [trial for trial in (held.take() for _ in range(jobs)) if trial is not None]
            for trial in trials:
                study.tell(trial, 0.5)
                held.drop(trial.number)
            if not trials:
                break
        held.look()
        assert (held.finished, held.over) == (wanted, True)
    assert sorted(map(slot_of, finished(study))) == list(range(6))


def test_trials_that_lost_their_process_leave_no_checkpoints(
    folder: Path,
    work: Work,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(Done, "PLAYED", None)
    gone = work(1)
    assert kept(folder) == [0]
    gone.claims.drop(0)  # as where it is killed
    other = work(1)
    assert kept(folder) == [1]
    assert "trial 0 has lost its process; it is tried again" in capsys.readouterr().err
    other.study.tell(1, state=TrialState.FAIL)  # as others do that have not heard of it for long
    (job,) = other.running
    job.child.code = 0
    assert other._is_over(job)
    assert kept(folder) == []


def test_checkpoints_that_others_left_are_dropped_at_the_next_start(
    folder: Path, work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = work(3)
    study = worker.study
    study.tell(0, state=TrialState.FAIL)  # by another machine, in which this one showed no life
    study.tell(1, state=TrialState.PRUNED)  # and whoever did was broken off at once
    study.tell(2, 0.5)
    for number in range(3):
        worker.claims.drop(number)
    trial = study.ask()
    trial.set_user_attr(RUN, {"folder": "elsewhere"})
    study.tell(trial, state=TrialState.FAIL)
    (folder / "trials/3/checkpoints").mkdir(parents=True)
    assert kept(folder) == [0, 1, 2, 3]
    sweeps.run_trials(worker.plan, study, worker.claims._storage, folder, wanted=2, device="cpu", progress=False)
    assert kept(folder) == [2, 3]


def test_points_that_two_put_in_the_queue_at_once_are_not_told_as_waiting(folder: Path) -> None:
    plan = make(folder, method="grid", parameters=GRID)
    study, _ = begin(plan, folder)
    study.set_user_attr(WANTED, 2)
    for points in (plan.sweep.points()[:1], plan.sweep.points()[:2]):
        for number, point in enumerate(points):
            study.enqueue_trial(dict(point), user_attrs={SLOT: number})
    trial = study.ask(studies.distributions(plan.sweep))
    trial.set_user_attr(RUN, {"flags": [], "threads": 1, "host": "h", "folder": str(folder / "trials/0")})
    study.tell(trial, 0.5)
    summary = summarise(plan, study, folder, storage="", command="")
    assert (summary["finished"], summary["counts"]) == (1, {"complete": 1, "waiting": 1})


def test_a_trial_that_is_finished_at_the_last_moment_is_not_buried(
    folder: Path, work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = work(1)
    worker.claims.drop(0)
    found = worker.claims._is_deserted

    def late(number: int) -> bool:
        worker.study.tell(number, 0.5)
        return found(number)

    monkeypatch.setattr(worker.claims, "_is_deserted", late)
    assert worker.claims.bury() == []
    assert (states(worker.study), kept(folder)) == (["complete"], [0])


def test_of_two_machines_that_begin_a_study_at_once_with_other_settings_one_is_refused(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"sqlite:///{tmp_path / 'study.db'}"
    plan, other = make(folder), make(folder, seed=5)
    write = Study.set_user_attr

    def first(study: Study, key: str, value: Any) -> None:
        write(study, key, value)
        if key == studies.DEFINITION:
            write(study, key, other.definition())  # by the other, which has not seen this one either

    monkeypatch.setattr(Study, "set_user_attr", first)
    with pytest.raises(SweepError, match="study s was begun with other settings: seed was 5 and is 0"):
        begin(plan, folder, url)
    monkeypatch.undo()
    study, storage = begin(other, folder, url)
    study.set_user_attr(WANTED, 1)
    held = claims.Claims(other, study, storage, folder)
    held.look()
    study.set_user_attr(studies.DEFINITION, plan.definition())  # later than the first look back
    with closing_storage(storage), pytest.raises(SweepError, match="seed was 0 and is 5; give those"):
        held.take()
