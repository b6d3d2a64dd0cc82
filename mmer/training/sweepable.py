"""Which settings a sweep may vary, and which flags a trial of it may have."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from mmer.errors import ConfigError

_NOT_SWEPT = {
    "data.split": "values of other validation speakers cannot be compared; mmer crossval trains every fold",
    "data.root": "values on other clips cannot be compared; sweep each corpus apart",
    "model.config.labels": "values over other classes cannot be compared; sweep each label set apart",
    "trainer.default_root_dir": "every trial has a folder of its own",
    "trainer.devices": "a trial is put on devices by mmer sweep; give it in the command",
    "trainer.accelerator": "a trial is put on devices by mmer sweep; give it in the command",
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


def check_parameter(name: str) -> None:
    """Refuse a setting that cannot be swept.

    Args:
        name: Its dotted name.

    Raises:
        ConfigError: It is one.
    """
    for refused, why in _NOT_SWEPT.items():
        if name == refused or name.startswith(f"{refused}."):
            raise ConfigError(f"parameters.{name} cannot be swept: {why}")
    if f"--{name}" in _NOT_HERE:
        raise ConfigError(f"parameters.{name} cannot be swept: {_NOT_HERE[f'--{name}']}")


def check_same(found: Sequence[Mapping[str, Any]], parameters: Collection[str]) -> None:
    """Refuse a parameter that holds a setting that cannot be swept, and changes it.

    Args:
        found: All settings of some trials in which every value occurs.
        parameters: Names of the sweep's parameters.

    Raises:
        ConfigError: There is one.
    """
    for name, why in _NOT_SWEPT.items():
        if len({json.dumps(look_up(settings, name), sort_keys=True) for settings in found}) > 1:
            outer = [each for each in parameters if name.startswith(f"{each}.")]
            told = f"parameters.{outer[0]}" if outer else "a parameter"
            raise ConfigError(f"{told} changes {name}, which cannot be swept: {why}")


def look_up(settings: Any, name: str) -> Any:
    """Return a setting by its dotted name; None where there is none."""
    for part in name.split("."):
        settings = settings.get(part) if isinstance(settings, Mapping) else None
    return settings


def check_flags(flags: Sequence[str], parameters: Collection[str]) -> None:
    """Refuse flags of ``train.py`` that are not for a trial, and those that would undo a parameter.

    Args:
        flags: The flags.
        parameters: Names of the sweep's parameters.

    Raises:
        ConfigError: There is one.
    """
    for flag in flags:
        name = flag.partition("=")[0]
        if name in _NOT_HERE:
            raise ConfigError(f"{name} is not for a trial of a sweep: {_NOT_HERE[name]}")
        if name == "--trainer.default_root_dir":
            raise ConfigError(f"{name} is not for a trial of a sweep: {_NOT_SWEPT['trainer.default_root_dir']}")
        if name.removeprefix("--") in parameters:
            raise ConfigError(f"{name} is a parameter of the sweep; leave it out, or change the file")
