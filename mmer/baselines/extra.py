"""What the classical systems need beside mmer's own libraries."""

from __future__ import annotations

from importlib.util import find_spec

from mmer.errors import ConfigError

_PACKAGES = {"librosa": "librosa", "sklearn": "scikit-learn"}


def check_extra(*modules: str) -> None:
    """Refuse to begin where a library is missing.

    Args:
        modules: The modules that are needed.

    Raises:
        ConfigError: One of them is not installed.
    """
    if missing := [_PACKAGES[module] for module in modules if find_spec(module) is None]:
        raise ConfigError(f"this needs {' and '.join(missing)}: pip install 'mmer[baselines]'")
