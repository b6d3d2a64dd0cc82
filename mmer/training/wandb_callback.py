"""What Weights & Biases is told beside what every logger hears."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import lightning as L
import numpy as np
from lightning.pytorch.callbacks import Callback
from numpy.typing import NDArray

from mmer.checkpoint import read_checkpoint
from mmer.errors import MmerError
from mmer.evaluation.metrics import SCORES
from mmer.training.classifier import EmotionClassifier
from mmer.training.data import data_of
from mmer.training.wandb_checkpoint import BEST, about, checkpoint_artifact
from mmer.training.wandb_clips import clip_table, spread
from mmer.training.wandb_log import RunLog

_CHOOSES = "val/uar"


class TellWandb(Callback):
    """Tell Weights & Biases what no other logger hears: the best epoch, confusions, clips, the best checkpoint.

    Where the run's summary says ``val/...``, these are the scores of the best epoch, the one whose checkpoint is kept;
    for a sweep chooses by the summary.

    Args:
        checkpoint: Where the best checkpoint is.
        clips: How many validation clips to show; 0 shows none.
    """

    def __init__(self, checkpoint: Path, clips: int) -> None:
        self.checkpoint = checkpoint
        self.clips = clips
        self.epoch = -1
        self.scores: dict[str, float] = {}
        self.begun = False

    def state_dict(self) -> dict[str, Any]:
        """Return the best epoch so far, for a run that is resumed."""
        return {"checkpoint": str(self.checkpoint.resolve()), "epoch": self.epoch, "scores": self.scores}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up the best epoch of the run that is resumed; in another folder the best is looked for anew."""
        if state_dict["checkpoint"] == str(self.checkpoint.resolve()):
            self.epoch, self.scores = state_dict["epoch"], state_dict["scores"]

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Say how the numbers belong together, and on how many devices they are made."""
        if (log := _log_of(trainer)) is None or not trainer.is_global_zero:
            return
        log.experiment.define_metric("epoch")
        for name in ("loss", *SCORES):
            log.experiment.define_metric(f"val/{name}", step_metric="epoch")
        batch = data_of(trainer).batch_size * trainer.world_size * trainer.accumulate_grad_batches
        log.log_hyperparams({"world_size": trainer.world_size, "global_batch": batch})

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """From here on there is something to tell."""
        self.begun = True

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Keep the summary at the best epoch, as :class:`~mmer.training.callbacks.BestCheckpoint` finds it."""
        if trainer.sanity_checking or trainer.state.fn != "fit":
            return
        scores = {name: float(x) for name, x in trainer.callback_metrics.items() if name.startswith("val/")}
        better = scores[_CHOOSES] > self.scores.get(_CHOOSES, -1.0)
        if better:
            self.epoch, self.scores = trainer.current_epoch, scores
        log = _log_of(trainer)
        if log is None or not trainer.is_global_zero:
            return
        if better:
            assert isinstance(pl_module, EmotionClassifier)
            chart = confusion_chart(pl_module.confused["val"], pl_module.config.label_set.names)
            log.log_metrics({"val/confusion": chart, "epoch": self.epoch}, trainer.global_step)
        log.experiment.summary.update({**self.scores, "best_epoch": self.epoch})

    def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Show what the best checkpoint answers for some validation clips, and hand it over.

        By now the device is free again, and no process waits for this one.
        """
        log = _log_of(trainer)
        if log is None or not trainer.is_global_zero or not self.checkpoint.is_file():
            return
        model, card = read_checkpoint(self.checkpoint)
        data = data_of(trainer)
        rows = spread(data.split.rows(data.rows, "validation"), self.clips)
        if rows:
            with TemporaryDirectory() as folder:
                table = clip_table(model, data, rows, trainer.strategy.root_device, Path(folder))
                log.log_metrics({"val/clips": table}, trainer.global_step)
        log.experiment.log_artifact(
            checkpoint_artifact(self.checkpoint, f"model-{log.version}", about(card) | self.scores), aliases=[BEST]
        )

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        """Leave nothing behind of a run that was refused before its first step."""
        log = _log_of(trainer)
        if log is not None and isinstance(exception, MmerError) and not self.begun:
            log.discard()


def confusion_chart(counts: NDArray[Any], names: Sequence[str]) -> Any:
    """Return W&B's own chart of a confusion matrix [true predicted], from its counts."""
    import wandb

    columns = ("Actual", "Predicted", "nPredictions")  # the chart's own names
    rows = [[names[i], names[j], int(count)] for (i, j), count in np.ndenumerate(counts)]
    return wandb.plot_table(
        "wandb/confusion_matrix/v1",
        wandb.Table(columns=[*columns], data=rows),
        {column: column for column in columns},
        {"title": "Validation speakers, best epoch"},
    )


def _log_of(trainer: L.Trainer) -> RunLog | None:
    return next((logger for logger in trainer.loggers if isinstance(logger, RunLog)), None)
