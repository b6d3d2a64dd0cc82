"""``mmer sweep``: what it refuses, shows and prints; the trainings themselves are played."""

from __future__ import annotations

import json
import os
import shlex
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from optuna.exceptions import StorageInternalError

from mmer.cli import main
from mmer.cli.sweep import _without_password as hide
from mmer.training import study, sweep_plan
from mmer.training import sweep as sweeps

HERE = Path(__file__).parents[1] / "training"
SWEEP: dict[str, Any] = {
    "program": "train.py",
    "method": "random",
    "metric": {"name": "val/uar", "goal": "maximize"},
    "parameters": {
        "model.optim.lr": {"distribution": "log_uniform_values", "min": 0.0001, "max": 0.1},
        "model.config.fusion.depth": {"min": 1, "max": 3},
    },
    "command": ["${env}", "python", "${program}", "fit", "--config=a.yaml", "--wandb=mmer", "${args}"],
}
SETTINGS: dict[str, Any] = {
    "model": {"config": {"streams": {"voice": {"encoder": "wave_cnn"}}, "labels": "ravdess8"}},
    "data": {"root": "data", "workers": 2, "split": {}},
    "trainer": {"max_epochs": 4, "default_root_dir": "x", "accelerator": "auto"},
}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "quick.yaml"
    path.write_text(yaml.safe_dump(SWEEP, sort_keys=False))
    return path


