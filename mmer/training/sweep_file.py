"""A sweep as Weights & Biases writes it down, read and checked before anything starts."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any, Literal, get_args

import yaml

from mmer.corpora.manifest import listed
from mmer.errors import ConfigError

Plain = bool | int | float | str
"""What a parameter can be."""

Method = Literal["grid", "random", "bayes"]
"""How the next trial is found: all of them in turn, at random, or where the finished ones were good."""

Goal = Literal["maximize", "minimize"]
"""Which end of the metric is the good one."""

_TOP = ("program", "command", "method", "metric", "parameters", "early_terminate", "run_cap")
_TOLD = ("name", "description", "project", "entity")  # what Weights & Biases alone wants to know
_SPANS = {  # what each way of drawing a number needs
    "int_uniform": ("min", "max"),
    "uniform": ("min", "max"),
    "q_uniform": ("min", "max", "q"),
    "log_uniform": ("min", "max"),
    "log_uniform_values": ("min", "max"),
    "q_log_uniform_values": ("min", "max", "q"),
}
_DRAWN = ("constant", "categorical", *_SPANS)
_ELSEWHERE = (
    *("categorical_w_probabilities", "q_log_uniform", "inv_log_uniform", "inv_log_uniform_values", "normal"),
    *("q_normal", "log_normal", "q_log_normal", "beta", "q_beta"),
)
_KEYS = (
    *("distribution", "value", "values", "probabilities", "min", "max", "q", "mu", "sigma", "a", "b"),
    "parameters",
)
_HALVING = ("type", "min_iter", "max_iter", "s", "eta", "strict")
_ARGS = ("${args}", "${args_no_equals}", "${args_no_boolean_flags}")
_NO_FLAGS = re.compile(r"\$\{args\w+\}")
_INTERPRETERS = ("${interpreter}", "python", "python3")
_ENVIRONMENT = re.compile(r"\$\{envvar:(\w+)\}")
_EXAMPLE = "[${env}, python, ${program}, fit, --config=FILE, ${args}]"
_NOT_SWEPT = {
    "data.split": "values of other validation speakers cannot be compared; mmer crossval trains every fold",
    "data.root": "values on other clips cannot be compared; sweep each corpus apart",
    "model.config.labels": "values over other classes cannot be compared; sweep each label set apart",
    "trainer.default_root_dir": "every trial has a folder of its own",
    "trainer.logger": "the sweep reads each trial's own log",
    "trainer.fast_dev_run": "it leaves no values to compare",
    "config": "name one in the command",
    "overwrite": "every trial has a folder of its own",
    "wandb": "give it in the command",
}
_NOT_HERE = {
    "--oracle": "a sweep never looks at the test speakers",
    "--ckpt_path": "every trial begins anew",
    "--print_config": "mmer sweep has --dry-run",
    "--help": "see python train.py fit --help",
}


@dataclass(frozen=True, slots=True)
class Choice:
    """One of some values.

    Args:
        values: The values; a list or a mapping is the text that a flag has of it.
    """

    values: tuple[Plain, ...]

    def __str__(self) -> str:
        return f"one of {', '.join(map(show_value, self.values))}"


@dataclass(frozen=True, slots=True)
class Span:
    """A number between two others, both included.

    Args:
        low: The least.
        high: The largest.
        log: Whether each tenfold is as likely as the next.
        step: From one possible number to the next; None where all are possible.
        whole: Whether it is a whole number.
    """

    low: float
    high: float
    log: bool = False
    step: float | None = None
    whole: bool = False

    def __str__(self) -> str:
        kind = "whole, " if self.whole else ""
        way = "each tenfold as likely" if self.log else "" if self.step is None else f"in steps of {self.step:g}"
        return f"{self.low:g} to {self.high:g}" + (f", {kind}{way}".removesuffix(", ") if kind or way else "")


Domain = Choice | Span
"""What a parameter can be, and how it is drawn."""


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
        words = [word for each in self.command for word in _fill(each, {**self.fixed, **params})]
        return list(_without_wandb(words))

    def points(self) -> list[dict[str, Plain]]:
        """Return every point of a grid, the last parameter changing first."""
        every = product(*map(_values, self.domains.values()))
        return [dict(zip(self.domains, values, strict=True)) for values in every]

    def samples(self) -> list[dict[str, Plain]]:
        """Return trials in which every value of every choice occurs, and both ends of every span."""
        ends = [_ends(domain) for domain in self.domains.values()]
        return [
            {name: values[i % len(values)] for name, values in zip(self.domains, ends, strict=True)}
            for i in range(max(map(len, ends)))
        ]


def read_sweep(path: Path) -> Sweep:
    """Read a sweep.

    Raises:
        ConfigError: It is no sweep, or one that cannot be done here.
    """
    try:
        plain = yaml.safe_load(path.read_text(encoding="utf-8"))
        return _sweep(path.stem, _mapping(plain, "the file"))
    except FileNotFoundError as error:
        raise ConfigError(f"{path} does not exist; name a sweep, as configs/sweeps/wave_frames.yaml") from error
    except (OSError, UnicodeError) as error:
        raise ConfigError(f"{path} cannot be read: {error}") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{path} is no YAML: {' '.join(str(error).split())}") from error
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error


def show_value(value: Plain) -> str:
    """Return a value as a flag has it; YAML takes 1e-05 for a word, and 1.0e-05 for a number."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return re.sub(r"^(-?\d+)e", r"\1.0e", repr(value))
    return str(value)


