"""The settings that the trainings of a cross-validation share, as ``train.py`` reads them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
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
