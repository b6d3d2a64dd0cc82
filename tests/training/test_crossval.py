"""Cross-validation: planned, shared, resumed, pooled. Trainings are played; one test at the end trains for real."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from threading import Thread, Timer
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from mmer.checkpoint import CARD
from mmer.cli import main
from mmer.config import ShardConfig, SplitConfig
from mmer.corpora.splits import make_split
from mmer.data.store import PreparedCorpus
from mmer.emotions import RAVDESS8
from mmer.errors import ConfigError, CrossvalError
from mmer.evaluation.metrics import score
from mmer.evaluation.predictions import Predictions
from mmer.evaluation.system import Degraded, System
from mmer.training import crossval, fold, plan, settings
from mmer.training.child import Child, stop
from mmer.training.crossval import run_tasks
from mmer.training.devices import check_device, device_flags
from mmer.training.fold import keep_system
from mmer.training.plan import Extras, Plan, Task, make_plan, read_plan

Play = Callable[[Plan, Task], str | None]


@pytest.fixture
def config(tmp_path: Path, patchy_corpus: Path) -> Path:
    """The YAML of a very small model of the voice; its own speakers are not those of the protocols."""
    settings = {
        "model": {
            "config": {
                "streams": {"voice": {"encoder": "wave_cnn", "variant": "tiny"}},
                "clip": {"seconds": 0.5, "frames": 8},
                "fusion": {"dim": 16, "depth": 1, "heads": 2, "max_tokens": 32},
            },
        },
        "data": {
            "root": str(patchy_corpus),
            "split": {"protocol": "speakers", "validation": [5], "test": [6]},
            "batch_size": 4,
            "workers": 0,
        },
        "trainer": {"max_epochs": 2, "accelerator": "cpu", "logger": None, "enable_model_summary": False},
    }
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump(settings))
    return path


def read_settings(config: Path, flags: Sequence[str]) -> dict[str, Any]:
    """Read settings as train.py would, but for defaults, of which only a few matter."""
    settings = yaml.safe_load(config.read_text())
    settings["data"]["split"]["seed"] = 0
    settings["init"] = None
    settings["trainer"] = {"fast_dev_run": False, "enable_checkpointing": None, **settings["trainer"]}
    for flag in flags:
        names, _, value = flag.removeprefix("--").partition("=")
        *path, last = names.split(".")
        place = settings
        for name in path:
            place = place.setdefault(name, {})
        place[last] = yaml.safe_load(value)
    return settings


def answers(plan: Plan, task: Task, right: float = 0.5) -> Predictions:
    """Return answers for the clips of a task's test part, some of them right."""
    every = PreparedCorpus.open(Path(plan.settings["data"]["root"])).rows
    split = make_split(every, SplitConfig(plan.protocol, fold=task.fold, seed=plan.settings["data"]["split"]["seed"]))
    rows = [row for row in split.rows(every, "test") if row.audio is not None]
    rng = np.random.default_rng([task.seed, task.fold])
    label = np.array([RAVDESS8.index(row.label) for row in rows])
    probabilities = rng.dirichlet(np.ones(8), len(rows))
    probabilities[rng.random(len(rows)) < right] = 0.01
    probabilities[np.arange(len(rows)), label] += 0.2
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    keys, people = tuple(row.key for row in rows), tuple(row.speaker or "" for row in rows)
    groups = {"corpus": tuple(row.corpus for row in rows)}
    leaky = bool(plan.fold(task.fold).leaks)
    return Predictions(tuple(RAVDESS8), keys, people, label, probabilities, groups=groups, leaky=leaky)


