"""End a training that no longer becomes better."""

from __future__ import annotations

import lightning as L
from lightning.pytorch.callbacks import EarlyStopping
from lightning.pytorch.callbacks.early_stopping import EarlyStoppingReason

from mmer.training.say import say


class StopEarly(EarlyStopping):
    """End a training whose validation speakers are answered no better, and say so.

    Args:
        watch: The metric, as ``val/uar``.
        patience: Validations without anything better that are waited for.
    """

    def __init__(self, watch: str, patience: int) -> None:
        super().__init__(watch, patience=patience, mode="min" if watch.endswith("loss") else "max")

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Say that it was ended, when and why."""
        if self.stopping_reason is EarlyStoppingReason.NOT_STOPPED:
            return
        if self.stopping_reason is EarlyStoppingReason.NON_FINITE_METRIC:
            why = f"is {float(trainer.callback_metrics[self.monitor])}; a lower model.optim.lr may keep it finite"
        else:
            why = f"has not become better than {float(self.best_score):.3f} in {self.patience} validations"
        say(f"note: stopped after {self.stopped_epoch + 1} epochs: {self.monitor} {why}")
