"""Sweeps: shared, resumed, killed in the middle. Trainings are played by a script; one test trains for real."""

from __future__ import annotations

import json
import os
import pwd
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from threading import Thread
from typing import Any

import optuna
import pytest
import yaml
from optuna.pruners import HyperbandPruner, MedianPruner, NopPruner, SuccessiveHalvingPruner
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from mmer.errors import ConfigError, SweepError
from mmer.evaluation.training_log import read_log
from mmer.training import claims, settings, sweep_plan
from mmer.training import study as studies
from mmer.training import sweep as sweeps
from mmer.training.child import Child
from mmer.training.devices import find_seats
from mmer.training.settings import read_several
from mmer.training.slots import END, RUN, SLOT, slot_of
from mmer.training.study import closing_storage, load_study, make_pruner, name_storage, open_storage, open_study
from mmer.training.sweep import COMPLAINT, EPOCH, run_trials
from mmer.training.sweep_file import Halving, read_sweep
from mmer.training.sweep_plan import SweepPlan, make_plan
from mmer.training.sweep_report import best_command, short_names, summarise, write_summary
from mmer.training.understand import read_line
from tests.training.alive import is_alive

HERE = Path(__file__).parent
SWEEP: dict[str, Any] = {
    "program": "train.py",
    "method": "random",
    "metric": {"name": "val/uar", "goal": "maximize"},
    "parameters": {
        "model.optim.lr": {"distribution": "log_uniform_values", "min": 0.0001, "max": 0.1},
        "model.config.fusion.depth": {"values": [1, 2, 3]},
        "model.label_smoothing": {"value": 0.1},
    },
    "command": ["${env}", "python", "${program}", "fit", "--config=a.yaml", "--wandb=mmer", "${args}"],
}
GRID = {"model.optim.lr": {"values": [0.001, 0.01, 0.1]}, "model.config.fusion.depth": {"min": 1, "max": 2}}

WORKER = """
import sys
from pathlib import Path
from mmer.training import sweep as sweeps
from mmer.training.study import open_storage, open_study
from mmer.training.sweep import run_trials
from mmer.training.sweep_file import read_sweep
from mmer.training.sweep_plan import SweepPlan

sweeps._PAUSE, sweeps._ROUND = 0.05, 0.2
file, folder, url, wanted, jobs = sys.argv[1:]
plan = SweepPlan(read_sweep(Path(file)), module="fake_training")
storage = open_storage(url or None, Path(folder))
study = open_study(storage, "s", plan)
run_trials(plan, study, storage, Path(folder), wanted=int(wanted), jobs=int(jobs), device="cpu", progress=False)
"""

Start = Callable[..., subprocess.Popen[bytes]]


@pytest.fixture(autouse=True)
def surroundings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let children find the script that plays a training, and look at them often."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(HERE), *filter(None, sys.path)]))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setattr(sweeps, "_PAUSE", 0.02)
    monkeypatch.setattr(sweeps, "_ROUND", 0.05)


def empty(folder: Path) -> Path:
    folder.mkdir()
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return empty(tmp_path / "out")


def write_file(folder: Path, **changes: Any) -> Path:
    path = folder.parent / "s.yaml"
    path.write_text(yaml.safe_dump({**SWEEP, **changes}, sort_keys=False))
    return path


def make(folder: Path, pruner: Any = "none", seed: int = 0, **changes: Any) -> SweepPlan:
    sweep = read_sweep(write_file(folder, **changes))
    return SweepPlan(sweep, seed=seed, pruner=pruner, module="fake_training")


def begin(plan: SweepPlan, folder: Path, url: str | None = None) -> tuple[Study, Any]:
    storage = open_storage(url, folder)
    return open_study(storage, "s", plan), storage


def run(plan: SweepPlan, folder: Path, wanted: int, jobs: int = 1, url: str | None = None, retries: int = 2) -> Study:
    study, storage = begin(plan, folder, url)
    how = {"wanted": wanted, "jobs": jobs, "retries": retries}
    run_trials(plan, study, storage, folder, **how, device="cpu", progress=False)
    return study


def order(folder: Path, number: int, what: str) -> None:
    """Tell a trial how to end."""
    (folder / "orders").mkdir(exist_ok=True)
    (folder / "orders" / str(number)).write_text(what)


def states(study: Study) -> list[str]:
    return [trial.user_attrs.get(END, trial.state.name.lower()) for trial in study.trials]


def finished(study: Study) -> list[FrozenTrial]:
    return [trial for trial in study.trials if trial.state in (TrialState.COMPLETE, TrialState.PRUNED)]


def parameters(trials: Sequence[FrozenTrial]) -> list[tuple[float, int]]:
    return [(trial.params["model.optim.lr"], trial.params["model.config.fusion.depth"]) for trial in trials]


