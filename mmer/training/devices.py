"""Where trainings run: on the processor, or each on a GPU of its own."""

from __future__ import annotations

import os
from collections import Counter
from fractions import Fraction
from typing import Any

from mmer.errors import ConfigError


def find_cores() -> set[int]:
    """Return the cores that this process may use: all of the machine, or those that it is pinned to."""
    if hasattr(os, "sched_getaffinity"):
        return os.sched_getaffinity(0)
    return set(range(os.cpu_count() or 1))


def count_cores() -> int:
    """Return how many cores this process may use."""
    return len(find_cores())


def share_cores(machine: int) -> int:
    """Return how many cores are this process's own among those of its training, all of which call this at once.

    A core that several processes may use counts in parts: without pinning each has its share of the machine, and where
    a cluster gives each task cores of its own, it has all of those.

    Args:
        machine: The number of this process's machine among those of the training.
    """
    import torch.distributed as dist  # which takes seconds

    own = find_cores()
    if not (dist.is_available() and dist.is_initialized()):
        return len(own)
    all_cores: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(all_cores, (machine, own))
    sharers = Counter(core for each, cores in all_cores if each == machine for core in cores)
    return int(sum(Fraction(1, sharers[core]) for core in own))


def check_device(device: str) -> None:
    """Refuse a device that is not here, before the first task; the GPU itself is left to the trainings.

    Raises:
        ConfigError: There is no such device.
    """
    if device in ("auto", "cpu"):
        return
    import torch  # which takes seconds

    kind, _, number = device.partition(":")
    here = torch.cuda.device_count() if kind == "cuda" else 0
    if (number and not number.isdecimal()) or int(number or 0) >= here:
        raise ConfigError(f"device {device!r} is not available; choose cpu, cuda, cuda:1, ... or auto")


def device_flags(device: str) -> list[str]:
    """Return the flags with which ``train.py`` trains on a device."""
    kind, _, number = device.partition(":")
    if device == "auto":
        return []
    accelerator = "gpu" if kind == "cuda" else kind
    return [f"--trainer.accelerator={accelerator}", f"--trainer.devices={f'[{number}]' if number else 1}"]


def find_seats(device: str) -> list[dict[str, str]]:
    """Return what trainings find in their environment, one after the other, so that each sees a GPU of its own.

    Args:
        device: ``auto`` and ``cuda`` deal them over the GPUs that are visible; any other leaves them as they are.
    """
    if device not in ("auto", "cuda"):
        return [{}]
    import torch

    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    gpus = named.split(",") if named else [str(number) for number in range(torch.cuda.device_count())]
    return [{"CUDA_VISIBLE_DEVICES": gpu} for gpu in gpus[: torch.cuda.device_count()]] or [{}]
