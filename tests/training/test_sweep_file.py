"""Sweeps of Weights & Biases are read as they are meant, and what cannot be done is refused by name."""

from __future__ import annotations

import math
import warnings
from pathlib import Path
from typing import Any

import pytest
import yaml
from optuna.distributions import FloatDistribution, IntDistribution

from mmer.errors import ConfigError
from mmer.training.domains import Choice, Span, show_value
from mmer.training.study import distributions
from mmer.training.sweep_file import Halving, Sweep, read_sweep
from mmer.training.sweep_report import _axis
from mmer.training.sweepable import check_flags

GOOD: dict[str, Any] = {
    "program": "train.py",
    "method": "bayes",
    "metric": {"name": "val/uar", "goal": "maximize"},
    "parameters": {"model.optim.lr": {"distribution": "log_uniform_values", "min": 0.0001, "max": 0.1}},
    "command": ["${env}", "python", "${program}", "fit", "--config=a.yaml", "${args}"],
}


def read(folder: Path, **changes: Any) -> Sweep:
    path = folder / "s.yaml"
    plain = {key: value for key, value in {**GOOD, **changes}.items() if value is not ...}
    path.write_text(yaml.safe_dump(plain))
    return read_sweep(path)


def domain(folder: Path, **spec: Any) -> object:
    sweep = read(folder, parameters={"model.optim.lr": spec, "model.label_smoothing": {"values": [0.0, 0.1]}})
    return sweep.domains.get("model.optim.lr", sweep.fixed.get("model.optim.lr"))


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({"value": 3}, 3),
        ({"distribution": "constant", "value": True}, True),
        ({"values": [1, "a", 0.5, [1, 2]]}, Choice((1, "a", 0.5, "[1, 2]"))),
        ({"values": [1, 2], "probabilities": [0.5, 0.5]}, Choice((1, 2))),
        ({"min": 1, "max": 4}, Span(1.0, 4.0, step=1.0, whole=True)),
        ({"min": 1, "max": 4.0}, Span(1.0, 4.0)),
        ({"distribution": "uniform", "min": 1, "max": 4}, Span(1.0, 4.0)),
        ({"distribution": "q_uniform", "min": 0, "max": 1, "q": 0.25}, Span(0.0, 1.0, step=0.25)),
        ({"distribution": "q_uniform", "min": 2, "max": 8, "q": 2}, Span(2.0, 8.0, step=2.0, whole=True)),
        ({"distribution": "log_uniform", "min": -2, "max": 0}, Span(math.exp(-2), 1.0, log=True)),
        ({"distribution": "log_uniform_values", "min": 0.1, "max": 1}, Span(0.1, 1.0, log=True)),
        (
            {"distribution": "q_log_uniform_values", "min": 1, "max": 64, "q": 1},
            Span(1.0, 64.0, log=True, step=1.0, whole=True),
        ),
        ({"min": 0.5, "max": 0.5}, 0.5),
    ],
)
def test_parameters_are_what_weights_and_biases_makes_of_them(spec: Any, expected: Any, tmp_path: Path) -> None:
    assert domain(tmp_path, **spec) == expected


def test_nested_parameters_come_out_by_their_dotted_names(tmp_path: Path) -> None:
    inner = {"config": {"parameters": {"fusion.depth": {"values": [1, 2]}, "modality_dropout": {"value": 0.2}}}}
    sweep = read(tmp_path, parameters={"model": {"parameters": inner}})
    assert sweep.domains == {"model.config.fusion.depth": Choice((1, 2))}
    assert sweep.fixed == {"model.config.modality_dropout": 0.2}


@pytest.mark.parametrize(
    ("early", "expected"),
    [
        ({"min_iter": 3}, Halving(3, 3)),
        ({"min_iter": 2, "eta": 4, "strict": False}, Halving(2, 4)),
        ({"max_iter": 27, "s": 2}, Halving(3, 3)),
        ({"max_iter": 4, "s": 3, "eta": 2}, Halving(1, 2)),
    ],
)
def test_moments_of_early_termination(early: dict[str, Any], expected: Halving, tmp_path: Path) -> None:
    assert read(tmp_path, early_terminate={"type": "hyperband", **early}).halving == expected