def play(plan: Plan, task: Task, module: str) -> None:
    """Leave what a training, or the test behind it, leaves."""
    if module == "mmer.training":
        log = task.folder / "logs/version_0"
        log.mkdir(parents=True)
        (log / "metrics.csv").write_text("epoch,step,val/uar\n0,1,0.25\n1,2,0.5\n")
        answers(plan, task, right=0.8).write(task.folder / "oracle.csv")
        return
    found = answers(plan, task)
    fold = plan.fold(task.fold)
    about = {
        "seeds": [task.seed],
        "speakers": {"scored": list(fold.speakers["test"])},
        "model": {"modalities": ["audio"], "streams": {"voice": "wave_cnn"}, "parameters": 10},
        "trained_with": {"torch": "2"},
        "corpus": {
            "names": ["noise"],
            "licences": {"noise": None},
            "root": "data",
            "synthetic": False,
            "left_out": [
                {"reason": "broken, of the whole corpus: it is empty", "clips": 2},
                {"reason": "without audio", "clips": task.fold},
            ],
        },
        "leaks": list(fold.leaks),
        "notes": ["something"],
        "calibration": None,
    }
    degraded = [Degraded("audio_noise", level, found, "dB SNR") for level in (None, 10.0)]
    keep_system(task, System("tiny", found, about, subsets={"audio": found}, degraded=degraded))


class Played(Child):
    """A child process that has done its work, or failed, the moment that it is started."""

    def __init__(self, task: Task, code: int) -> None:
        self.log = task.folder / "train.log"
        self.code = code

    def poll(self) -> int:
        return self.code

    def complaint(self) -> str:
        return "no memory"


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, str]]:
    """Play trainings and tests instead of running them; return which were begun. Fold 2 of seed 13 fails."""
    begun: list[tuple[int, str]] = []

    def child(plan: Plan, task: Task, module: str, args: Sequence[str]) -> Played:
        begun.append((task.number, module))
        if (task.seed, task.fold) == (13, 2):
            return Played(task, 2)
        play(plan, task, module)
        return Played(task, 0)

    monkeypatch.setattr(plan, "read_settings", read_settings)
    monkeypatch.setattr(crossval, "_child", child)
    monkeypatch.setattr(crossval, "stop", lambda children: None)
    monkeypatch.setattr(crossval, "_PAUSE", 0)
    monkeypatch.setattr("mmer.evaluation.results.write_report", lambda output, metrics, systems: None)  # seconds
    return begun


@pytest.fixture
def run(config: Path, tmp_path: Path, started: object) -> Callable[..., int]:
    """Run ``mmer crossval`` on three folds of two speakers: ``run(flag, ...)``."""

    def crossval(*flags: str, protocol: str = "contig:3") -> int:
        common = [f"--config={config}", f"--protocol={protocol}", f"--output={tmp_path / 'cv'}", "--resamples=20"]
        return main(["crossval", *common, *flags])

    return crossval


def join(folder: Path, *flags: str) -> int:
    return main(["crossval", "--join", f"--output={folder}", "--resamples=20", *flags])


def metrics(folder: Path) -> dict[str, Any]:
    (system,) = json.loads((folder / "metrics.json").read_text())["systems"]
    assert isinstance(system, dict)
    return system