@pytest.fixture
def start(folder: Path) -> Iterator[Start]:
    """Start a process that works on the sweep; its trainings take ``seconds`` an epoch, and wait for a file."""
    processes = []
    file = write_file(folder)

    def started(
        wanted: int, jobs: int = 1, url: str = "", seconds: float = 0.1, own: Path = folder, until: Path | None = None
    ) -> Any:
        command = [sys.executable, "-c", WORKER, str(file), str(own), url, str(wanted), str(jobs)]
        known = {"FAKE_SECONDS": str(seconds)} | ({"FAKE_UNTIL": str(until)} if until is not None else {})
        process = subprocess.Popen(command, env={**os.environ, **known}, stderr=subprocess.PIPE)
        processes.append(process)
        return process

    yield started
    for process in processes:
        process.kill()
        process.communicate()


def wait_for(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def begun(folder: Path) -> list[Path]:
    return list((folder / "trials").glob("*/logs/version_0/metrics.csv"))


def test_a_trial_is_worth_its_best_epoch_and_the_best_command_trains_it_again(folder: Path) -> None:
    plan = make(folder)
    study = run(plan, folder, 6, jobs=2)
    assert states(study) == ["complete"] * 6
    for trial in study.trials:
        course = read_log(folder / "trials" / str(trial.number), "")["val/uar"]
        assert trial.value == max(course) != course[-1]
        assert trial.intermediate_values == {1: course[0], 2: course[1], 3: trial.value, 4: trial.value}
        assert trial.user_attrs[EPOCH] == 2
    summary = summarise(plan, study, folder, storage="study.log", command="mmer sweep s.yaml")
    write_summary(plan, summary, folder)
    assert json.loads((folder / "sweep.json").read_text()) == summary
    assert (folder / "parallel.png").read_bytes().startswith(b"\x89PNG")
    best = summary["best"]
    assert (best["number"], best["value"]) == (study.best_trial.number, study.best_value)
    threads, *words = shlex.split(best["command"])
    assert threads == "OMP_NUM_THREADS=1"
    depth, lr = study.best_params["model.config.fusion.depth"], study.best_params["model.optim.lr"]
    expected = ["fit", "--config=a.yaml", "--model.label_smoothing=0.1", f"--model.optim.lr={lr!r}"]
    expected += [f"--model.config.fusion.depth={depth}", "--trainer.accelerator=cpu", "--trainer.devices=1"]
    assert words[words.index("fit") :] == [*expected, f"--trainer.default_root_dir={folder / 'best'}"]
    assert (summary["finished"], summary["counts"], summary["wanted"]) == (6, {"complete": 6}, 6)
    assert set(summary["importance"]) == {"model.optim.lr", "model.config.fusion.depth"}
    assert summary["chance"] is None


def test_the_sequence_is_the_same_each_time_and_goes_on_where_it_was(folder: Path, tmp_path: Path) -> None:
    plan = make(folder, method="bayes")
    whole = run(plan, empty(tmp_path / "whole"), 12)  # beyond the trials that TPE draws at random
    run(plan, folder, 4)
    files = {path: path.stat().st_mtime_ns for path in (folder / "trials").rglob("*.csv")}
    study = run(plan, folder, 12)
    assert parameters(study.trials) == parameters(whole.trials)
    assert len(set(parameters(study.trials))) == 12
    assert len(files) == 4 and all(path.stat().st_mtime_ns == before for path, before in files.items())
    other = run(replace(plan, seed=1), empty(tmp_path / "other"), 1)
    assert parameters(other.trials)[0] != parameters(whole.trials)[0]


def test_a_grid_is_done_to_its_end_each_point_once_by_two_at_once(folder: Path) -> None:
    plan = make(folder, method="grid", parameters=GRID)
    opened = [begin(plan, folder) for _ in range(2)]
    how = {"wanted": 6, "jobs": 2, "device": "cpu", "progress": False}
    threads = [Thread(target=run_trials, args=(plan, *each, folder), kwargs=how) for each in opened]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = finished(opened[0][0])
    assert sorted(parameters(found)) == [(lr, depth) for lr in (0.001, 0.01, 0.1) for depth in (1, 2)]
    assert [trial.user_attrs[SLOT] for trial in found] == list(range(6))


def test_a_point_whose_trial_died_before_it_had_taken_it_is_tried_again(folder: Path) -> None:
    plan = make(folder, method="grid", parameters=GRID)
    study, _ = begin(plan, folder)
    studies.add_points(study, plan.sweep.points())
    study._pop_waiting_trial_id()
    assert (study.trials[0].state, study.trials[0].params) == (TrialState.RUNNING, {})
    study = run(plan, folder, 6, jobs=2)
    assert sorted(parameters(finished(study))) == [(lr, depth) for lr in (0.001, 0.01, 0.1) for depth in (1, 2)]


def test_a_training_that_is_killed_is_tried_again_with_the_same_parameters(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    order(folder, 1, "die")
    study = run(make(folder), folder, 4, jobs=2)
    died = study.trials[1]
    assert (died.state, died.user_attrs[END]) == (TrialState.FAIL, "died")
    assert died.user_attrs[COMPLAINT] == "it was ended by SIGKILL"
    again = [trial for trial in finished(study) if slot_of(trial) == 1]
    assert parameters(again) == parameters([died])
    (number,) = [trial.number for trial in again]
    assert sorted(map(slot_of, finished(study))) == [each for each in range(5) if each != number]  # it is in slot 1
    assert "trial 1 failed: it was ended by SIGKILL; it is tried again; see" in capsys.readouterr().err
    assert not (folder / "trials/1/checkpoints").exists()


def test_a_training_that_dies_each_time_is_given_up_and_another_takes_its_place(folder: Path) -> None:
    for number in (1, 2, 3):
        order(folder, number, "die")
    study = run(make(folder), folder, 2, retries=1)
    assert states(study) == ["complete", "died", "died", "died", "complete"]
    assert list(map(slot_of, study.trials)) == [0, 1, 1, 3, 3]


def test_a_mistake_is_not_tried_again(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    order(folder, 1, "refuse")
    study = run(make(folder), folder, 3)
    assert states(study) == ["complete", "mistake", "complete", "complete"]
    assert study.trials[1].user_attrs[COMPLAINT] == "no such thing"
    assert "trial 1 failed: no such thing; see" in capsys.readouterr().err


def test_the_same_mistake_twice_before_anything_is_finished_ends_the_sweep(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_ORDERS", "refuse")
    with pytest.raises(SweepError, match="2 trials failed, the last: no such thing; mend the cause and start again"):
        run(make(folder), folder, 5)
    monkeypatch.delenv("FAKE_ORDERS")
    assert len(finished(run(make(folder), folder, 2))) == 2


def test_a_metric_that_is_not_logged_is_said_at_the_first_trial(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_METRIC", "val/loss")
    with pytest.raises(SweepError, match="trial 0 logged no val/uar, but val/loss; see "):
        run(make(folder), folder, 5)


@pytest.mark.parametrize("pruner", ["halving", "median", "hyperband"])
def test_trials_that_are_behind_are_ended_early_and_count_as_finished(
    folder: Path, pruner: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_SECONDS", "0.5" if pruner == "hyperband" else "0.15")  # which gives few trials up
    monkeypatch.setattr(studies, "_STARTUP", 1)
    values = {"model.optim.lr": {"values": [0.01, 0.1, 0.03, 0.05, 0.0001]}, "x": {"value": 1}}
    early = {"type": "hyperband", "min_iter": 1}
    plan = make(folder, pruner=pruner, method="grid", parameters=values, early_terminate=early)
    study = run(plan, folder, 5)
    assert len(finished(study)) == 5
    pruned = [trial for trial in study.trials if trial.state is TrialState.PRUNED]
    assert pruned
    for trial in pruned:
        assert max(trial.intermediate_values) < 4
        assert not (folder / "trials" / str(trial.number) / "checkpoints").exists()
    summary = summarise(plan, study, folder, storage="", command="")
    assert summary["best"]["params"] == {"model.optim.lr": 0.01}
    write_summary(plan, summary, folder)


class Slow(Child):
    """A child that is still there at the second look after it was killed."""

    def __init__(self, *args: Any) -> None:
        self.log = args[2]
        self.codes = [None]

    def poll(self) -> int | None:
        return self.codes.pop(0) if len(self.codes) > 1 else self.codes[0]

    def kill(self) -> None:
        self.codes = [None, -signal.SIGKILL]


@pytest.fixture
def slow(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., sweeps._Worker]:
    """Begin trials that have trained an epoch and are behind: ``slow(plan, jobs)``."""

    def worker(plan: SweepPlan, jobs: int = 1) -> sweeps._Worker:
        study, storage = begin(plan, folder)
        study.set_user_attr("trials", jobs)
        if plan.sweep.method == "grid":
            studies.add_points(study, plan.sweep.points())
        worker = sweeps._Worker(plan, study, storage, folder, jobs, "cpu")
        worker._begin_others()
        for job in worker.running:
            (job.course.folder / "checkpoints").mkdir()
            log = job.course.folder / "logs/version_0/metrics.csv"
            log.parent.mkdir(parents=True)
            log.write_text("epoch,step,val/uar\n0,1,0.5\n")
        return worker

    monkeypatch.setattr(sweeps, "Child", Slow)
    monkeypatch.setattr("optuna.trial.Trial.should_prune", lambda self: True)
    return worker


def test_a_trial_that_is_ended_early_is_killed_and_nobody_waits_for_it(
    folder: Path, slow: Callable[..., sweeps._Worker]
) -> None:
    worker = slow(make(folder))
    (job,) = worker.running
    for _ in range(2):
        assert not worker._is_over(job)
        assert states(worker.study) == ["running"]
        assert (job.course.folder / "checkpoints").exists()  # which a process that still writes would make again
    assert worker._is_over(job)
    assert states(worker.study) == ["pruned"]
    assert not (job.course.folder / "checkpoints").exists()


def test_a_trial_that_ends_itself_before_it_is_killed_is_complete(
    folder: Path, slow: Callable[..., sweeps._Worker]
) -> None:
    worker = slow(make(folder))
    (job,) = worker.running
    (job.course.folder / "logs/version_0/metrics.csv").write_text("epoch,step,val/uar\n0,1,0.5\n1,2,0.75\n")
    assert not worker._is_over(job)
    job.child.codes = [0]
    assert worker._is_over(job)
    assert states(worker.study) == ["complete"]
    assert worker.study.trials[0].intermediate_values == {1: 0.5, 2: 0.75}


def test_a_trial_is_not_ended_early_at_its_own_last_epoch(folder: Path, slow: Callable[..., sweeps._Worker]) -> None:
    parameters = {"trainer.max_epochs": {"values": [1, 2]}, "model.optim.lr": {"value": 0.1}}
    worker = slow(make(folder, method="grid", parameters=parameters), jobs=2)
    assert not any(worker._is_over(job) for job in worker.running)
    assert {job.trial.params["trainer.max_epochs"]: job.pruned for job in worker.running} == {1: False, 2: True}
    assert [worker._say(job) for job in worker.running] == ["0: epoch 1/1, 0.500", "1: epoch 2/2, 0.500"]


def test_how_long_a_trial_lasts_is_known_from_its_settings(folder: Path) -> None:
    plan = make(folder)
    known = {epochs: replace(plan, settings={"trainer": {"max_epochs": epochs}}) for epochs in (3, -1, None)}
    assert {epochs: each.epochs_of({}) for epochs, each in known.items()} == {3: 3, -1: None, None: None}
    assert known[3].epochs_of({"trainer.max_epochs": 5}) == 5
    whole = make(folder, parameters={"trainer": {"values": ["{max_epochs: 1}", "{max_epochs: 9}"]}})
    assert replace(whole, settings={"trainer": {"max_epochs": 1}}).epochs is None


def test_pruners_are_what_the_file_says() -> None:
    assert isinstance(make_pruner("none", None, 9), NopPruner)
    assert isinstance(make_pruner("median", Halving(2, 3), 9), MedianPruner)
    assert isinstance(make_pruner("halving", Halving(2, 4), 9), SuccessiveHalvingPruner)
    assert isinstance(make_pruner("hyperband", Halving(2, 3), None), HyperbandPruner)
    assert isinstance(make_pruner("hyperband", Halving(20, 3), 9), HyperbandPruner)


def test_a_worker_that_is_killed_loses_no_trial(folder: Path, start: Start) -> None:
    first = start(7, jobs=2, until=folder / "never")
    wait_for(lambda: len(list((folder / "trials").glob("*/checkpoints"))) >= 2)
    second = start(7, jobs=2, seconds=0.1)
    wait_for(lambda: len(begun(folder)) >= 2)
    first.kill()
    first.wait()
    assert second.wait(60) == 0
    study = load_study(open_storage(None, folder), "s")
    assert len({slot_of(trial) for trial in finished(study)}) == len(finished(study)) == 7
    lost = [trial for trial in study.trials if trial.state is TrialState.FAIL and END not in trial.user_attrs]
    assert lost
    for trial in lost:
        again = [each for each in finished(study) if slot_of(each) == slot_of(trial)]
        assert parameters(again) == parameters([trial])
    assert not [trial for trial in study.trials if not trial.state.is_finished()]


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="processes are found by /proc")
def test_children_end_with_their_worker(folder: Path, start: Start) -> None:
    worker = start(2, seconds=30)
    wait_for(lambda: bool(list((folder / "trials").glob("*/checkpoints"))))
    (child,) = children_of(worker.pid)
    worker.kill()
    worker.wait()
    wait_for(lambda: not is_alive(child))


def children_of(pid: int) -> list[int]:
    return [int(word) for path in Path(f"/proc/{pid}/task").glob("*/children") for word in path.read_text().split()]


def test_whoever_is_interrupted_leaves_his_trials_to_be_tried_again(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_SECONDS", "20")
    plan = make(folder)
    study, storage = begin(plan, folder)
    children = []

    class Seen(Child):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args)
            children.append(self)

    monkeypatch.setattr(sweeps, "Child", Seen)

    def pause(seconds: float) -> None:
        if len(children) == 2:
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(sweeps, "sleep", pause)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # which one in the background does not have
    try:
        with pytest.raises(KeyboardInterrupt):
            run_trials(plan, study, storage, folder, wanted=2, jobs=2, retries=0, device="cpu", progress=False)
    finally:
        signal.signal(signal.SIGINT, before)
        monkeypatch.setattr(sweeps, "sleep", time.sleep)
    assert [child.process.returncode for child in children] == [-signal.SIGKILL] * 2
    assert states(study) == ["interrupted"] * 2
    assert not list((folder / "trials").glob("*/checkpoints"))  # it begins anew, elsewhere
    monkeypatch.setenv("FAKE_SECONDS", "0")
    study = run(plan, folder, 2, retries=0)
    assert sorted(map(slot_of, finished(study))) == [0, 1]
    assert parameters(finished(study)) == parameters(study.trials[:2])


def test_whoever_comes_too_late_withdraws_his_trial(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = make(folder)
    study, storage = begin(plan, folder)
    study.set_user_attr("trials", 1)
    worker = sweeps._Worker(plan, study, storage, folder, 1, "cpu")
    seen = iter([[]])  # at first it has not seen that the others have begun all
    monkeypatch.setattr(claims, "alive", lambda slots: next(seen, slots))
    study.ask()
    assert worker.claims.take() is None
    assert states(study) == ["running", "surplus"]
    assert worker.running == []


def test_a_trial_that_was_given_to_another_is_dropped(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FAKE_SECONDS", "0.3")
    plan = make(folder)
    study, storage = begin(plan, folder)
    study.set_user_attr("trials", 1)
    worker = sweeps._Worker(plan, study, storage, folder, 1, "cpu")
    worker._begin_others()
    study.tell(0, state=TrialState.FAIL)  # as others do that have not heard of it for long
    wait_for(lambda: worker._is_over(worker.running[0]))
    worker.leave()
    assert "trial 0 was taken for dead and given to another; this one is dropped" in capsys.readouterr().err


def test_a_database_is_told_who_lives_where_no_folder_is_shared(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(studies, "HEARTBEAT", 1)
    monkeypatch.setattr(studies, "GRACE", 1)
    url = f"sqlite:///{tmp_path / 'study.db'}"
    plan = make(folder)
    study, storage = begin(plan, folder, url)
    study.set_user_attr("trials", 2)
    gone = sweeps._Worker(plan, study, storage, folder, 1, "cpu")
    gone._begin_others()
    gone.running[0].child.process.wait(60)
    time.sleep(3.1)  # nobody looks after it; a database counts whole seconds
    study = run(plan, empty(tmp_path / "elsewhere"), 2, url=url)
    gone.leave()
    assert sorted(map(slot_of, finished(study))) == [0, 2]
    assert parameters([each for each in finished(study) if slot_of(each) == 0]) == parameters(study.trials[:1])


def test_what_a_killed_process_wrote_by_half_is_cut_off(folder: Path) -> None:
    study = run(make(folder), folder, 1)
    with (folder / "study.log").open("ab") as file:
        file.write(b'{"op_code":4,"worker_id":"a","stu')
    assert parameters(run(make(folder), folder, 2).trials)[:1] == parameters(study.trials)[:1]
    assert all(json.loads(line) for line in (folder / "study.log").read_text().splitlines())


def test_a_study_with_other_settings_is_refused_by_name(folder: Path) -> None:
    begin(make(folder), folder)
    with pytest.raises(SweepError, match="study s was begun with other settings: seed was 0 and is 5; give those, or"):
        begin(make(folder, seed=5), folder)
    optuna.create_study(storage=open_storage(None, folder), study_name="strange").ask()
    plan = make(folder)
    with pytest.raises(SweepError, match="study strange is not of mmer sweep; give another --study"):
        open_study(open_storage(None, folder), "strange", replace_goal(plan))
    with pytest.raises(SweepError, match="there is no study none here; begin it without --report"):
        load_study(open_storage(None, folder), "none")


TRAINING: dict[str, Any] = {
    "keep": 1,
    "save_every": 0,
    "wandb": None,
    "wandb_clips": 32,
    "data": {"batch_size": 4, "workers": 2, "prefetch": 2, "shards": {"cache": None, "cache_gb": 50.0}},
    "trainer": {"max_epochs": 4, "default_root_dir": "x"},
}


def test_settings_that_change_no_number_may_differ(folder: Path) -> None:
    plan = make(folder)
    begin(replace(plan, settings=TRAINING), folder)
    own = {"keep": 3, "save_every": 9, "wandb": "p", "wandb_clips": 0, "trainer": {"max_epochs": 4}}
    data = {"batch_size": 4, "workers": 0, "prefetch": 8, "shards": {"cache": "/fast", "cache_gb": 50.0}}
    begin(replace(plan, settings={**own, "data": data}), folder)
    with pytest.raises(SweepError, match=r"other settings: settings\.data\.batch_size was 4 and is 8; give those"):
        begin(replace(plan, settings={**own, "data": {**data, "batch_size": 8}}), folder)
    with pytest.raises(SweepError, match=r"settings\.data\.shards\.cache_gb was 50\.0 and is 2\.0"):  # smaller windows
        begin(replace(plan, settings={**own, "data": {**data, "shards": {"cache_gb": 2.0}}}), folder)


def test_a_study_that_an_older_version_began_goes_on(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it does not know has its default there."""
    plan = make(folder)
    study, _ = begin(replace(plan, settings=TRAINING), folder)
    known = {name: each for name, each in study.user_attrs[studies.DEFINITION].items() if name != "pruner"}
    study.set_user_attr(studies.DEFINITION, {**known, "retries": 5})  # which is no longer compared
    read = []

    def fill(lines: Sequence[Sequence[str]]) -> list[dict[str, Any]]:
        ((fit, config),) = lines
        held = yaml.safe_load(Path(config.removeprefix("--config=")).read_text())
        read.append((fit, held))
        return [{**held, "data": {**held["data"], "sampler": "shuffled"}}]

    monkeypatch.setattr(settings, "read_several", fill)
    now = {**TRAINING, "data": {**TRAINING["data"], "sampler": "shuffled"}}
    begin(replace(plan, settings=now), folder)
    assert read == [("fit", TRAINING)]
    with pytest.raises(SweepError, match=r"settings: settings\.data\.sampler was shuffled and is speakers; give those"):
        begin(replace(plan, settings={**now, "data": {**now["data"], "sampler": "speakers"}}), folder)
    with pytest.raises(SweepError, match="other settings: pruner was none and is median; give those"):
        begin(replace(plan, settings=now, pruner="median"), folder)

    def refuse(lines: Sequence[Sequence[str]]) -> list[dict[str, Any]]:
        raise ConfigError("unrecognized arguments: --data.something")

    monkeypatch.setattr(settings, "read_several", refuse)
    with pytest.raises(SweepError, match=r"other settings: settings\.data\.sampler was not there and is shuffled"):
        begin(replace(plan, settings=now), folder)


def replace_goal(plan: SweepPlan) -> SweepPlan:
    return replace(plan, sweep=replace(plan.sweep, goal="minimize"))


def test_storages_that_cannot_be_used_are_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for url in ("nonsense", "nosuch://x/y"):
        with pytest.raises(ConfigError, match=f"--storage {url} is no address of a database that is known; give one"):
            open_storage(url, folder)
    monkeypatch.setattr(studies, "_ATTEMPTS", 1)
    with pytest.raises(SweepError, match=r"--storage sqlite:////no/such/a\.db cannot be used: .*unable to open"):
        open_storage("sqlite:////no/such/a.db", folder)
    monkeypatch.setattr(studies, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"postgresql\+psycopg needs psycopg: pip install 'mmer\[postgres\]'"):
        name_storage("postgresql+psycopg://me:secret@host/db")


@pytest.mark.parametrize("lost", ["reader", "waited", "peer", "gloo", "port"])
def test_a_lost_process_is_no_mistake(folder: Path, lost: str) -> None:
    order(folder, 0, lost)
    study = run(make(folder), folder, 1)
    assert states(study) == ["died", "complete"]
    assert study.trials[0].user_attrs[COMPLAINT]


def test_a_loss_that_is_no_number_is_an_answer(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A rate that is too high is no mistake in the settings, nor is it tried again."""
    order(folder, 0, "nan")
    study = run(make(folder), folder, 2)
    assert states(study) == ["pruned", "complete"]
    assert "trial 0 ended early: the loss is nan in epoch 1, batch 3" in capsys.readouterr().err


def test_scores_that_are_no_numbers_are_an_answer_too(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    order(folder, 1, "blind")
    study = run(make(folder), folder, 3)
    assert states(study) == ["complete", "pruned", "complete"]
    assert "trial 1 ended with no val/uar that is a number" in capsys.readouterr().err


def test_a_trial_that_wants_several_devices_finds_them_itself(folder: Path) -> None:
    plan = make(folder)
    wants = {
        device: replace(plan, settings={"trainer": {"devices": device}}).on_one_device for device in ("auto", 1, 2)
    }
    assert wants == {"auto": True, 1: True, 2: False}


def test_passwords_are_not_shown(folder: Path) -> None:
    with pytest.raises(ConfigError, match=r"--storage postgres://\*\*\*@host/db is no address"):
        open_storage("postgres://me:secret@host/db", folder)
    assert name_storage("sqlite://me:secret@host/db") == "sqlite://me:***@host/db"


def test_trials_are_dealt_over_the_gpus_that_are_visible(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert find_seats("auto") == [{"CUDA_VISIBLE_DEVICES": "0"}, {"CUDA_VISIBLE_DEVICES": "1"}]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5")
    assert find_seats("cuda") == [{"CUDA_VISIBLE_DEVICES": "3"}, {"CUDA_VISIBLE_DEVICES": "5"}]
    assert find_seats("cuda:1") == find_seats("cpu") == [{}]
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    assert find_seats("auto") == [{}]


def test_names_are_as_short_as_they_can_be_told_apart() -> None:
    names = short_names(["model.optim.lr", "a.depth", "b.depth"])
    assert names == {"model.optim.lr": "lr", "a.depth": "a.depth", "b.depth": "b.depth"}


def test_without_the_program_at_hand_the_command_names_the_module(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    how = {"flags": ["fit", "--x=a b"], "threads": 3}
    command = best_command(make(folder), how, tmp_path / "best")
    root = f"--trainer.default_root_dir={tmp_path / 'best'}"
    assert command == f"OMP_NUM_THREADS=3 python -m mmer.training fit '--x=a b' {root}"
    (tmp_path / "train.py").touch()
    assert "python train.py fit" in best_command(make(folder), how, tmp_path / "best")


@pytest.fixture
def postgres(tmp_path: Path) -> Iterator[str]:
    """Start a PostgreSQL server of one's own and yield an address in it."""
    if find_spec("psycopg") is None:
        pytest.skip("psycopg is not installed")
    places = os.pathsep.join([*map(str, Path("/usr/lib/postgresql").glob("*/bin")), os.environ["PATH"]])
    initdb, postgres = (shutil.which(name, path=places) for name in ("initdb", "postgres"))
    if initdb is None or postgres is None:
        pytest.skip("there is no PostgreSQL server here")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    data = Path(tempfile.mkdtemp(prefix="mmer-postgres-"))  # the folders of pytest are root's alone
    how: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": "/"}
    if os.getuid() == 0:  # whom the server refuses
        nobody = pwd.getpwnam("nobody")
        os.chown(data, nobody.pw_uid, nobody.pw_gid)
        how |= {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
    try:
        options = ["-A", "trust", "-U", "mmer", "-N", "-D", str(data / "db"), "-E", "UTF8", "--locale=C"]
        if subprocess.run([initdb, *options], check=False, **how).returncode:
            pytest.skip("initdb does not work here")
        command = [postgres, "-D", str(data / "db"), "-h", "127.0.0.1", "-p", str(port), "-k", str(data), "-F"]
        with subprocess.Popen(command, **how) as server:
            try:
                wait_for(lambda: server.poll() is not None or listens(port))
                if server.poll() is not None:
                    pytest.skip("the PostgreSQL server does not start here")
                yield f"postgresql+psycopg://mmer@127.0.0.1:{port}/postgres"
            finally:
                server.send_signal(signal.SIGQUIT)
    finally:
        shutil.rmtree(data, ignore_errors=True)


def listens(port: int) -> bool:
    import psycopg

    try:
        with psycopg.connect(f"host=127.0.0.1 port={port} user=mmer dbname=postgres", connect_timeout=2):
            return True
    except psycopg.OperationalError:
        return False


def test_two_processes_started_apart_share_a_study_in_postgresql(
    postgres: str, folder: Path, tmp_path: Path, start: Start
) -> None:
    other = empty(tmp_path / "other")
    first = start(8, jobs=2, url=postgres, own=folder, until=tmp_path / "both are at work")
    second = start(8, jobs=2, url=postgres, own=other)
    wait_for(lambda: bool(begun(other)) and len(list(folder.glob("trials/*/checkpoints"))) == 2)
    (tmp_path / "both are at work").touch()
    assert [worker.wait(90) for worker in (first, second)] == [0, 0]
    with closing_storage(open_storage(postgres, folder)) as storage:
        found = finished(load_study(storage, "s"))
    assert sorted(map(slot_of, found)) == list(range(8))
    assert len(set(parameters(found))) == 8
    places = Counter(Path(trial.user_attrs[RUN]["folder"]).parents[1].name for trial in found)
    assert set(places) == {"out", "other"}
    with pytest.raises(SweepError, match=r"postgres cannot be used: .*connection"):
        open_storage(postgres.rpartition(":")[0] + ":1/postgres", folder)


@pytest.mark.slow
def test_twelve_real_trials_finish_over_two_kills_and_the_best_command_gives_the_same_score(
    nursery: Any, folder: Path, tmp_path: Path, voice_config: Path
) -> None:
    """First a training is killed in its second epoch, and then one of the two processes that work on the sweep."""
    lr = {"model.optim.lr": {"distribution": "log_uniform_values", "min": 0.0001, "max": 0.01}}
    nested = {"model": {"parameters": {"config": {"parameters": {"fusion": {"parameters": {"depth": {"value": 2}}}}}}}}
    command = ["${env}", "python", "${program}", "fit", f"--config={voice_config}", "--wandb=mmer", "${args}"]
    metric = {"name": "val/loss", "goal": "minimize"}  # of which no two trials have the same
    file = write_file(folder, parameters={**lr, **nested}, command=command, metric=metric)
    sweep = ["sweep", str(file), "--trials=12", "--jobs=2", f"--output={folder}", "--", "--data.workers=0"]
    first = nursery.start_mmer(tmp_path, sweep, tmp_path / "first.log", killed=2)
    wait_for(lambda: "trial 2 failed: it was ended by SIGKILL; it is tried again" in first.said())
    second = nursery.start_mmer(tmp_path, sweep, tmp_path / "second.log")
    wait_for(lambda: "epoch 1" in second.said())
    first.send(signal.SIGKILL)
    assert first.wait() == -signal.SIGKILL
    assert second.wait() == 0, second.said()

    study = load_study(open_storage(None, folder), "s")
    assert sorted({slot_of(trial) for trial in finished(study)}) == sorted(map(slot_of, finished(study)))
    assert len(finished(study)) == 12
    failed = [trial for trial in study.trials if trial.state is TrialState.FAIL]
    assert [trial.number for trial in failed if END in trial.user_attrs] == [2]
    assert len(failed) > 1  # those that the second process has found without their process
    for trial in failed:
        (again,) = [each for each in finished(study) if slot_of(each) == slot_of(trial)]
        assert again.params == trial.params

    summary = json.loads((folder / "sweep.json").read_text())
    assert (summary["finished"], summary["counts"]["complete"]) == (12, 12)
    best = summary["best"]
    values = [trial["value"] for trial in summary["trials"] if trial["state"] == "complete"]
    assert best["value"] == min(values) < max(values)
    config = yaml.safe_load(next((folder / "trials" / str(best["number"])).rglob("config.yaml")).read_text())
    fusion = config["model"]["config"]["fusion"]
    assert (fusion["depth"], fusion["dim"]) == (2, 16)  # what the config says beside the depth is kept
    assert f"best command: {best['command']}" in second.said()
    words = shlex.split(best["command"])
    again = subprocess.run(
        [sys.executable, "-m", "mmer.training", *words[words.index("fit") :]],
        env={**os.environ, "OMP_NUM_THREADS": words[0].partition("=")[2]},
        capture_output=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    assert again.returncode == 0
    course = read_log(folder / "best", "")["val/loss"]
    assert course == read_log(folder / "trials" / str(best["number"]), "")["val/loss"]
    assert min(course) == best["value"]


@pytest.mark.filterwarnings("default")
def test_a_parameter_that_is_no_setting_is_what_train_py_says_of_it(
    voice_config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    common = ["fit", f"--config={voice_config}"]
    assert read_line([*common, "--model.optim.lr=0.01"])["model"]["optim"]["lr"] == 0.01
    with pytest.raises(SystemExit, match="2"):
        read_line([*common, "--model.no_such=1"])
    assert "error: unrecognized arguments: --model.no_such=1" in capsys.readouterr().err
    assert read_line([*common, "-h"]) is None


@pytest.mark.parametrize(
    ("shown", "code", "message"),
    [
        ("", 2, "no such thing"),
        ("usage: train.py", 0, "a flag is no setting of a training; see python train.py fit --help"),
        ("[null]", 0, "a flag is no setting of a training"),
    ],
)
def test_settings_that_cannot_be_read_are_one_line(
    shown: str, code: int, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = subprocess.CompletedProcess("", code, shown, "train.py: error: no such thing\n")
    monkeypatch.setattr(subprocess, "run", lambda command, **how: done)
    with pytest.raises(ConfigError, match=message):
        read_several([["fit"]])


SETTINGS: dict[str, Any] = {
    "model": {"config": {"streams": {"voice": {"encoder": "wave_cnn"}}, "labels": "ravdess8"}},
    "data": {"split": {"protocol": "speakers", "validation": [5], "test": [6]}},
    "trainer": {"fast_dev_run": False, "enable_checkpointing": None, "logger": None, "max_epochs": 3},
}


@pytest.mark.parametrize(
    ("part", "change", "message"),
    [
        ("data", {"split": {"protocol": "speakers", "test": [6]}}, "no validation clips, and a sweep chooses on valid"),
        ("trainer", {"fast_dev_run": 1}, "leave nothing to choose from"),
        ("trainer", {"enable_checkpointing": False}, "leave nothing to choose from"),
        ("trainer", {"logger": False}, "trainer.logger takes the place of the log that a sweep reads; leave it out"),
        ("model", {"config": {"streams": {"voice": {"encoder": "wave_cnn", "dropout": 2.0}}}}, "dropout=2.0 must lie"),
    ],
)
def test_trials_that_leave_nothing_to_compare_are_refused_before_the_first(
    part: str, change: dict[str, Any], message: str, folder: Path, patchy_corpus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {**SETTINGS, "data": {**SETTINGS["data"], "root": str(patchy_corpus)}}
    settings[part] = {**settings[part], **change}
    monkeypatch.setattr(sweep_plan, "read_several", lambda lines: [settings] * len(lines))
    with pytest.raises(ConfigError, match=message):
        make_plan(read_sweep(write_file(folder)), [])


def test_a_parameter_that_another_flag_undoes_is_refused(
    folder: Path, patchy_corpus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {**SETTINGS, "data": {**SETTINGS["data"], "root": str(patchy_corpus)}}
    settings["model"] = {**settings["model"], "optim": {"lr": 0.5}}
    monkeypatch.setattr(sweep_plan, "read_several", lambda lines: [settings] * len(lines))
    said = r"parameters\.model\.optim\.lr does not reach the training: 0\.0001, 0\.1 make 0\.5 of it; a flag behind it"
    with pytest.raises(ConfigError, match=said):
        make_plan(read_sweep(write_file(folder)), ["--model.optim={lr: 0.5}"])


def test_every_sample_is_checked_and_the_file_s_hyperband_is_halving(
    folder: Path, patchy_corpus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[list[str]] = []

    def read(lines: Sequence[list[str]]) -> list[dict[str, Any]]:
        asked.extend(lines)
        return [{**SETTINGS, "data": {**SETTINGS["data"], "root": str(patchy_corpus)}}] * len(lines)

    monkeypatch.setattr(sweep_plan, "read_several", read)
    file = write_file(folder, early_terminate={"type": "hyperband", "min_iter": 2})
    plan = make_plan(read_sweep(file), ["--trainer.x=1"])
    assert (plan.pruner, plan.epochs, plan.chance) == ("halving", 3, 1 / 8)
    assert [line[3:] for line in asked] == [
        ["--model.optim.lr=0.0001", "--model.config.fusion.depth=1", "--trainer.x=1"],
        ["--model.optim.lr=0.1", "--model.config.fusion.depth=2", "--trainer.x=1"],
        ["--model.optim.lr=0.0001", "--model.config.fusion.depth=3", "--trainer.x=1"],
    ]