@pytest.mark.parametrize(
    ("macro", "shown"),
    [
        ("${args}", ["--c=x y", "--a=1.0e-05", "--b=true"]),
        ("${args_no_equals}", ["--c", "x y", "--a", "1.0e-05", "--b", "true"]),
        ("${args_no_boolean_flags}", ["--c=x y", "--a=1.0e-05", "--b"]),
    ],
)
def test_a_trial_s_flags_stand_where_the_command_says(
    macro: str, shown: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SYSTEM", "wave")
    own = ["--config=${envvar:SYSTEM}.yaml", "--wandb", "mmer", "--wandb_x=1", macro, "--overwrite"]
    parameters = {"c": {"value": "x y"}, "a": {"values": [1, 2]}, "b": {"min": 0, "max": 1}}
    sweep = read(tmp_path, command=["python3", "train.py", "fit", *own], parameters=parameters)
    flags = sweep.flags({"a": 1e-05, "b": True})
    assert flags == ["fit", "--config=wave.yaml", *shown, "--overwrite"]


def test_false_is_left_out_where_the_command_says_so(tmp_path: Path) -> None:
    command = ["train.py", "fit", "${args_no_boolean_flags}"]
    sweep = read(tmp_path, command=command, parameters={"a": {"values": [True, False]}})
    assert (sweep.flags({"a": True}), sweep.flags({"a": False})) == (["fit", "--a"], ["fit"])


def test_a_grid_has_every_point_and_samples_have_every_value(tmp_path: Path) -> None:
    parameters = {
        "a": {"values": ["x", "y"]},
        "b": {"min": 1, "max": 3},
        "c": {"distribution": "q_uniform", "min": 0, "max": 0.5, "q": 0.25},
    }
    sweep = read(tmp_path, method="grid", parameters=parameters)
    points = sweep.points()
    assert len(points) == 2 * 3 * 3
    assert points[:2] == [{"a": "x", "b": 1, "c": 0.0}, {"a": "x", "b": 1, "c": 0.25}]
    assert sweep.samples() == [{"a": "x", "b": 1, "c": 0.0}, {"a": "y", "b": 3, "c": 0.5}]


def test_steps_end_where_the_last_fits_and_give_the_numbers_that_are_written(tmp_path: Path) -> None:
    steps = {"distribution": "q_uniform", "min": 0, "max": 0.7, "q": 0.1}
    parameters = {"a": {**steps, "max": 0.37}, "b": {"distribution": "q_uniform", "min": 64, "max": 250, "q": 64}}
    sweep = read(tmp_path, method="grid", parameters=parameters)
    assert [point["a"] for point in sweep.points()[::3]] == [0.0, 0.1, 0.2, 0.3]
    assert sweep.samples() == [{"a": 0.0, "b": 64}, {"a": 0.3, "b": 192}]
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # of Optuna, where a last step does not fit
        found = distributions(sweep)
    assert found == {"a": FloatDistribution(0.0, 0.3, step=0.1), "b": IntDistribution(64, 192, step=64)}
    assert _axis("b", sweep.domains["b"]).high == 192
    whole = read(tmp_path, method="grid", parameters={"a": steps}).points()
    assert [point["a"] for point in whole] == [0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7]
    assert sweep.flags({"a": 0.1 + 0.2, "b": 192})[-2:] == ["--a=0.3", "--b=192"]  # as Optuna adds steps up


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (1e-05, "1.0e-05"),
        (-2e16, "-2.0e+16"),
        (1.5e-07, "1.5e-07"),
        (0.25, "0.25"),
        (3, "3"),
        (False, "false"),
        ("1e-5", "1e-5"),
    ],
)
def test_yaml_reads_a_number_as_a_number(value: Any, shown: str) -> None:
    assert show_value(value) == shown
    if isinstance(value, float):
        assert yaml.safe_load(shown) == value


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"methods": "grid"}, "methods is not known here; there are command, "),
        ({"method": "sobol"}, "method is 'sobol'; choose bayes, grid, random"),
        ({"command": ...}, r"command is missing, as command: \["),
        ({"metric": ...}, "metric is missing"),
        ({"metric": "val/uar"}, "metric must be a mapping"),
        ({"metric": {"name": "val/uar"}}, "metric.goal is missing, as metric:"),
        ({"metric": {"name": "val/uar", "goal": "max"}}, "metric.goal is 'max'; choose maximize, minimize"),
        ({"metric": {"name": "val/uar", "goal": "maximize", "target": 1}}, "metric.target is not known here"),
        ({"metric": {"name": "val/loss", "goal": "maximize"}}, "looks for the worst val/loss; give minimize"),
        ({"metric": {"name": "val/uar", "goal": "minimize"}}, "looks for the worst val/uar; give maximize"),
        ({"metric": {"name": "test/uar", "goal": "maximize"}}, "metric.name is test/uar, and a sweep chooses on valid"),
        ({"metric": {"name": "oracle/uar", "goal": "maximize"}}, "metric.name is oracle/uar, and a sweep chooses on"),
        ({"program": "evaluate.py"}, "program is evaluate.py, and a trial is a training: train.py"),
        ({"run_cap": 0}, "run_cap is 0 and must be a whole number from 1"),
        ({"command": "python train.py"}, "command must be a list of words"),
        ({"command": ["bash", "train.py", "fit", "${args}"]}, r"command must run \$\{program\}"),
        ({"command": ["${program}", "${args}"]}, "command must say fit behind"),
        ({"command": ["${program}", "fit"]}, r"command must say \$\{args\} once"),
        ({"command": ["${program}", "fit", "${args_json}"]}, r"\$\{args_json\} cannot be filled, train.py takes flags"),
        ({"command": ["${program}", "fit", "${host}"]}, r"\$\{host\} cannot be filled, nothing is known of it"),
        ({"command": ["${program}", "fit", "${envvar:NO_SUCH}", "${args}"]}, r"envvar:NO_SUCH\} is not set; export"),
        ({"command": ["${program}", "fit", "--oracle", "${args}"]}, "--oracle is not for a trial .* never looks at"),
        ({"command": ["${program}", "fit", "--ckpt_path=last", "${args}"]}, "--ckpt_path is not for a trial"),
        ({"command": ["${program}", "fit", "--model.optim.lr=1", "${args}"]}, "--model.optim.lr is a parameter of the"),
        ({"early_terminate": {"type": "envelope"}}, "early_terminate.type is 'envelope'; choose hyperband"),
        ({"early_terminate": {"type": "hyperband"}}, "early_terminate needs either min_iter, or max_iter with s"),
        ({"early_terminate": {"type": "hyperband", "min_iter": 1, "s": 2}}, "early_terminate.s goes with max_iter"),
        ({"early_terminate": {"type": "hyperband", "max_iter": 9}}, "early_terminate.s is None and must be a whole"),
        ({"early_terminate": {"type": "hyperband", "min_iter": 1, "eta": 1}}, "early_terminate.eta is 1 and must be"),
        ({"early_terminate": {"type": "hyperband", "min_iter": 1, "strict": True}}, "early_terminate.strict ends"),
        ({"early_terminate": {"type": "hyperband", "min": 1}}, "early_terminate.min is not known here"),
        ({"parameters": {"a": {"value": 1}}}, "parameters: none of them varies"),
        ({"parameters": [1]}, "parameters must be a mapping"),
        ({"method": "grid"}, "parameters.model.optim.lr: a grid needs values or whole numbers"),
        ({"parameters": {"data.split.fold": {"values": [1, 2]}}}, "split.fold cannot be swept: values of other val"),
        ({"parameters": {"data.root": {"values": ["a", "b"]}}}, "data.root cannot be swept: values on other clips"),
        ({"parameters": {"model.config.labels": {"values": ["a", "b"]}}}, "labels cannot be swept: values over other"),
        ({"parameters": {"trainer.devices": {"values": [1, 2]}}}, "trainer.devices cannot be swept: a trial is put on"),
        ({"parameters": {"trainer.accelerator": {"value": "cpu"}}}, "trainer.accelerator cannot be swept: a trial is"),
        ({"parameters": {"oracle": {"values": [True]}}}, "oracle cannot be swept: a sweep never looks at"),
        ({"parameters": {"a": {"parameters": {}, "min": 1}}}, "parameters.a has parameters of its own"),
    ],
)  # fmt: skip
def test_what_cannot_be_done_is_refused_in_one_line(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=rf"s\.yaml: .*{message}") as caught:
        read(tmp_path, **changes)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({}, "needs value, values, or min and max"),
        (5, "must be a mapping"),
        ({"lo": 1}, "lo is not known here; there are a, b, distribution"),
        ({"distribution": "gauss"}, "distribution is 'gauss'; choose categorical, constant"),
        ({"distribution": "normal", "mu": 0, "sigma": 1}, "distribution normal is not drawn here; choose"),
        ({"distribution": "inv_log_uniform_values", "min": 1, "max": 2}, "inv_log_uniform_values is not drawn here"),
        ({"values": []}, "values must be a list with something in it"),
        ({"values": [1, 1]}, "values names a value twice"),
        ({"values": [1, None]}, "write 'null', with its quotes"),
        ({"values": [1, 2], "probabilities": [0.1, 0.9]}, "probabilities: every value is as likely here"),
        ({"values": [1, 2], "probabilities": 0.5}, "probabilities must be a list, with one for each value; or leave"),
        ({"values": [1, 2], "probabilities": [0.5]}, "probabilities must be a list, with one for each value"),
        ({"distribution": "log_uniform", "min": 64, "max": 1024}, "1024 is too large .* distribution: log_uniform_val"),
        ({"min": 0, "max": 10**400}, "max is a whole number of more digits than can be counted with; give a smaller"),
        ({"min": 0, "max": 10**29}, r"from 0 to 1e\+29 are too many steps of 1 to be counted; give fewer"),
        ({"distribution": "q_uniform", "min": 0, "max": 1, "q": 1e-30}, "too many steps of 1e-30 to be counted"),
        ({"values": [1, 2], "min": 1}, "categorical has no use for min"),
        ({"distribution": "uniform", "min": 1}, "uniform needs max"),
        ({"min": 2, "max": 1}, "min is 2 and more than max, 1"),
        ({"min": "1e-5", "max": 1}, "min is '1e-5' and no number; YAML takes 1e-5 for a word, write 1.0e-5"),
        ({"distribution": "log_uniform_values", "min": 0, "max": 1}, "only a positive number has a logarithm"),
        ({"distribution": "int_uniform", "min": 0.5, "max": 2}, "int_uniform needs whole numbers"),
        ({"distribution": "q_uniform", "min": 0.1, "max": 1, "q": 0.25}, "min must be a multiple of q"),
        ({"distribution": "q_log_uniform_values", "min": 1, "max": 9, "q": 2}, "for whole numbers and q: 1 alone"),
        ({"min": 1, "max": 3, "q": 2}, "int_uniform has no use for q"),
    ],
)  # fmt: skip
def test_a_parameter_that_cannot_be_drawn_is_refused_by_its_name(spec: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=rf"parameters\.model\.optim\.lr.*{message}"):
        read(tmp_path, parameters={"model.optim.lr": spec})


def test_files_that_are_none_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.yaml does not exist; name a sweep"):
        read_sweep(tmp_path / "none.yaml")
    (tmp_path / "bad.yaml").write_text("a: [")
    with pytest.raises(ConfigError, match=r"bad\.yaml is no YAML: "):
        read_sweep(tmp_path / "bad.yaml")
    (tmp_path / "bytes.yaml").write_bytes(b"\xff\xfe\xfa")
    with pytest.raises(ConfigError, match=r"bytes\.yaml cannot be read: "):
        read_sweep(tmp_path / "bytes.yaml")


def test_flags_that_undo_a_parameter_are_refused(tmp_path: Path) -> None:
    sweep = read(tmp_path).domains
    with pytest.raises(ConfigError, match=r"--model\.optim\.lr is a parameter of the sweep"):
        check_flags(["--model.optim.lr=1"], sweep)
    with pytest.raises(ConfigError, match="default_root_dir is not for a trial of a sweep: every trial has a folder"):
        check_flags(["--trainer.default_root_dir=x"], sweep)
    check_flags(["--trainer.max_epochs=3"], sweep)