def test_every_fold_of_every_seed_is_trained_tested_and_pooled(
    run: Callable[..., int], tmp_path: Path, started: list[tuple[int, str]], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("--seeds", "3", "1") == 0
    assert started == [(i, module) for i in range(1, 7) for module in ("mmer.training", "mmer.training.fold")]
    found = metrics(tmp_path / "cv")
    plain = read_plan(tmp_path / "cv")
    assert plain is not None
    tasks = plain.tasks(tmp_path / "cv")
    each = [answers(plain, task) for task in tasks]
    assert found["name"] == "tiny"
    assert (found["protocol"], found["seeds"], found["part"]) == ("contig:3, 3 folds", [3, 1], "test")
    assert found["scores"]["n"] == sum(map(len, each))
    folds = {(fold["seed"], fold["fold"]): fold for fold in found["folds"]["each"]}
    for task, own in zip(tasks, each, strict=True):
        assert folds[task.seed, task.fold]["uar"] == pytest.approx(score(own)["uar"])
        assert folds[task.seed, task.fold]["speakers"] == sorted(set(own.speaker))
    assert found["folds"]["mean"]["uar"]["value"] == pytest.approx(np.mean([score(own)["uar"] for own in each]))
    assert len(found["oracle"]["folds"]["each"]) == 6
    assert [run["name"] for run in found["training"]["runs"]][:2] == ["seed 3, fold 1", "seed 3, fold 2"]
    assert [run["val/uar"] for run in found["training"]["runs"]] == [[0.25, 0.5]] * 6
    assert found["speakers"]["scored"] == ["1", "2", "3", "4", "5", "6"]
    assert "fold 2: 3, 4 tested; 5, 6 chose the checkpoint; 1, 2 trained" in found["notes"]
    assert found["notes"].count("something") == 1
    left_out = {each["reason"]: each["clips"] for each in found["corpus"]["left_out"]}
    assert left_out == {"broken, of the whole corpus: it is empty": 2, "without audio": 1 + 2 + 3}
    clips = sum(map(len, each))
    assert [(row["level"], row["n"]) for row in found["degradations"]] == [(None, clips), (10.0, clips)]
    table = Predictions.read(tmp_path / "cv/predictions.csv")
    assert (set(table.fold), set(table.seed)) == ({"1", "2", "3"}, {"1", "3"})
    shown = capsys.readouterr().out
    assert "contig:3, 3 folds" in shown
    assert f"mean of 6 folds      {100 * found['folds']['mean']['accuracy']['value']:>8.1f}%  sd " in shown
    assert "(best epoch on the test itself: not honest)" in shown


def test_one_seed_needs_no_column(run: Callable[..., int], tmp_path: Path) -> None:
    assert run() == 0
    table = Predictions.read(tmp_path / "cv/predictions.csv")
    assert (set(table.fold), table.seed) == ({"1", "2", "3"}, ())


def test_a_finished_task_is_never_redone_and_seeds_can_be_added(
    run: Callable[..., int], tmp_path: Path, started: list[tuple[int, str]]
) -> None:
    assert run() == 0
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "cv/seed-0").rglob("*")}
    first = (tmp_path / "cv/metrics.json").read_bytes()
    started.clear()
    assert run() == 0
    assert started == []
    assert (tmp_path / "cv/metrics.json").read_bytes() == first
    assert run("--seeds", "1") == 0
    assert [number for number, _ in started] == [4, 4, 5, 5, 6, 6]
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "cv/seed-0").rglob("*")} == before
    assert metrics(tmp_path / "cv")["seeds"] == [0, 1]


def test_a_task_that_was_broken_off_begins_anew(
    run: Callable[..., int], tmp_path: Path, started: list[tuple[int, str]]
) -> None:
    rest = tmp_path / "cv/seed-0/fold-2/checkpoints/old.ckpt"
    assert run("--tasks", "1") == 0
    rest.parent.mkdir(parents=True)
    rest.touch()
    started.clear()
    assert run() == 0
    assert {number for number, _ in started} == {2, 3}
    assert not rest.exists()


