"""A sweep as Weights & Biases writes it down, read and checked before anything starts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any, Literal, get_args

import yaml

from mmer.errors import ConfigError
from mmer.training.checked import mapping, one_of, refuse_strangers, whole
from mmer.training.domains import Choice, Domain, Plain, Span, as_written, ends, every_value, read_domains
from mmer.training.sweep_command import EXAMPLE, fill, read_command
from mmer.training.sweepable import check_flags

Method = Literal["grid", "random", "bayes"]
"""How the next trial is found: all of them in turn, at random, or where the finished ones were good."""

Goal = Literal["maximize", "minimize"]
"""Which end of the metric is the good one."""

Pruner = Literal["none", "median", "halving", "hyperband"]
"""When trials are ended early: never; where they are below the median of the others; where they are not among the best
after so many epochs; the same with several such ladders, among which trials are dealt."""

_BETTER: dict[str, Goal] = {
    "val/loss": "minimize",
    "val/uar": "maximize",
    "val/accuracy": "maximize",
    "val/macro_f1": "maximize",
}
_TOP = ("program", "command", "method", "metric", "parameters", "early_terminate", "run_cap")
_TOLD = ("name", "description", "project", "entity")  # what Weights & Biases alone wants to know
_HALVING = ("type", "min_iter", "max_iter", "s", "eta", "strict")


@dataclass(frozen=True, slots=True)
class Halving:
    """When a trial is ended early: after some epochs, and then each time after more, unless it is among the best.

    Args:
        epochs: After how many first.
        factor: Of so many trials one goes on, and for so many times the epochs.
    """

    epochs: int
    factor: int


@dataclass(frozen=True, slots=True)
class Sweep:
    """A sweep.

    Args:
        name: What it is called, as its file.
        method: How the next trial is found.
        metric: What is compared, of the validation speakers.
        goal: Whether much or little of it is good.
        domains: What each parameter can be, by its dotted name.
        fixed: Parameters that are the same in every trial.
        program: The training's program.
        command: What stands behind it, ``${args}`` included.
        halving: When a trial is ended early; None never.
        run_cap: How many trials there are at most.
    """

    name: str
    method: Method
    metric: str
    goal: Goal
    domains: dict[str, Domain]
    fixed: dict[str, Plain]
    program: str
    command: tuple[str, ...]
    halving: Halving | None = None
    run_cap: int | None = None

    def flags(self, params: Mapping[str, Plain]) -> list[str]:
        """Return what stands behind ``train.py`` in a trial, ``fit`` included.

        Flags of Weights & Biases are left out: the engine on this machine needs no account.
        """
        return fill(self.command, {**self.fixed, **self.as_written(params)})

    def as_written(self, params: Mapping[str, Plain]) -> dict[str, Plain]:
        """Return the parameters of a trial as one would write them."""
        return {name: as_written(value, self.domains[name]) for name, value in params.items()}

    def points(self) -> list[dict[str, Plain]]:
        """Return every point of a grid, the last parameter changing first."""
        every = product(*map(every_value, self.domains.values()))
        return [dict(zip(self.domains, values, strict=True)) for values in every]

    def samples(self) -> list[dict[str, Plain]]:
        """Return trials in which every value of every choice occurs, and both ends of every span."""
        every = [ends(domain) for domain in self.domains.values()]
        return [
            {name: values[i % len(values)] for name, values in zip(self.domains, every, strict=True)}
            for i in range(max(map(len, every)))
        ]


def read_sweep(path: Path) -> Sweep:
    """Read a sweep.

    Raises:
        ConfigError: It is no sweep, or one that cannot be done here.
    """
    try:
        plain = yaml.safe_load(path.read_text(encoding="utf-8"))
        return _sweep(path.stem, mapping(plain, "the file"))
    except FileNotFoundError as error:
        raise ConfigError(f"{path} does not exist; name a sweep, as configs/sweeps/wave_frames.yaml") from error
    except (OSError, UnicodeError) as error:
        raise ConfigError(f"{path} cannot be read: {error}") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{path} is no YAML: {' '.join(str(error).split())}") from error
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error


def _sweep(name: str, plain: Mapping[str, Any]) -> Sweep:
    refuse_strangers(plain, (*_TOP, *_TOLD), "")
    if missing := [key for key in ("program", "method", "metric", "parameters", "command") if key not in plain]:
        hint = f", as command: {EXAMPLE}" if missing[0] == "command" else ""
        raise ConfigError(f"{missing[0]} is missing{hint}")
    domains = dict(read_domains(mapping(plain["parameters"], "parameters")))
    choices = {name: each.values for name, each in domains.items() if isinstance(each, Choice)}
    fixed = {name: values[0] for name, values in choices.items() if len(values) == 1}
    metric, goal = _metric(plain["metric"])
    sweep = Sweep(
        name=name,
        method=one_of(plain["method"], get_args(Method), "method"),
        metric=metric,
        goal=goal,
        domains={name: each for name, each in domains.items() if name not in fixed},
        fixed=fixed,
        program=_program(plain["program"]),
        command=read_command(plain["command"]),
        halving=_halving(plain.get("early_terminate")),
        run_cap=None if plain.get("run_cap") is None else whole(plain["run_cap"], "run_cap", 1),
    )
    if not sweep.domains:
        raise ConfigError("parameters: none of them varies, so there is nothing to sweep; give one several values")
    endless = [name for name, each in sweep.domains.items() if isinstance(each, Span) and each.step is None]
    if sweep.method == "grid" and endless:
        raise ConfigError(f"parameters.{endless[0]}: a grid needs values or whole numbers; or choose method: random")
    check_flags([word for word in sweep.command if word.startswith("-")], (*sweep.domains, *sweep.fixed))
    return sweep


def _metric(plain: Any) -> tuple[str, Goal]:
    metric = mapping(plain, "metric")
    refuse_strangers(metric, ("name", "goal"), "metric.")
    for key in ("name", "goal"):
        if key not in metric:
            raise ConfigError(f"metric.{key} is missing, as metric: {{name: val/uar, goal: maximize}}")
    name = str(metric["name"])
    if not name.startswith("val/"):
        raise ConfigError(
            f"metric.name is {name}, and a sweep chooses on validation speakers alone; choose val/uar, val/accuracy, "
            "val/macro_f1 or val/loss"
        )
    goal: Goal = one_of(metric["goal"], get_args(Goal), "metric.goal")
    better = _BETTER.get(name, goal)
    if goal != better:
        raise ConfigError(f"metric.goal is {goal}, which looks for the worst {name}; give {better}")
    return name, goal


def _program(plain: Any) -> str:
    if Path(str(plain)).name != "train.py":
        raise ConfigError(f"program is {plain}, and a trial is a training: train.py")
    return str(plain)


def _halving(plain: Any) -> Halving | None:
    """Return when trials are ended; Weights & Biases names the first of the moments, or the last and how many."""
    if plain is None:
        return None
    early = mapping(plain, "early_terminate")
    refuse_strangers(early, _HALVING, "early_terminate.")
    one_of(early.get("type"), ("hyperband",), "early_terminate.type")
    if early.get("strict"):
        raise ConfigError("early_terminate.strict ends trials between its moments, which is not done here; leave it")
    factor = whole(early.get("eta", 3), "early_terminate.eta", 2)
    if ("min_iter" in early) == ("max_iter" in early):
        raise ConfigError("early_terminate needs either min_iter, or max_iter with s")
    if "min_iter" in early:
        if "s" in early:
            raise ConfigError("early_terminate.s goes with max_iter; leave it out beside min_iter")
        return Halving(whole(early["min_iter"], "early_terminate.min_iter", 1), factor)
    last, moments = (whole(early.get(key), f"early_terminate.{key}", 1) for key in ("max_iter", "s"))
    return Halving(max(1, last // factor**moments), factor)
