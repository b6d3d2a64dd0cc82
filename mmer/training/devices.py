"""Where trainings run: on the processor, or each on a GPU of its own."""

from __future__ import annotations

import os

from mmer.errors import ConfigError


def count_cores() -> int:
    """Return how many cores this process may use, which a cluster or a container may have limited."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


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