def test_other_settings_are_refused_by_name(
    run: Callable[..., int],
    config: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(settings, "read_several", lambda lines: [{"model": {"optim": {"lr": 0.001}}}])  # its default
    assert run() == 0
    before = (tmp_path / "cv/plan.json").read_bytes()
    assert run("--", "--trainer.max_epochs=3", "--data.workers=2") == 2
    said = "holds a cross-validation with other settings: trainer.max_epochs was 2 and is 3; give those, or name a new"
    assert said in capsys.readouterr().err
    assert run("--no-oracle", "--", "--model.optim.lr=0.1") == 2
    said = "extras.oracle was True and is False; model.optim.lr was 0.001 and is 0.1; give those"
    assert said in capsys.readouterr().err
    assert run(protocol="loso") == 2
    assert "protocol was contig:3 and is loso" in capsys.readouterr().err
    own = ["--data.workers=2", "--data.prefetch=8", "--data.shards.cache=/fast"]
    own += ["--keep=3", "--save_every=9", "--wandb=p", "--wandb_clips=0", "--trainer.enable_progress_bar=true"]
    assert run("--jobs", "2", "--", *own) == 0
    assert (tmp_path / "cv/plan.json").read_bytes() == before


def test_settings_that_change_no_number_are_each_process_s_own(config: Path, tmp_path: Path, started: object) -> None:
    folder = tmp_path / "cv"
    own = ["--data.workers=2", "--wandb=p", "--data.shards.cache=/fast"]
    plan.begin(folder, make_plan(config, "contig:3", [0], Extras(), 1, ["--data.shards.cache=null"]))
    for found in (plan.begin, plan.merge):
        other = found(folder, make_plan(config, "contig:3", [0], Extras(), 1, own))
        flags = plan.train_flags(other, other.tasks(folder)[0])
        assert set(own) < set(flags)
    assert yaml.safe_load((folder / "config.yaml").read_text())["data"]["workers"] == 0
    held = read_plan(folder)
    assert held is not None
    assert "--data.shards.cache=null" in plan.train_flags(held, held.tasks(folder)[0])


def test_a_test_reads_shards_as_its_own_process_does(
    config: Path, tmp_path: Path, started: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, tested = tmp_path / "cv", []

    def child(plan: Plan, task: Task, module: str, args: Sequence[str]) -> Played:
        play(plan, task, module)
        tested.extend([args] if module == "mmer.training.fold" else [])
        return Played(task, 0)

    def evaluate(path: Path, *, shards: ShardConfig, **how: object) -> Any:
        kept.append(shards)
        raise CrossvalError("that is enough")

    kept: list[ShardConfig] = []
    monkeypatch.setattr(crossval, "_child", child)
    monkeypatch.setattr(fold, "evaluate_checkpoint", evaluate)
    both = ["--data.shards.cache_gb=2.0"]
    plan.begin(folder, make_plan(config, "contig:3", [0], Extras(), 1, ["--data.shards.cache=/first", *both]))
    own = plan.begin(folder, make_plan(config, "contig:3", [0], Extras(), 1, ["--data.shards.cache=/own", *both]))
    run_tasks(own, own.tasks(folder)[:1], progress=False)
    (args,) = tested
    best = Path(args[0]) / "checkpoints/best.ckpt"
    best.parent.mkdir()
    best.touch()
    assert fold.main(args) == 2
    assert kept == [ShardConfig("/own", 2.0)]


@pytest.mark.filterwarnings("default")
def test_what_an_older_version_began_goes_on_where_new_settings_have_their_defaults(
    config: Path, tmp_path: Path, started: object, read_here: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plan, "read_settings", settings.read_settings)
    now = make_plan(config, "contig:3", [0], Extras(), 1, [])
    plan.begin(tmp_path / "cv", now)
    path = tmp_path / "cv/plan.json"
    held = json.loads(path.read_text())
    del held["plan"]["settings"]["save_every"], held["plan"]["settings"]["data"]["sampler"]
    del held["plan"]["settings"]["model"]["config"]["fusion"]["dropout"]
    path.write_text(json.dumps(held))
    plan.begin(tmp_path / "cv", now)
    other = replace(now, settings={**now.settings, "data": {**now.settings["data"], "sampler": "class_balanced"}})
    said = "with other settings: data.sampler was shuffled and is class_balanced; give those, or name a new folder"
    with pytest.raises(CrossvalError, match=f"{said}$"):
        plan.begin(tmp_path / "cv", other)


def test_a_plan_keeps_its_threads(run: Callable[..., int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert run("--tasks", "1") == 0
    monkeypatch.delenv("OMP_NUM_THREADS")
    assert run() == 0
    found = read_plan(tmp_path / "cv")
    assert found is not None
    assert found.threads == 3


def test_threads_share_the_cores(config: Path, started: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)), raising=False)
    threads = [make_plan(config, "contig:3", [0], Extras(), jobs, []).threads for jobs in (1, 3, 20)]
    assert threads == [8, 2, 1]


def test_a_folder_with_other_things_is_left_alone(
    run: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "cv").mkdir()
    (tmp_path / "cv/thesis.tex").touch()
    assert run() == 2
    assert "cv holds other things than a cross-validation; name a new or an empty folder" in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "cv").iterdir()] == ["thesis.tex"]
    (tmp_path / "cv/plan.json").write_text("{}")
    assert run() == 2
    assert "plan.json is not what mmer crossval writes; name a new folder" in capsys.readouterr().err
    (tmp_path / "cv/plan.json").write_text('{"format": 99}')
    assert run() == 2
    assert "plan.json has format 99 and this version reads 1" in capsys.readouterr().err