def check_flags(flags: Sequence[str], sweep: Sweep) -> None:
    """Refuse flags of ``train.py`` that are not for a trial, and those that would undo a parameter.

    Raises:
        ConfigError: There is one.
    """
    for flag in flags:
        name = flag.partition("=")[0]
        if name in _NOT_HERE:
            raise ConfigError(f"{name} is not for a trial of a sweep: {_NOT_HERE[name]}")
        if name == "--trainer.default_root_dir":
            raise ConfigError(f"{name} is not for a trial of a sweep: {_NOT_SWEPT['trainer.default_root_dir']}")
        if name.removeprefix("--") in {**sweep.domains, **sweep.fixed}:
            raise ConfigError(f"{name} is a parameter of the sweep; leave it out, or change the file")


def _sweep(name: str, plain: Mapping[str, Any]) -> Sweep:
    _refuse_strangers(plain, (*_TOP, *_TOLD), "")
    if missing := [key for key in ("program", "method", "metric", "parameters", "command") if key not in plain]:
        hint = f", as command: {_EXAMPLE}" if missing[0] == "command" else ""
        raise ConfigError(f"{missing[0]} is missing{hint}")
    domains = dict(_domains(_mapping(plain["parameters"], "parameters"), ""))
    fixed = {name: each.values[0] for name, each in domains.items() if isinstance(each, Choice) and _is_one(each)}
    metric, goal = _metric(plain["metric"])
    sweep = Sweep(
        name=name,
        method=_one_of(plain["method"], get_args(Method), "method"),
        metric=metric,
        goal=goal,
        domains={name: each for name, each in domains.items() if name not in fixed},
        fixed=fixed,
        program=_program(plain["program"]),
        command=_command(plain["command"]),
        halving=_halving(plain.get("early_terminate")),
        run_cap=None if plain.get("run_cap") is None else _whole(plain["run_cap"], "run_cap", 1),
    )
    if not sweep.domains:
        raise ConfigError("parameters: none of them varies, so there is nothing to sweep; give one several values")
    endless = [name for name, each in sweep.domains.items() if isinstance(each, Span) and each.step is None]
    if sweep.method == "grid" and endless:
        raise ConfigError(f"parameters.{endless[0]}: a grid needs values or whole numbers; or choose method: random")
    check_flags([word for word in sweep.command if word.startswith("-")], sweep)
    return sweep


def _metric(plain: Any) -> tuple[str, Goal]:
    metric = _mapping(plain, "metric")
    _refuse_strangers(metric, ("name", "goal"), "metric.")
    for key in ("name", "goal"):
        if key not in metric:
            raise ConfigError(f"metric.{key} is missing, as metric: {{name: val/uar, goal: maximize}}")
    name = str(metric["name"])
    if not name.startswith("val/"):
        raise ConfigError(
            f"metric.name is {name}, and a sweep chooses on validation speakers alone; choose val/uar, val/accuracy, "
            "val/macro_f1 or val/loss"
        )
    return name, _one_of(metric["goal"], get_args(Goal), "metric.goal")


def _program(plain: Any) -> str:
    if Path(str(plain)).name != "train.py":
        raise ConfigError(f"program is {plain}, and a trial is a training: train.py")
    return str(plain)


def _command(plain: Any) -> tuple[str, ...]:
    """Return what stands behind the program."""
    if not isinstance(plain, list) or not plain:
        raise ConfigError(f"command must be a list of words, as {_EXAMPLE}")
    words = [_with_environment(str(word)) for word in plain]
    start = words[1:] if words[0] == "${env}" else words
    start = start[1:] if start[:1] and start[0] in _INTERPRETERS else start
    if not start or not (start[0] == "${program}" or Path(start[0]).name == "train.py"):
        raise ConfigError(f"command must run ${{program}}, as {_EXAMPLE}")
    rest = start[1:]
    if rest[:1] != ["fit"]:
        raise ConfigError(f"command must say fit behind ${{program}}, as {_EXAMPLE}")
    if strange := [word for word in rest if "${" in word and word not in _ARGS]:
        why = "train.py takes flags" if _NO_FLAGS.search(strange[0]) else "nothing is known of it"
        raise ConfigError(f"command: {strange[0]} cannot be filled, {why}; use {listed(_ARGS)} or ${{envvar:NAME}}")
    if sum(word in _ARGS for word in rest) != 1:
        raise ConfigError("command must say ${args} once, for the parameters")
    return tuple(rest)


