"""What ``train.py`` refuses in one line, before anything is built."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch

from mmer.data.store import is_url
from mmer.errors import ConfigError

_TASK = {"SLURM_NTASKS", "SLURM_PROCID", "SLURM_LOCALID", "SLURM_NODEID", "SLURM_STEP_ID"}
"""What SLURM tells each process that srun starts; a batch script itself is of no step."""


def check_folder(root: str | Path | None) -> None:
    """Refuse what no run can be written into.

    Raises:
        ConfigError: It is no folder.
    """
    if root is None:
        raise ConfigError("trainer.default_root_dir=null names no folder for the run; name one, or leave it out")
    if is_url(str(root)):
        raise ConfigError(
            f"trainer.default_root_dir={root} must be a folder; copy a run to an object store when it is finished"
        )


def check_counts(trainer: Any, trains: bool) -> None:
    """Refuse numbers of batches, epochs and machines that are none, and a training of nothing.

    Args:
        trainer: The trainer's settings.
        trains: Whether it is to train.

    Raises:
        ConfigError: One is.
    """
    for name in ("accumulate_grad_batches", "check_val_every_n_epoch", "num_nodes"):
        if trainer[name] is not None and trainer[name] < 1:
            raise ConfigError(f"trainer.{name}={trainer[name]} must be positive")
    for name in ("max_epochs", "max_steps", "limit_train_batches"):
        if trains and trainer[name] == 0:
            raise ConfigError(f"trainer.{name}={trainer[name]} trains nothing; give more, or run train.py validate")


def check_cluster(plugins: Any) -> None:
    """Refuse SLURM's settings where SLURM has not started this process; of a user's own plugins nothing is known.

    Raises:
        ConfigError: It has not.
    """
    asked = [getattr(each, "class_path", "") for each in (plugins if isinstance(plugins, list) else [plugins])]
    if any(str(each).rpartition(".")[2] == "SLURMEnvironment" for each in asked) and not os.environ.keys() >= _TASK:
        raise ConfigError(
            "trainer.plugins names SLURMEnvironment, as configs/hardware/slurm.yaml does, and SLURM has not started "
            "this process; start it with srun, or leave out the config that asks for it"
        )


def check_interval(interval: Any) -> None:
    """Refuse moments at which nobody can validate.

    Raises:
        ConfigError: It is a time, or never.
    """
    if not isinstance(interval, int | float | None):
        raise ConfigError(
            f"trainer.val_check_interval={interval} is a time, at which processes would not agree; give a number of "
            "batches, or a share of an epoch"
        )
    if interval == 0:
        raise ConfigError(
            f"trainer.val_check_interval={interval} is no interval; give a number of batches, or a share of an epoch, "
            "or trainer.limit_val_batches=0, which never validates"
        )


def check_accelerator(accelerator: Any) -> None:
    """Refuse a GPU that is not here; of an accelerator of the user's own nothing is known.

    Raises:
        ConfigError: There is none.
    """
    here = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not {**here, "gpu": any(here.values())}.get(str(accelerator), True):
        raise ConfigError(
            f"trainer.accelerator={accelerator} and no such device is here; give --trainer.accelerator=cpu, or leave "
            "out the config that asks for it"
        )


def check_wandb(config: Any) -> None:
    """Refuse what --wandb cannot do.

    Raises:
        ConfigError: There are other loggers, or fewer than no clips are to be shown, or the project has no name.
    """
    if config.wandb == "":
        raise ConfigError("wandb names no project; give one, as --wandb=emotions, or leave it out")
    if config.wandb_clips < 0:
        raise ConfigError(f"wandb_clips={config.wandb_clips} must not be negative; 0 shows no clips")
    if config.wandb is not None and config.trainer.logger is not None:
        raise ConfigError(f"wandb={config.wandb} and trainer.logger both say where to log; leave one of them out")


def check_replaced(init: str | None, kept: Path) -> None:
    """Refuse to replace the checkpoint that a run begins from.

    Raises:
        ConfigError: It is one of those that ``--overwrite`` replaces.
    """
    if init is not None and Path(init).resolve().parent == kept.resolve():
        raise ConfigError(
            f"init={init} is a checkpoint of the run that --overwrite replaces; copy it elsewhere, or name another "
            "trainer.default_root_dir"
        )