def test_a_failing_task_leaves_the_others_alone(
    run: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("--seeds", "13") == 2
    said = capsys.readouterr().err
    log = tmp_path / "cv/seed-13/fold-2/train.log"
    assert f"mmer crossval: task 2 (seed 13, fold 2) failed: no memory; see {log}" in said
    assert "1 of 3 tasks failed: 2; mend the cause and start again: what is finished is kept" in said
    assert (tmp_path / "cv/seed-13/fold-3/result.json").is_file()
    assert not (tmp_path / "cv/metrics.json").exists()


def test_tasks_are_given_out_and_joined(
    run: Callable[..., int], tmp_path: Path, started: list[tuple[int, str]], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "cv"
    assert run("--tasks", "2", "3") == 0
    assert "1 of 3 tasks are not finished: task 1 (seed 0, fold 1); whoever finishes the" in capsys.readouterr().err
    assert not (folder / "metrics.json").exists()
    assert join(folder) == 2
    said = "1 of 3 tasks are not finished: task 1 (seed 0, fold 1); run them, or --partial reports without them"
    assert said in capsys.readouterr().err
    assert join(folder, "--partial") == 0
    assert metrics(folder)["notes"][0] == "PARTIAL: 1 of 3 tasks are missing: task 1 (seed 0, fold 1)"
    assert metrics(folder)["speakers"]["scored"] == ["3", "4", "5", "6"]
    assert run("--tasks", "1") == 0
    assert metrics(folder)["folds"]["each"][0]["fold"] == 1
    assert not any(note.startswith("PARTIAL") for note in metrics(folder)["notes"])
    (folder / "metrics.json").unlink()
    assert join(folder) == 0
    assert (folder / "metrics.json").is_file()
    assert len(started) == 6


def test_a_partial_report_names_the_seeds_that_are_in_it(run: Callable[..., int], tmp_path: Path) -> None:
    assert run("--tasks", "2", "3") == 0
    assert run("--seeds", "0", "7", "--tasks", "1") == 0
    assert join(tmp_path / "cv", "--partial") == 0
    assert metrics(tmp_path / "cv")["seeds"] == [0]


def test_a_training_that_logs_nothing_is_reported_all_the_same(run: Callable[..., int], tmp_path: Path) -> None:
    assert run("--tasks", "1", "2") == 0
    for number in (1, 2):
        (tmp_path / f"cv/seed-0/fold-{number}/logs/version_0/metrics.csv").unlink()
    assert run() == 0
    assert [each["name"] for each in metrics(tmp_path / "cv")["training"]["runs"]] == ["seed 0, fold 3"]
    (tmp_path / "cv/seed-0/fold-3/logs/version_0/metrics.csv").unlink()
    assert join(tmp_path / "cv") == 0
    assert metrics(tmp_path / "cv")["training"] is None


def test_a_result_that_cannot_be_read_is_named(
    run: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run() == 0
    (tmp_path / "cv/seed-0/fold-2/result.json").write_text("{")
    assert join(tmp_path / "cv") == 2
    said = "result.json cannot be read; remove it, and the task is done anew"
    assert said in capsys.readouterr().err


def test_a_training_that_left_nothing_is_said(
    run: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("--tasks", "1") == 0
    assert fold.main([str(tmp_path / "cv/seed-0/fold-1"), "cpu", "{}"]) == 2
    assert "fold-1/checkpoints/best.ckpt" in capsys.readouterr().err
    assert fold.main([str(tmp_path / "cv/seed-0/fold-9"), "cpu", "{}"]) == 2
    assert "fold-9 is no task of a cross-validation" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--tasks", "9"], "--tasks 9: the plan has the tasks 1 to 3"),
        (["--partial"], "--partial is for --join; leave it out"),
        (["--join"], "--join pools what is there; leave --config, --protocol"),
        (["--config=none.yaml"], "--config none.yaml does not exist; name a YAML"),
        (
            ["--", "--seed_everything=3"],
            "--seed_everything is not for a single training here: mmer crossval has --seeds",
        ),
        (["--", "--ckpt_path", "last"], "--ckpt_path is not for a single training here: every fold begins anew"),
        (["--", "--data.split.protocol=loso"], "--data.split.protocol is not for a single training here"),
        (["--", "--data.split={protocol: loso}"], "--protocol is contig:3 and a flag behind -- makes it loso"),
        (
            ["--", "--model.config.streams.voice={encoder: features, features: mfcc, width: 13}"],
            "contig:3 fold 1: the train part has no clip that the model can use, with mfcc and one of its labels; name",
        ),
        (["--", "--model.config.fusion.dim=17"], "fusion.dim=17 is not a multiple of fusion.heads=2"),
        (["--", "--trainer.fast_dev_run=true"], "leave no checkpoint to test"),
        (["--degrade", "face_blur"], "degradation face_blur is one of video and the model reads audio"),
        (["--protocol=contig6"], "contig6 is a protocol of RAVDESS, and these clips are of noise"),
        (["--protocol=contig:7"], "contig:7 wants at least 7 speakers and there are 6"),
        (["--protocol=speakers", "--", "--data.split.test=[]"], "speakers: the test part has no clip"),
        (
            ["--protocol=speakers", "--calibrate=vector", "--", "--data.split.validation=[]"],
            "--calibrate vector is fitted on validation clips, and speakers has none; leave it out",
        ),
    ],
)
def test_a_mistake_is_one_line_before_anything_is_written(
    run: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str], flags: list[str], said: str
) -> None:
    assert run(*flags) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert run(*flags) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "cv").exists()


