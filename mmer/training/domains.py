"""What the parameters of a sweep can be, as Weights & Biases writes it down."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import yaml

from mmer.corpora.manifest import listed
from mmer.errors import ConfigError
from mmer.training.checked import mapping, number, one_of, refuse_strangers
from mmer.training.sweepable import check_parameter

Plain = bool | int | float | str
"""What a parameter can be."""

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
_STEPPED = ("int_uniform", "q_uniform", "q_log_uniform_values")
_MOST = 1e15  # steps of a span; a number has sixteen digits
_KEYS = (
    *("distribution", "value", "values", "probabilities", "min", "max", "q", "mu", "sigma", "a", "b"),
    "parameters",
)


@dataclass(frozen=True, slots=True)
class Choice:
    """One of some values.

    Args:
        values: The values; a list or a mapping is the text that a flag has of it.
    """

    values: tuple[Plain, ...]

    def __str__(self) -> str:
        return f"one of {', '.join(map(_tell, self.values))}"


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

    @property
    def last(self) -> float:
        """The largest that can be drawn; with steps it may be less than ``high``."""
        return self.high if self.step is None else self.at(self.steps)

    @property
    def steps(self) -> int:
        """How many steps lie between the least and the largest that can be drawn."""
        return int((_exactly(self.high) - _exactly(self.low)) // _exactly(self.step or 1.0))

    def at(self, steps: int) -> float:
        """Return the number that is so many steps above the least, as it is written: 0.3, and not 0.1 three times."""
        return float(_exactly(self.low) + steps * _exactly(self.step or 1.0))

    def __str__(self) -> str:
        kind = "whole, " if self.whole else ""
        way = "each tenfold as likely" if self.log else "" if self.step is None else f"in steps of {self.step:g}"
        return f"{self.low:g} to {self.high:g}" + (f", {kind}{way}".removesuffix(", ") if kind or way else "")


Domain = Choice | Span
"""What a parameter can be, and how it is drawn."""


def show_value(value: Plain) -> str:
    """Return a value as a flag has it; YAML takes 1e-05 for a word, and 1.0e-05 for a number."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return re.sub(r"^(-?\d+)e", r"\1.0e", repr(value))
    return str(value)


def read_domains(plain: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Domain]]:
    """Yield parameters by their dotted names; those inside others come out one by one.

    Args:
        plain: What the file says of them.
        prefix: The names of those in which they are, with a dot at the end.

    Raises:
        ConfigError: One cannot be swept, or not so.
    """
    for key, spec in plain.items():
        name, where = f"{prefix}{key}", f"parameters.{prefix}{key}"
        spec = mapping(spec, where)
        refuse_strangers(spec, _KEYS, f"{where}.")
        if "parameters" in spec:
            if len(spec) > 1:
                raise ConfigError(f"{where} has parameters of its own and can have nothing beside them")
            yield from read_domains(mapping(spec["parameters"], where), f"{name}.")
            continue
        check_parameter(name)
        yield name, _domain(spec, where)


def every_value(domain: Domain) -> Sequence[Plain]:
    """Return every value of a parameter that has finitely many."""
    if isinstance(domain, Choice):
        return domain.values
    found = [domain.at(steps) for steps in range(domain.steps + 1)]
    return [round(value) for value in found] if domain.whole else found


def ends(domain: Domain) -> Sequence[Plain]:
    """Return the values of a choice, or the least and the largest that a span can give."""
    if isinstance(domain, Choice):
        return domain.values
    return [round(domain.low), round(domain.last)] if domain.whole else [domain.low, domain.last]


def as_written(value: Plain, domain: Domain) -> Plain:
    """Return a value that was drawn with steps as one would write it: 0.3, and not 0.30000000000000004."""
    if isinstance(domain, Span) and domain.step is not None and not domain.whole:
        return domain.at(round((float(value) - domain.low) / domain.step))
    return value


def _exactly(value: float) -> Decimal:
    """Return a number as it is written."""
    return Decimal(repr(value))


def _tell(value: Plain) -> str:
    """Return a value as it can be told from all others: the word '1' is not the number."""
    return repr(value) if isinstance(value, str) and not isinstance(yaml.safe_load(value), str) else show_value(value)


def _domain(spec: Mapping[str, Any], where: str) -> Domain:
    drawn = spec["distribution"] if "distribution" in spec else _guess(spec, where)
    if drawn in _ELSEWHERE:
        raise ConfigError(
            f"{where}: distribution {drawn} is not drawn here; choose {listed(_DRAWN)}, or leave it to wandb agent"
        )
    one_of(drawn, _DRAWN, f"{where}.distribution")
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
    if chances is not None and not (isinstance(chances, list) and len(chances) == len(values)):
        raise ConfigError(f"{where}.probabilities must be a list, with one for each value; or leave them out")
    if chances is not None and len(set(map(str, chances))) > 1:
        raise ConfigError(f"{where}.probabilities: every value is as likely here; leave them out, or use wandb agent")
    found = tuple(_plain(value, f"{where}.values") for value in values)
    if len({show_value(value) for value in found}) < len(found):
        raise ConfigError(f"{where}.values names a value twice")
    return Choice(found)


def _span(drawn: str, spec: Mapping[str, Any], where: str) -> Domain:
    low, high, step = (number(spec.get(key, 1), f"{where}.{key}") for key in ("min", "max", "q"))
    whole = all(isinstance(spec.get(key, 1), int) for key in ("min", "max", "q"))
    log = "log" in drawn
    if drawn == "log_uniform":
        low, high, whole = _exp(low, where), _exp(high, where), False
    if log and low <= 0:
        raise ConfigError(f"{where}.min is {low:g}, and only a positive number has a logarithm")
    if low > high:
        raise ConfigError(f"{where}.min is {low:g} and more than max, {high:g}")
    if low == high:
        return Choice((int(low) if whole else low,))
    if drawn == "int_uniform" and not whole:
        raise ConfigError(f"{where}: int_uniform needs whole numbers as min and max")
    if drawn in _STEPPED and 0 < step < (high - low) / _MOST:
        raise ConfigError(f"{where}: from {low:g} to {high:g} are too many steps of {step:g} to be counted; give fewer")
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


def _exp(exponent: float, where: str) -> float:
    try:
        return math.exp(exponent)
    except OverflowError as error:
        raise ConfigError(
            f"{where}: log_uniform takes exponents of e, and {exponent:g} is too large for one; for real values write "
            "distribution: log_uniform_values"
        ) from error


def _plain(value: Any, where: str) -> Plain:
    if value is None:
        raise ConfigError(f"{where}: wandb agent would write an empty value as None; write 'null', with its quotes")
    return value if isinstance(value, bool | int | float | str) else str(value)


def _expect(spec: Mapping[str, Any], needed: Sequence[str], drawn: str, where: str, also: Collection[str] = ()) -> None:
    """Refuse a parameter that lacks something, or has something that its distribution has no use for."""
    if missing := [key for key in needed if key not in spec]:
        raise ConfigError(f"{where}: {drawn} needs {missing[0]}")
    if spare := [key for key in spec if key not in (*needed, *also, "distribution")]:
        raise ConfigError(f"{where}: {drawn} has no use for {spare[0]}")
