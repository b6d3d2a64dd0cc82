"""What the configs share: checks of their values."""

from __future__ import annotations

from mmer.errors import ConfigError


def require(condition: bool, message: str) -> None:
    """Refuse a value.

    Raises:
        ConfigError: The condition does not hold.
    """
    if not condition:
        raise ConfigError(message)


def require_positive(name: str, value: float, unit: str = "") -> None:
    """Refuse a number that is not positive.

    Args:
        name: What the user calls it.
        value: The number.
        unit: Its unit, for the message.

    Raises:
        ConfigError: It is zero or negative.
    """
    ending = f", in {unit}" if unit else ""
    require(value > 0, f"{name}={value} must be positive{ending}")


def require_sizes(where: str, config: object, *names: str) -> None:
    """Refuse a config one of whose sizes is not positive.

    Args:
        where: What the user writes before the names of its settings, as ``fusion.``.
        config: The config.
        names: Its sizes.

    Raises:
        ConfigError: A size is zero or negative.
    """
    for name in names:
        require_positive(f"{where}{name}", getattr(config, name))


def require_rate(name: str, value: float) -> None:
    """Refuse a rate of dropout, or another share that must never be all.

    Raises:
        ConfigError: It does not lie in [0, 1).
    """
    require(0 <= value < 1, f"{name}={value} must lie in [0, 1)")


def require_multiple(name: str, value: int, of: str, divisor: int) -> None:
    """Refuse a number that another one does not divide.

    Args:
        name: What the user calls it.
        value: The number.
        of: What the user calls the other one.
        divisor: The other one.

    Raises:
        ConfigError: There is a remainder.
    """
    require(value % divisor == 0, f"{name}={value} is not a multiple of {of}={divisor}; change one of them")