def test_what_must_be_given_is_asked_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["crossval", f"--output={tmp_path}"]) == 2
    assert "--config and --protocol must be given, or --join" in capsys.readouterr().err
    assert join(tmp_path) == 2
    assert "holds no cross-validation; begin one with --config and --protocol" in capsys.readouterr().err
    (tmp_path / "file").touch()
    assert join(tmp_path / "file") == 2
    assert "file is a file; name a folder" in capsys.readouterr().err


def test_a_dry_run_shows_the_plan_and_its_cost_and_writes_nothing(
    run: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("--dry-run", "--seeds", "0", "1", "--", "--trainer.max_epochs=3") == 0
    assert not (tmp_path / "cv").exists()
    shown = capsys.readouterr().out
    assert "tiny: contig:3, 6 tasks of 3 epochs" in shown
    assert " ".join(shown.splitlines()[2].split()).endswith("1, 2; 3, 4")
    assert "--seeds 0 1 --tasks 1 -- --trainer.max_epochs=3" in shown
    assert run("--dry-run", "--format=json") == 0
    plain = json.loads(capsys.readouterr().out)
    assert [task["state"] for task in plain["tasks"]] == ["open"] * 3
    for task in plain["tasks"]:
        clips = task["clips"]
        assert task["cost"] == 2 * (clips["train"] + clips["validation"] + clips["test"]) + clips["test"]
    assert sum(task["clips"]["test"] for task in plain["tasks"]) == 22  # of 30 every fourth has no sound


def test_the_cost_counts_each_look_at_the_test_part(
    run: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("--dry-run", "--format=json", "--calibrate=vector", "--degrade", "audio_noise") == 0
    for task in json.loads(capsys.readouterr().out)["tasks"]:
        train, validation, test = (task["clips"][part] for part in ("train", "validation", "test"))
        assert task["cost"] == 2 * (train + validation + test) + validation + 3 * test  # raw, calibrated, made worse


@pytest.mark.parametrize("shown", ["usage: train.py\b\b", "usage: train.py", ""])
def test_a_flag_that_prints_no_settings_is_one_line(config: Path, monkeypatch: pytest.MonkeyPatch, shown: str) -> None:
    monkeypatch.setattr(subprocess, "run", lambda command, **how: subprocess.CompletedProcess(command, 0, shown, ""))
    with pytest.raises(ConfigError, match="a flag is no setting of a training"):
        make_plan(config, "contig:3", [0], Extras(), 1, ["-h"])


def test_a_task_at_work_is_seen_and_left_to_who_does_it(
    run: Callable[..., int], tmp_path: Path, started: list[tuple[int, str]], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("--tasks", "3") == 0
    found = read_plan(tmp_path / "cv")
    assert found is not None
    first = found.tasks(tmp_path / "cv")[0]
    with first.lock:
        capsys.readouterr()
        assert run("--dry-run", "--format=json") == 0
        plain = json.loads(capsys.readouterr().out)
        assert [task["state"] for task in plain["tasks"]] == ["running", "open", "finished"]
        assert plain["cost"]["left"] == plain["tasks"][0]["cost"] + plain["tasks"][1]["cost"] < plain["cost"]["all"]
        assert run() == 0
    assert {number for number, _ in started} == {2, 3}
    assert "1 of 3 tasks are not finished: task 1" in capsys.readouterr().err


def test_two_processes_share_the_work_and_do_nothing_twice(
    config: Path, tmp_path: Path, started: list[tuple[int, str]]
) -> None:
    both = plan.begin(tmp_path / "cv", make_plan(config, "loso", [0, 1], Extras(), 1, []))
    threads = [
        Thread(target=run_tasks, args=(both, both.tasks(tmp_path / "cv")), kwargs={"jobs": 2, "progress": False})
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(started) == sorted(
        (number, module) for number in range(1, 13) for module in ("mmer.training", "mmer.training.fold")
    )


def test_a_partial_copy_says_which_folds_it_cannot_fill(
    run: Callable[..., int], tmp_path: Path, noise_corpus: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = PreparedCorpus.open(noise_corpus).rows
    assert len({row.speaker for row in rows}) == 24
    part = tmp_path / "part"
    part.mkdir()
    for path in noise_corpus.iterdir():
        if path.name != "manifest.csv":
            (part / path.name).symlink_to(path)
    lines = (noise_corpus / "manifest.csv").read_text().splitlines()
    (part / "manifest.csv").write_text("\n".join(lines[:21]) + "\n")
    assert run(f"--data.root={part}", protocol="contig6") == 0
    assert "left out: contig6 fold 6: the test part is empty" in capsys.readouterr().err
    found = metrics(tmp_path / "cv")
    assert found["protocol"] == "contig6, 4 folds"
    assert any(note.startswith("contig6 fold 5: the validation part is empty") for note in found["notes"])


def test_a_leaky_split_is_marked_everywhere(
    run: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("--", "--data.split.seed=1", protocol="random_leaky") == 0
    said = capsys.readouterr()
    assert "LEAKY split, the scores will be too high: clips were dealt at random" in said.err
    assert "LEAKY split, the scores are too high: clips were dealt at random" in said.out
    assert metrics(tmp_path / "cv")["leaks"]
    assert metrics(tmp_path / "cv")["scores"]["n"] == 22
    assert Predictions.read(tmp_path / "cv/predictions.csv").leaky


def test_folds_that_test_whom_the_first_training_knows_are_refused_before_the_first(
    run: Callable[..., int], tmp_path: Path, checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = torch.load(checkpoint, weights_only=True)
    data[CARD]["card"] |= {"corpora": ["noise"], "speakers": {"train": ["3"], "validation": [], "test": []}}
    torch.save(data, tmp_path / "first.ckpt")
    init = f"--init={tmp_path / 'first.ckpt'}"
    assert run("--", init) == 2
    said = capsys.readouterr().err
    assert "contig:3 fold 2: " in said
    assert "first.ckpt has learned from speakers 3 or was chosen on them, and this fold tests them; begin from" in said
    assert not (tmp_path / "cv").exists()
    assert run("--dry-run", "--", init, "--data.split.allow_leak=true") == 0


@pytest.mark.parametrize(
    ("device", "flags"),
    [
        ("auto", []),
        ("cpu", ["--trainer.accelerator=cpu", "--trainer.devices=1"]),
        ("cuda", ["--trainer.accelerator=gpu", "--trainer.devices=1"]),
        ("cuda:1", ["--trainer.accelerator=gpu", "--trainer.devices=[1]"]),
    ],
)
def test_training_goes_where_the_device_says(device: str, flags: list[str]) -> None:
    assert device_flags(device) == flags


def test_whoever_is_asked_to_end_ends_the_training_too(
    run: Callable[..., int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "sleeper.py").write_text("import time; time.sleep(60)")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    children, timers = [], []

    def child(plan: Plan, task: Task, module: str, args: Sequence[str]) -> Child:
        children.append(Child("sleeper", [], task.folder / "train.log", threads=1))
        timers.append(Timer(0.5, os.kill, (os.getpid(), signal.SIGTERM)))
        timers[-1].start()
        return children[-1]

    monkeypatch.setattr(crossval, "_child", child)
    monkeypatch.setattr(crossval, "stop", stop)
    before = signal.getsignal(signal.SIGTERM)
    try:
        assert run() == 143
    finally:
        for timer in timers:
            timer.cancel()
    assert capsys.readouterr().err.splitlines()[-1] == "mmer: ended by SIGTERM; the same command goes on"
    assert [each.process.returncode for each in children] == [-signal.SIGKILL]
    assert signal.getsignal(signal.SIGTERM) == before


@pytest.fixture
def start(nursery: Any, config: Path) -> Callable[[Path], Any]:
    """Start ``mmer crossval`` of a single fold for real, in a working folder and in a process of its own."""
    flags = [f"--config={config}", "--protocol=speakers", "--calibrate=temperature", "--output=cv"]

    def started(folder: Path) -> Any:
        folder.mkdir(exist_ok=True)
        return nursery.start_mmer(folder, ["crossval", *flags], folder.with_suffix(".log"))

    return started


def wait_for(path: Path) -> None:
    deadline = time.monotonic() + 300
    while not path.exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def at_work(folder: Path) -> set[str]:
    """Return the processes that run in a folder."""
    found = set()
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if (process / "cwd").resolve() == folder.resolve() and (process / "cmdline").read_bytes():
                found.add(process.name)
    return found


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/cwd").exists(), reason="processes are found by /proc")
def test_killed_and_started_again_it_gives_the_same_numbers_as_if_nothing_had_happened(
    start: Callable[[Path], Any], tmp_path: Path, patchy_corpus: Path
) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    killed = start(broken)
    wait_for(broken / "cv/seed-0/fold-1/logs")
    killed.send(signal.SIGKILL)
    killed.wait()
    deadline = time.monotonic() + 30
    while at_work(broken):
        assert time.monotonic() < deadline, "children outlive their parent"
        time.sleep(0.1)
    assert not (broken / "cv/seed-0/fold-1/result.json").exists()
    for run in [start(broken), start(whole)]:
        assert run.wait() == 0, run.said()
    for name in ("metrics.json", "predictions.csv", "index.html"):
        assert (broken / "cv" / name).read_bytes() == (whole / "cv" / name).read_bytes()
    found = metrics(whole / "cv")
    pairs = zip(found["folds"]["each"], found["oracle"]["folds"]["each"], strict=True)
    assert all(oracle["uar"] >= honest["uar"] for honest, oracle in pairs)
    heard = Counter(row.speaker for row in PreparedCorpus.open(patchy_corpus).rows if row.audio is not None)
    assert (found["calibration"]["clips"], found["scores"]["n"]) == (heard["5"], heard["6"])
    assert "the oracle's probabilities are not calibrated" in found["notes"]
    assert [len(run["epochs"]) for run in found["training"]["runs"]] == [2]


@pytest.mark.parametrize("device", ["gpu", "cuda:99", "cuda:x", "cpu:1"])
def test_a_device_that_is_not_here_is_refused(device: str) -> None:
    with pytest.raises(ConfigError, match=f"device '{device}' is not available; choose cpu, cuda, cuda:1, ... or auto"):
        check_device(device)


def test_a_device_that_is_here_is_not_refused() -> None:
    check_device("auto")
    check_device("cpu")


@pytest.mark.slow
def test_a_mistake_in_the_settings_is_what_train_py_says_of_it(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    common = ["crossval", f"--config={config}", "--protocol=contig:3", f"--output={tmp_path / 'cv'}"]
    assert main([*common, "--", "--trainer.max_epoch=3"]) == 2
    assert "error: unrecognized arguments: --trainer.max_epoch=3" in capsys.readouterr().err
    assert not (tmp_path / "cv").exists()
