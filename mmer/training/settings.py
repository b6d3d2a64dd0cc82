"""The settings that many trainings share, as ``train.py`` reads them."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml

from mmer.errors import ConfigError
from mmer.training.child import complaint

CHANGE_NO_NUMBER = (
    *("trainer.default_root_dir", "trainer.enable_progress_bar", "trainer.enable_model_summary"),
    *("data.workers", "data.prefetch", "data.shards.cache", "keep", "save_every", "wandb", "wandb_clips"),
)
"""Settings that change no number, by their dotted names: processes that share a work need not agree on them.

``data.shards.cache_gb`` is none of them, for the windows in which clips are shuffled are not larger than half of it.
"""

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

_TASKS = ("seed_everything", "overwrite", "oracle", "ckpt_path", "data.split.fold", "trainer.default_root_dir")
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
    """Let ``train.py`` say what its settings would be, without those that differ from task to task.

    Raises:
        ConfigError: There is a mistake in them.
    """
    (settings,) = read_several([["fit", f"--config={config}", *flags]])
    for name in _TASKS:
        *path, last = name.split(".")
        place = settings
        for part in path:
            place = place[part]
        del place[last]
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


def comparable(held: Mapping[str, Any], given: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the settings that two trainings must agree on, by their dotted names.

    A setting that the earlier training does not know, for an older version began it, has its default there.

    Args:
        held: The settings of the earlier training.
        given: Those of the later one, as this version reads them.
    """
    before, now = _that_matter(held), _that_matter(given)
    if new := now.keys() - before.keys():
        with suppress(ConfigError):  # a setting that this version does not know: it is named as it is
            filled = _that_matter(_read_again(held))
            before |= {name: filled[name] for name in filled if name in new}
    return before, now


def own_flags(settings: Mapping[str, Any]) -> list[str]:
    """Return the flags of those settings that change no number, but for the run's folder: each process has its own."""
    flat = {name: value for name, value in _flat(settings) if name in CHANGE_NO_NUMBER and name not in _TASKS}
    return [f"--{name}={'null' if value is None else value}" for name, value in flat.items()]


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


def _that_matter(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in _flat(settings) if name not in CHANGE_NO_NUMBER}


def _read_again(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings as this version has them, with those that are new at their defaults."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "config.yaml"
        path.write_text(yaml.safe_dump(dict(settings)), encoding="utf-8")
        return read_several([["fit", f"--config={path}"]])[0]


def _flat(settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield settings by their dotted names."""
    for name, value in settings.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value
