"""Values of a YAML file, checked one by one and refused by the name of their place."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from typing import Any

from mmer.corpora.manifest import listed
from mmer.errors import ConfigError


def mapping(value: Any, where: str) -> Mapping[str, Any]:
    """Return a mapping, its names as words.

    Raises:
        ConfigError: It is something else.
    """
    if not isinstance(value, Mapping):
        raise ConfigError(f"{where} must be a mapping of names to what belongs to them, and is {value!r}")
    return {str(key): each for key, each in value.items()}


def one_of(value: Any, allowed: Collection[Any], where: str) -> Any:
    """Return a value that is among those that are allowed.

    Raises:
        ConfigError: It is something else.
    """
    if value not in allowed:
        raise ConfigError(f"{where} is {value!r}; choose {listed(allowed)}")
    return value


def number(value: Any, where: str) -> float:
    """Return a finite number.

    Raises:
        ConfigError: It is something else.
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        hint = "; YAML takes 1e-5 for a word, write 1.0e-5" if isinstance(value, str) else ""
        raise ConfigError(f"{where} is {value!r} and no number{hint}")
    try:
        found = float(value)
    except OverflowError as error:
        raise ConfigError(
            f"{where} is a whole number of more digits than can be counted with; give a smaller one"
        ) from error
    if not math.isfinite(found):
        raise ConfigError(f"{where} is {value!r} and no number")
    return found


def whole(value: Any, where: str, least: int) -> int:
    """Return a whole number that is not less than the least.

    Raises:
        ConfigError: It is something else.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ConfigError(f"{where} is {value!r} and must be a whole number from {least}")
    return value


def refuse_strangers(plain: Mapping[str, Any], known: Collection[str], where: str) -> None:
    """Refuse names that nobody knows.

    Raises:
        ConfigError: There is one.
    """
    if strange := [key for key in plain if key not in known]:
        raise ConfigError(f"{where}{strange[0]} is not known here; there are {listed(known)}")