def _with_environment(word: str) -> str:
    for name in _ENVIRONMENT.findall(word):
        if name not in os.environ:
            raise ConfigError(f"command: ${{envvar:{name}}} is not set; export {name}=...")
    return _ENVIRONMENT.sub(lambda found: os.environ[found[1]], word)


def _halving(plain: Any) -> Halving | None:
    """Return when trials are ended; Weights & Biases names the first of the moments, or the last and how many."""
    if plain is None:
        return None
    early = _mapping(plain, "early_terminate")
    _refuse_strangers(early, _HALVING, "early_terminate.")
    _one_of(early.get("type"), ("hyperband",), "early_terminate.type")
    if early.get("strict"):
        raise ConfigError("early_terminate.strict ends trials between its moments, which is not done here; leave it")
    factor = _whole(early.get("eta", 3), "early_terminate.eta", 2)
    if ("min_iter" in early) == ("max_iter" in early):
        raise ConfigError("early_terminate needs either min_iter, or max_iter with s")
    if "min_iter" in early:
        if "s" in early:
            raise ConfigError("early_terminate.s goes with max_iter; leave it out beside min_iter")
        return Halving(_whole(early["min_iter"], "early_terminate.min_iter", 1), factor)
    last, moments = (_whole(early.get(key), f"early_terminate.{key}", 1) for key in ("max_iter", "s"))
    return Halving(max(1, last // factor**moments), factor)


def _domains(plain: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Domain]]:
    """Yield parameters by their dotted names; those inside others come out one by one."""
    for key, spec in plain.items():
        name, where = f"{prefix}{key}", f"parameters.{prefix}{key}"
        spec = _mapping(spec, where)
        _refuse_strangers(spec, _KEYS, f"{where}.")
        if "parameters" in spec:
            if len(spec) > 1:
                raise ConfigError(f"{where} has parameters of its own and can have nothing beside them")
            yield from _domains(_mapping(spec["parameters"], where), f"{name}.")
            continue
        for refused, why in _NOT_SWEPT.items():
            if name == refused or name.startswith(f"{refused}."):
                raise ConfigError(f"{where} cannot be swept: {why}")
        if name in (flag.removeprefix("--") for flag in _NOT_HERE):
            raise ConfigError(f"{where} cannot be swept: {_NOT_HERE[f'--{name}']}")
        yield name, _domain(spec, where)


def _domain(spec: Mapping[str, Any], where: str) -> Domain:
    drawn = spec["distribution"] if "distribution" in spec else _guess(spec, where)
    if drawn in _ELSEWHERE:
        raise ConfigError(
            f"{where}: distribution {drawn} is not drawn here; choose {listed(_DRAWN)}, or leave it to wandb agent"
        )
    _one_of(drawn, _DRAWN, f"{where}.distribution")
    if drawn == "constant":
        _expect(spec, ("value",), drawn, where)
        return Choice((_plain(spec["value"], f"{where}.value"),))
    if drawn == "categorical":
        _expect(spec, ("values",), drawn, where, also=("probabilities",))
        return _choice(spec, where)
    needed = _SPANS[drawn]
    _expect(spec, tuple(key for key in needed if key != "q"), drawn, where, also=needed)
    return _span(drawn, spec, where)


def _guess(spec: Mapping[str, Any], where: str) -> str:
    """Return how a parameter is drawn that does not say it, as Weights & Biases would."""
    if "value" in spec:
        return "constant"
    if "values" in spec:
        return "categorical"
    if {"min", "max"} <= spec.keys():
        whole = all(isinstance(spec[key], int) for key in ("min", "max"))
        return "int_uniform" if whole else "uniform"
    raise ConfigError(f"{where} needs value, values, or min and max")


def _choice(spec: Mapping[str, Any], where: str) -> Choice:
    values, chances = spec["values"], spec.get("probabilities")
    if not isinstance(values, list) or not values:
        raise ConfigError(f"{where}.values must be a list with something in it")
    if chances is not None and len(set(map(str, chances))) > 1:
        raise ConfigError(f"{where}.probabilities: every value is as likely here; leave them out, or use wandb agent")
    found = tuple(_plain(value, f"{where}.values") for value in values)
    if len({show_value(value) for value in found}) < len(found):
        raise ConfigError(f"{where}.values names a value twice")
    return Choice(found)


def _span(drawn: str, spec: Mapping[str, Any], where: str) -> Domain:
    low, high, step = (_number(spec.get(key, 1), f"{where}.{key}") for key in ("min", "max", "q"))
    whole = all(isinstance(spec.get(key, 1), int) for key in ("min", "max", "q"))
    log = "log" in drawn
    if drawn == "log_uniform":
        low, high, whole = math.exp(low), math.exp(high), False
    if log and low <= 0:
        raise ConfigError(f"{where}.min is {low:g}, and only a positive number has a logarithm")
    if low > high:
        raise ConfigError(f"{where}.min is {low:g} and more than max, {high:g}")
    if low == high:
        return Choice((int(low) if whole else low,))
    if drawn == "int_uniform" and not whole:
        raise ConfigError(f"{where}: int_uniform needs whole numbers as min and max")
    if drawn == "int_uniform":
        return Span(low, high, step=1.0, whole=True)
    if drawn == "q_log_uniform_values":
        if not whole or step != 1:
            raise ConfigError(f"{where}: q_log_uniform_values is drawn here for whole numbers and q: 1 alone")
        return Span(low, high, log=True, step=1.0, whole=True)
    if drawn == "q_uniform":
        if step <= 0 or not math.isclose(low / step, round(low / step), abs_tol=1e-9):
            raise ConfigError(f"{where}: min must be a multiple of q, which must be positive")
        return Span(low, high, step=step, whole=whole)
    return Span(low, high, log=log)


def _number(value: Any, where: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        hint = "; YAML takes 1e-5 for a word, write 1.0e-5" if isinstance(value, str) else ""
        raise ConfigError(f"{where} is {value!r} and no number{hint}")
    return float(value)


def _whole(value: Any, where: str, least: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ConfigError(f"{where} is {value!r} and must be a whole number from {least}")
    return value


def _plain(value: Any, where: str) -> Plain:
    if value is None:
        raise ConfigError(f"{where}: wandb agent would write an empty value as None; write 'null', with its quotes")
    return value if isinstance(value, bool | int | float | str) else str(value)


def _one_of(value: Any, allowed: Collection[Any], where: str) -> Any:
    if value not in allowed:
        raise ConfigError(f"{where} is {value!r}; choose {listed(allowed)}")
    return value


def _mapping(value: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise ConfigError(f"{where} must be a mapping of names to what belongs to them, and is {value!r}")
    return {str(key): each for key, each in value.items()}


def _refuse_strangers(plain: Mapping[str, Any], known: Collection[str], where: str) -> None:
    if strange := [key for key in plain if key not in known]:
        raise ConfigError(f"{where}{strange[0]} is not known here; there are {listed(known)}")


def _expect(spec: Mapping[str, Any], needed: Sequence[str], drawn: str, where: str, also: Collection[str] = ()) -> None:
    """Refuse a parameter that lacks something, or has something that its distribution has no use for."""
    if missing := [key for key in needed if key not in spec]:
        raise ConfigError(f"{where}: {drawn} needs {missing[0]}")
    if spare := [key for key in spec if key not in (*needed, *also, "distribution")]:
        raise ConfigError(f"{where}: {drawn} has no use for {spare[0]}")


def _is_one(choice: Choice) -> bool:
    return len(choice.values) == 1


def _values(domain: Domain) -> Sequence[Plain]:
    """Return every value of a parameter that has finitely many."""
    if isinstance(domain, Choice):
        return domain.values
    step = domain.step or 1.0
    count = math.floor((domain.high - domain.low) / step + 1e-9) + 1
    found = [domain.low + i * step for i in range(count)]
    return [round(value) for value in found] if domain.whole else found


def _ends(domain: Domain) -> Sequence[Plain]:
    if isinstance(domain, Choice):
        return domain.values
    return [round(domain.low), round(domain.high)] if domain.whole else [domain.low, domain.high]


def _fill(word: str, params: Mapping[str, Plain]) -> list[str]:
    """Return a word of the command, with the parameters where they belong."""
    if word == "${args}":
        return [f"--{name}={show_value(value)}" for name, value in params.items()]
    if word == "${args_no_equals}":
        return [each for name, value in params.items() for each in (f"--{name}", show_value(value))]
    if word == "${args_no_boolean_flags}":
        shown = {name: "" if value is True else f"={show_value(value)}" for name, value in params.items()}
        return [f"--{name}{shown[name]}" for name, value in params.items() if value is not False]
    return [word]


def _without_wandb(words: Sequence[str]) -> Iterator[str]:
    """Leave out ``--wandb PROJECT`` and whatever else is about it."""
    skipped = False
    for word in words:
        value, skipped = skipped and not word.startswith("-"), False
        if word.startswith("--wandb"):
            skipped = "=" not in word
        elif not value:
            yield word
