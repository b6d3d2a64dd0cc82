"""What a training does beside its scores: the size of its gradient, its speed, its memory."""

from __future__ import annotations

from collections.abc import Iterable
from time import perf_counter
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor
from torch.distributed.tensor import DTensor
from torch.nn import Parameter
from torch.nn.utils import get_total_norm
from torch.optim import Optimizer

GIGABYTE = 1e9


class Gauges(Callback):
    """Log ``train/step_loss``, ``train/grad_norm``, ``train/clips_per_second`` and ``train/gpu_memory_gb``.

    They go to every logger of the run, and are read at the steps that are logged anyhow, every
    ``trainer.log_every_n_steps``: no other step waits for the device. As the learning rate, they are logged without
    their epoch, which comes behind them: an epoch that was broken off leaves no half of itself in the log.
    """

    def __init__(self) -> None:
        self._norm: Tensor | None = None
        self._step = 0
        self._clips = 0
        self._seconds = 0.0
        self._mark = perf_counter()

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Start the clock; between two epochs it stands."""
        self._mark = perf_counter()

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Start the clock again; a validation is no training."""
        self._mark = perf_counter()

    def on_before_optimizer_step(self, trainer: L.Trainer, pl_module: L.LightningModule, optimizer: Optimizer) -> None:
        """Measure the gradient of a step that will be logged, before it is clipped."""
        every = trainer.log_every_n_steps  # type: ignore[attr-defined]
        if every and (trainer.global_step + 1) % every == 0:
            self._step = trainer.global_step
            self._norm = gradient_norm(pl_module.parameters()) / _scale(trainer, optimizer)

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Count the clips of all processes, which have as many each; log behind a step that is logged."""
        norm, self._norm = self._norm, None
        found = {} if norm is None else {"train/grad_norm": float(norm)}  # waits until the device has come so far
        now = perf_counter()
        self._clips += len(batch) * trainer.world_size
        self._seconds, self._mark = self._seconds + now - self._mark, now
        if not found:
            return
        found["train/step_loss"] = float(outputs["loss"]) * trainer.accumulate_grad_batches
        found["train/clips_per_second"] = self._clips / self._seconds
        self._clips, self._seconds = 0, 0.0
        if pl_module.device.type == "cuda":
            found["train/gpu_memory_gb"] = torch.cuda.max_memory_allocated(pl_module.device) / GIGABYTE
        for logger in trainer.loggers:
            logger.log_metrics(found, step=self._step)


def gradient_norm(parameters: Iterable[Parameter]) -> Tensor:
    """Return the norm of all gradients together, without waiting for the device.

    Of gradients in pieces every process has its own, and all must ask at once.
    """
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    pieces = [gradient for gradient in gradients if isinstance(gradient, DTensor)]
    whole = [gradient for gradient in gradients if not isinstance(gradient, DTensor)]
    norms = [get_total_norm(group) for group in (whole, pieces) if group]
    plain = [norm.full_tensor() if isinstance(norm, DTensor) else norm for norm in norms]
    return torch.linalg.vector_norm(torch.stack(plain)) if plain else torch.zeros(())


def _scale(trainer: L.Trainer, optimizer: Optimizer) -> Tensor | float:
    """Return by what the gradient is still multiplied: an optimiser that divides by it itself does so later."""
    scaler = getattr(trainer.precision_plugin, "scaler", None)
    if scaler is None or not getattr(optimizer, "_step_supports_amp_scaling", False):
        return 1.0
    return float(scaler.get_scale())
