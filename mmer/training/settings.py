"""The settings that many trainings share, as ``train.py`` reads them."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from mmer.errors import ConfigError
from mmer.training.child import complaint

_OWN = {
    "--seed_everything": "mmer crossval has --seeds",
    "--data.split.protocol": "mmer crossval has --protocol",
    "--data.split.fold": "mmer crossval trains every fold, or --tasks",
    "--trainer.default_root_dir": "mmer crossval has --output",
    "--oracle": "mmer crossval watches unless --no-oracle",
    "--overwrite": "mmer crossval never loses a finished fold; name a new --output",
    "--ckpt_path": "every fold begins anew",
    "--print_config": "mmer crossval has --dry-run",
    "--help": "see python train.py fit --help",
}


_NAMED = 3  # how many settings a refusal names


def check_overrides(flags: Sequence[str]) -> None:
    """Refuse flags of ``train.py`` that are the cross-validation's own to give.

    Raises:
        ConfigError: One of them is.
    """
    for flag in flags:
        name = flag.partition("=")[0]
        if name in _OWN:
            raise ConfigError(f"{name} is not for a single training here: {_OWN[name]}")


def protocol_flags(protocol: str) -> list[str]:
    """Return the flags of a protocol; lists of speakers in the config are for ``speakers`` alone."""
    lists = [] if protocol == "speakers" else ["test=[]", "validation=[]", "train=null"]
    return [f"--data.split.{setting}" for setting in (f"protocol={protocol}", *lists)]


def read_settings(config: Path, flags: Sequence[str]) -> dict[str, Any]:
    """Let ``train.py`` say what its settings would be, without those that differ from task to task."""
    command = [sys.executable, "-m", "mmer.training", "fit", f"--config={config}", *flags, "--print_config"]
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
    if done.returncode != 0:
        raise ConfigError(complaint(done.stderr))
    try:
        settings = yaml.safe_load(done.stdout)
    except yaml.YAMLError:
        settings = None
    if not isinstance(settings, dict) or "trainer" not in settings:
        raise ConfigError("a flag behind -- is no setting of a training; see python train.py fit --help")
    for name in ("seed_everything", "overwrite", "oracle", "ckpt_path"):
        del settings[name]
    del settings["data"]["split"]["fold"], settings["trainer"]["default_root_dir"]
    return settings


def read_several(lines: Sequence[Sequence[str]]) -> list[dict[str, Any]]:
    """Let ``train.py`` say what its settings would be, for each of several command lines that begin with ``fit``.

    Raises:
        ConfigError: One of them is a mistake, or has a flag that is no setting.
    """
    command = [sys.executable, "-m", "mmer.training.understand"]
    given = json.dumps([list(line) for line in lines])
    done = subprocess.run(command, input=given, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise ConfigError(complaint(done.stderr))
    try:
        found = json.loads(done.stdout)
    except ValueError:
        found = [None]
    if not all(isinstance(settings, dict) and "trainer" in settings for settings in found):
        raise ConfigError("a flag is no setting of a training; see python train.py fit --help")
    return [dict(settings) for settings in found]


def name_differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """Say by name in which settings two trainings differ; nothing where in none."""
    held, given = dict(_flat(before)), dict(_flat(now))
    differences = [
        f"{name} was {held.get(name, 'not there')} and is {given.get(name, 'not there')}"
        for name in dict.fromkeys((*held, *given))
        if held.get(name) != given.get(name)
    ]
    more = f" and {len(differences) - _NAMED} more" if len(differences) > _NAMED else ""
    return "; ".join(differences[:_NAMED]) + more


def _flat(settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield settings by their dotted names."""
    for name, value in settings.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value