@pytest.fixture
def run(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """Run ``mmer sweep`` with played trainings: ``run(flag, ...)``."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(HERE), *filter(None, sys.path)]))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setattr(sweeps, "_PAUSE", 0.02)
    monkeypatch.setattr(sweeps, "_ROUND", 0.05)
    monkeypatch.setattr(sweep_plan, "read_several", lambda lines: [SETTINGS] * len(lines))
    monkeypatch.setattr(sweep_plan, "_check_settings", lambda settings: None)
    monkeypatch.setattr(sweep_plan, "_check_clips", lambda settings: None)
    child = sweeps.Child

    def played(module: str, *args: Any) -> Any:
        assert module == "mmer.training"
        return child("fake_training", *args)

    monkeypatch.setattr(sweeps, "Child", played)
    common = ["sweep", str(file), "--output", str(tmp_path / "out"), "--device", "cpu"]
    return lambda *flags: main([*common, *flags])


def test_a_sweep_is_trained_and_says_what_it_found(
    run: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("--trials", "4", "--jobs", "2", "--", "--trainer.max_epochs=4") == 0
    shown = capsys.readouterr().out
    summary = json.loads((tmp_path / "out/sweep.json").read_text())
    best = summary["best"]
    assert "quick: 4 of 4 trials finished (4 complete)" in shown
    assert f"best val/uar: {best['value']} (chance 0.125), trial {best['number']}, epoch 2" in shown
    assert "importance (PED-ANOVA, of 4 complete trials; so few are a hint at most): " in shown
    assert "a score chosen among many trials on the same validation speakers is too high" in shown
    assert shown.splitlines()[-1] == f"best command: {best['command']}"
    flags = f"--trainer.devices=1 --trainer.max_epochs=4 --trainer.default_root_dir={tmp_path / 'out/best'}"
    assert best["command"].endswith(flags)
    assert "--wandb" not in best["command"]
    assert (tmp_path / "out/parallel.png").is_file()
    (tmp_path / "out/parallel.png").unlink()
    assert run("--report") == 0
    assert capsys.readouterr().out == shown
    assert (tmp_path / "out/parallel.png").is_file()
    assert run("--report", "--format", "json") == 0
    again = json.loads(capsys.readouterr().out)
    assert {**again, "command": ""} == {**summary, "command": ""}


def test_a_sweep_ends_well_where_somebody_else_wants_fewer_by_then(
    run: Callable[..., int], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ask_for = study.ask_for
    monkeypatch.setattr(sweeps, "ask_for", lambda own, wanted, retries: ask_for(own, 2, retries))
    assert run("--trials", "8") == 0
    assert "quick: 2 of 2 trials finished (2 complete)" in capsys.readouterr().out


def test_a_sweep_ends_well_where_somebody_else_wants_more_by_then(
    run: Callable[..., int], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    train = sweeps.run_trials

    def trained(plan: Any, own: Any, *args: Any, **how: Any) -> None:
        train(plan, own, *args, **how)
        study.ask_for(own, 20)

    monkeypatch.setattr(sweeps, "run_trials", trained)
    assert run("--trials", "1") == 0
    assert "quick: 1 of 20 trials finished (1 complete)" in capsys.readouterr().out


def test_a_gpu_that_is_not_here_is_refused_before_the_first_trial(
    run: Callable[..., int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = {**SETTINGS, "trainer": {**SETTINGS["trainer"], "accelerator": "gpu"}}
    monkeypatch.setattr(sweep_plan, "read_several", lambda lines: [settings] * len(lines))
    for backend in (torch.cuda, torch.backends.mps):
        monkeypatch.setattr(backend, "is_available", lambda: False)
    assert run("--trials", "2", "--device", "auto") == 2
    assert "trainer.accelerator=gpu and no such device is here; " in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    assert run("--trials", "2", "--device", "auto", "--dry-run") == 0, "it may be for another machine"


def test_a_dry_run_shows_what_would_be_trained_and_writes_nothing(
    run: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("--trials", "9", "--jobs", "3", "--pruner", "median", "--dry-run") == 0
    shown = capsys.readouterr().out
    assert "quick: random, 9 trials of 4 epochs, 3 at once, 1 threads each; maximize val/uar; pruner median" in shown
    assert "  model.optim.lr: 0.0001 to 0.1, each tenfold as likely" in shown
    assert "  model.config.fusion.depth: 1 to 3, whole, in steps of 1" in shown
    assert "fit --config=a.yaml --model.optim.lr=0.0001 --model.config.fusion.depth=1" in shown
    assert run("--trials", "9", "--dry-run", "--format", "json") == 0
    plain = json.loads(capsys.readouterr().out)
    assert (plain["trials"], plain["chance"], plain["storage"], plain["study"]) == (9, 0.125, "study.log", "quick")
    assert not (tmp_path / "out").exists()


def test_how_many_trials_there_are_to_be_is_asked_for_where_nothing_says_it(
    run: Callable[..., int], file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("--dry-run") == 2
    assert "--trials must be given: random has no end of its own, and no run_cap" in capsys.readouterr().err
    file.write_text(yaml.safe_dump({**SWEEP, "run_cap": 5}))
    assert run("--dry-run", "--trials", "9", "--format", "json") == 0
    assert json.loads(capsys.readouterr().out)["trials"] == 5
    parameters = {"model.optim.lr": {"values": [1.0, 2.0]}, "model.config.fusion.depth": {"min": 1, "max": 3}}
    file.write_text(yaml.safe_dump({**SWEEP, "method": "grid", "parameters": parameters}))
    assert run("--dry-run", "--format", "json") == 0
    assert json.loads(capsys.readouterr().out)["trials"] == 6


def test_a_folder_is_of_one_study(run: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--report") == 2
    assert "out holds no study; begin one without --report, or name its --storage" in capsys.readouterr().err
    (tmp_path / "out").mkdir()
    (tmp_path / "out/novel.txt").touch()
    assert run("--trials", "1") == 2
    assert "holds other things than a sweep, as novel.txt; name a new or an empty folder" in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["novel.txt"]
    (tmp_path / "out/novel.txt").unlink()
    assert run("--trials", "1") == 0
    capsys.readouterr()
    assert run("--trials", "1", "--study", "other") == 2
    assert "out holds study quick of study.log; name another --output" in capsys.readouterr().err
    assert run("--trials", "2", "--seed", "3") == 2
    assert "study quick was begun with other settings: seed was 0 and is 3; give those" in capsys.readouterr().err
    assert run("--trials", "2") == 0
    assert "quick: 2 of 2 trials finished" in capsys.readouterr().out


def test_of_two_studies_begun_at_once_in_one_folder_the_second_is_refused(
    run: Callable[..., int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    opened = study.open_storage

    def quicker(url: str | None, folder: Path) -> Any:
        storage = opened(url, folder)
        (folder / "study.json").write_text(json.dumps({"study": "other", "storage": "study.log"}))
        return storage

    monkeypatch.setattr(study, "open_storage", quicker)
    assert run("--trials", "1") == 2
    assert "out holds study other of study.log; name another --output" in capsys.readouterr().err
    assert json.loads((tmp_path / "out/study.json").read_text())["study"] == "other"


def test_a_database_that_can_only_be_read_is_one_line(
    run: Callable[..., int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    study.open_storage(f"sqlite:///{tmp_path / 'study.db'}", tmp_path)
    url = f"sqlite:///file:{tmp_path / 'study.db'}?mode=ro&uri=true"
    assert run("--trials", "1", "--storage", url) == 2
    said = capsys.readouterr().err
    assert "the study cannot be read or written to: (sqlite3.OperationalError) attempt to write a readonly" in said
    assert said.count("\n") == 1

    def broken(*args: Any, **named: Any) -> None:
        raise StorageInternalError("the server is gone")

    monkeypatch.setattr("mmer.training.sweep_report.summarise", broken)
    assert run("--trials", "1") == run("--report") == 2
    assert capsys.readouterr().err.count("the study cannot be read or written to: the server is gone\n") == 2


def test_a_report_of_a_file_that_was_edited_says_what_differs(
    run: Callable[..., int], file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("--trials", "1") == 0
    before = (tmp_path / "out/sweep.json").read_bytes()
    lr, depth = SWEEP["parameters"].items()
    other = ("model.label_smoothing", {"values": [0.0, 0.1]})
    words = {"model.config.fusion.depth": {"values": ["1", "2"]}}
    edits = {
        "parameters.model.config.fusion.depth was 1 to 3, whole, in steps of 1 and is not there": {"parameters": [lr]},
        "parameters.model.label_smoothing was not there and is one of 0.0, 0.1": {"parameters": [lr, depth, other]},
        "parameters.model.config.fusion.depth was 1 to 3, whole, in steps of 1 and is one of '1', '2'": {
            "parameters": [lr, *words.items()]
        },
        "metric was val/uar and is val/loss; goal was maximize and is minimize": {
            "metric": {"name": "val/loss", "goal": "minimize"}
        },
        "method was random and is bayes": {"method": "bayes"},
    }
    for said, edit in edits.items():
        changed = {name: dict(each) if name == "parameters" else each for name, each in edit.items()}
        file.write_text(yaml.safe_dump({**SWEEP, **changed}, sort_keys=False))
        capsys.readouterr()
        assert run("--report") == 2
        shown = capsys.readouterr().err
        assert f"study quick was begun with another sweep than this file: {said}; give the file as it was" in shown
        assert shown.count("\n") == 1
    assert (tmp_path / "out/sweep.json").read_bytes() == before


def test_a_report_leaves_the_folder_of_others_alone(
    run: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    url = f"sqlite:///{tmp_path / 'study.db'}"
    assert run("--trials", "1", "--storage", url) == 0
    elsewhere = ["--output", str(tmp_path / "elsewhere"), "--storage", url, "--report"]
    assert run(*elsewhere) == run(*elsewhere) == 0
    assert "quick: 1 of 1 trials finished" in capsys.readouterr().out
    (tmp_path / "novels").mkdir()
    (tmp_path / "novels/novel.txt").touch()
    assert run("--output", str(tmp_path / "novels"), "--storage", url, "--report") == 2
    assert "holds other things than a sweep, as novel.txt; name a new or an empty folder" in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "novels").iterdir()] == ["novel.txt"]
    (tmp_path / "out/study.json").write_text("{")
    assert run("--report", "--storage", url) == 2
    assert "study.json is not what mmer sweep writes; name another --output" in capsys.readouterr().err


def test_a_password_is_not_written_whatever_it_is() -> None:
    url = "postgresql+psycopg://me:it's $ecret@host/db"
    command = hide(
        shlex.join(["mmer", "sweep", "a b.yaml", "--storage", url]), url, "postgresql+psycopg://me:***@host/db"
    )
    assert shlex.split(command) == ["mmer", "sweep", "a b.yaml", "--storage", "postgresql+psycopg://me:***@host/db"]
    assert hide(shlex.join(["mmer", f"--storage={url}"]), url, "x") == "mmer --storage=x"
    assert hide("mmer sweep a.yaml", None, "study.log") == "mmer sweep a.yaml"


def test_points_of_a_grid_that_cannot_be_trained_are_counted(
    run: Callable[..., int], file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FAKE_REFUSED", "0.02")
    parameters = {"model.optim.lr": {"values": [0.01, 0.02]}, "model.config.fusion.depth": {"value": 1}}
    file.write_text(yaml.safe_dump({**SWEEP, "method": "grid", "parameters": parameters}))
    assert run() == 2
    said = capsys.readouterr()
    assert "quick: 1 of 2 trials finished (1 complete, 1 mistake)" in said.out
    assert "1 of 2 trials cannot be trained; sweep.json says why" in said.err


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--report", "--dry-run"], "--report shows what is found; leave --dry-run and flags out"),
        (["--report", "--", "--x=1"], "--report shows what is found; leave --dry-run and flags out"),
        (["--trials=1", "--", "--model.optim.lr=1"], "--model.optim.lr is a parameter of the sweep"),
        (["--trials=1", "--", "--oracle"], "--oracle is not for a trial of a sweep"),
        (["--trials=1", "--storage=nonsense"], "--storage nonsense is no address of a database that is known"),
        (["--trials=1", "--device=cuda:99"], "device 'cuda:99' is not available"),
        (["--trials=0"], "'0' is not a positive whole number"),
        (["stranger"], "unrecognized arguments: stranger"),
    ],
)
def test_mistakes_are_one_line(
    flags: list[str], message: str, run: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        code = run(*flags)
    except SystemExit as ended:
        code = ended.code
    assert code == 2
    said = capsys.readouterr().err
    assert message in said
    assert said.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_the_library_that_is_missing_is_named(
    run: Callable[..., int], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("mmer.cli.sweep.find_spec", lambda name: None)
    assert run("--trials", "1") == 2
    assert "mmer sweep needs optuna: pip install 'mmer[sweep]'" in capsys.readouterr().err


@pytest.mark.parametrize(("ending", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_whoever_is_asked_to_end_says_so(
    run: Callable[..., int],
    ending: signal.Signals,
    code: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sweeps._Worker, "step", lambda self: os.kill(os.getpid(), ending) or True)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # which a process in the background does not have
    before = signal.getsignal(signal.SIGTERM)
    assert run("--trials", "1") == code
    assert signal.getsignal(signal.SIGTERM) == before
    word = {143: "mmer: ended by SIGTERM; the same command goes on", 130: "mmer: interrupted"}[code]
    assert word in capsys.readouterr().err
