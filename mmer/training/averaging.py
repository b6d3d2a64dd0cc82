"""An average of the weights over the training."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import chain
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import WeightAveraging
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from mmer.config import AveragingConfig
from mmer.errors import ConfigError


class AverageWeights(WeightAveraging):
    """Validate and keep an average of the weights.

    Lightning's own begins with the untrained weights, and adds an epoch to the average between its validation and its
    checkpoint. Here the average is that of the newest weights until it begins, and whatever a checkpoint holds was
    validated. The statistics of BatchNorm are averaged with the weights, as torchvision does.

    Args:
        config: Which average, and from when on.
    """

    def __init__(self, config: AveragingConfig) -> None:
        super().__init__(use_buffers=True, avg_fn=decaying(config.decay) if config.kind == "ema" else uniform)
        self.config = config
        self._due = self._shown = False

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Find out in which epoch the average begins.

        Raises:
            ConfigError: The training has no end, and so no share of it.
        """
        epochs = trainer.max_epochs
        if stage == "fit" and self.config.start > 0 and (epochs is None or epochs < 0):
            raise ConfigError(
                f"model.averaging.start={self.config.start} is a share of the epochs, and the training has no end; "
                "give trainer.max_epochs, or a start of 0"
            )
        self.first_epoch = int(self.config.start * (epochs or 0))

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Begin with the weights that the training begins with, where they are."""
        self._model_on(pl_module, pl_module.device)

    def should_update(self, step_idx: int | None = None, epoch_idx: int | None = None) -> bool:
        """Tell whether the weights of this step join the average."""
        return step_idx is not None and self._due

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *args: Any) -> None:
        """Let the weights join the average; before its beginning they replace it."""
        begun = trainer.current_epoch >= self.first_epoch
        self._due = not begun or self.config.kind == "ema" or trainer.is_last_batch
        super().on_train_batch_end(trainer, pl_module, *args)
        if not begun:
            self._model_on(pl_module).begin_again()

    def on_validation_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Show the average to the validation."""
        super().on_validation_epoch_start(trainer, pl_module)
        self._shown = self._average_model is not None

    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Go back to the newest weights."""
        super().on_validation_epoch_end(trainer, pl_module)
        self._shown = False

    def on_load_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Go on with the average of a training; who tests it wants nothing else."""
        if trainer.state.fn == "fit":
            average = self._model_on(pl_module)
            super().on_load_checkpoint(trainer, pl_module, checkpoint)
            average.count = int(average.n_averaged)

    @contextmanager
    def shown(self, pl_module: L.LightningModule) -> Iterator[None]:
        """Put the average where the newest weights are, for a while."""
        if self._shown or self._average_model is None:
            yield
            return
        self._swap_models(pl_module)
        try:
            yield
        finally:
            self._swap_models(pl_module)

    def _model_on(self, pl_module: L.LightningModule, device: torch.device | None = None) -> Average:
        """Return the average, which at first is a copy of the weights."""
        if self._average_model is None:
            self._average_model = Average(pl_module, use_buffers=True, avg_fn=self._kwargs["avg_fn"])
        assert isinstance(self._average_model, Average)
        return self._average_model if device is None else self._average_model.to(device)


class Average(AveragedModel):
    """PyTorch's average, which counts where it need not ask the GPU how many steps there were."""

    count = 0

    def begin_again(self) -> None:
        """Forget what was averaged; the next weights replace it."""
        self.count = 0
        self.n_averaged.zero_()

    @torch.no_grad()
    def update_parameters(self, model: nn.Module) -> None:
        """Let weights and buffers join the average."""
        assert self.avg_fn is not None
        ours = chain(self.module.parameters(), self.module.buffers())
        for averaged, newest in zip(ours, chain(model.parameters(), model.buffers()), strict=True):
            averaged.copy_(self.avg_fn(averaged, newest, self.count) if self.count else newest)
        self.count += 1
        self.n_averaged += 1


def decaying(decay: float) -> Callable[[Tensor, Tensor, Tensor | int], Tensor]:
    """Return the exponential average, whose first steps forget the untrained weights quickly; counters stay whole."""

    def average(averaged: Tensor, newest: Tensor, count: Tensor | int) -> Tensor:
        if not newest.is_floating_point():
            return newest
        return torch.lerp(newest, averaged, min(decay, (1 + int(count)) / (10 + int(count))))

    return average


def uniform(averaged: Tensor, newest: Tensor, count: Tensor | int) -> Tensor:
    """Return the average in which all count alike; counters stay whole, which PyTorch's own divides on a GPU."""
    return torch.lerp(averaged, newest, 1 / (int(count) + 1)) if newest.is_floating_point() else newest
