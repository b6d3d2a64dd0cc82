"""What the configs share: a check of their values."""

from __future__ import annotations

from mmer.errors import ConfigError


def require(condition: bool, message: str) -> None:
    """Refuse a value.

    Raises:
        ConfigError: The condition does not hold.
    """
    if not condition:
        raise ConfigError(message)
