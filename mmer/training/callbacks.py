"""What every run does beside learning: keep the best checkpoint, and write into it what it is."""

from __future__ import annotations

import platform
import shutil
from contextlib import nullcontext, suppress
from dataclasses import replace
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger

from mmer.checkpoint import CARD, Card, Origin
from mmer.corpora.leaks import join_marks
from mmer.data.samplers import seed_sequence
from mmer.errors import MmerError, SplitError
from mmer.evaluation.infer import predict_rows
from mmer.evaluation.metrics import confusion_matrix, uar
from mmer.evaluation.predictions import Predictions
from mmer.training.averaging import AverageWeights
from mmer.training.classifier import EmotionClassifier
from mmer.training.data import data_of, require_validation, validates, validates_within_epochs
from mmer.training.origin import Remember
from mmer.training.say import say
from mmer.training.survive import is_between_steps


class BestCheckpoint(ModelCheckpoint):
    """Keep ``best.ckpt``, chosen on the validation part.

    Without validation clips nothing can be chosen honestly: then ``best.ckpt`` is the last epoch's.

    Args:
        folder: Where the checkpoints go.
        monitor: What is largest at the best epoch.
    """

    def __init__(self, folder: Path, monitor: str = "val/uar") -> None:
        super().__init__(
            dirpath=folder,
            filename="best",
            monitor=monitor,
            mode="max",
            auto_insert_metric_name=False,
            enable_version_counter=False,
        )

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Find out whether there is anybody to validate on."""
        super().setup(trainer, pl_module, stage)
        if stage == "fit" and not validates(trainer):
            self.monitor = None
            self._save_on_train_epoch_end = True  # where validations are rare, Lightning would wait for one
        elif validates_within_epochs(trainer):
            self._save_on_train_epoch_end = False


class GoodCheckpoints(ModelCheckpoint):
    """Keep the checkpoints of the best epochs as well, ``epoch-007.ckpt`` and so on.

    Where validations come within epochs they are those of the best validations, as ``epoch-007-step-001200.ckpt``.

    Args:
        folder: Where the checkpoints go.
        count: How many.
        monitor: What is largest at a good epoch.
    """

    def __init__(self, folder: Path, count: int, monitor: str = "val/uar") -> None:
        super().__init__(
            dirpath=folder,
            filename="epoch-{epoch:03d}",
            monitor=monitor,
            mode="max",
            save_top_k=count,
            auto_insert_metric_name=False,
            enable_version_counter=False,
        )

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Refuse to choose where there is nobody to validate on, and name what is chosen.

        Raises:
            ConfigError: There are no validation speakers.
        """
        super().setup(trainer, pl_module, stage)
        if stage == "fit":
            require_validation(trainer, f"keep={self.save_top_k}")
        if validates_within_epochs(trainer):
            self._save_on_train_epoch_end = False
            self.filename = "epoch-{epoch:03d}-step-{step:06d}"  # or one of an epoch would be written over another


class LastCheckpoint(ModelCheckpoint):
    """Keep ``last.ckpt``, to resume from, after every epoch, and within epochs where that is asked for.

    What else :class:`ModelCheckpoint` calls the last is the last that was the best.

    Args:
        folder: Where the checkpoints go.
        every: Optimiser steps after which it is written within an epoch too; 0 leaves it to the ends of epochs.
    """

    def __init__(self, folder: Path, every: int = 0) -> None:
        super().__init__(dirpath=folder, filename="last", save_on_train_epoch_end=True, enable_version_counter=False)
        self.every = every

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Write it behind some steps; the last of an epoch is left to the epoch's end."""
        if self.every and trainer.global_step % self.every == 0 and is_between_steps(trainer, batch_idx):
            assert self.dirpath is not None
            trainer.save_checkpoint(Path(self.dirpath) / "last.ckpt")

    def on_save_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Write the logs first: whoever goes on from a checkpoint does not log the steps before it again."""
        for logger in trainer.loggers:
            logger.save()


class SeedSteps(Callback):
    """Draw dropout, and whatever else is random in the network, by the seed and the step alone.

    A run that was broken off and goes on draws what it would have drawn.

    Args:
        seed: Seed of the run.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Seed the step, otherwise on each process."""
        place = seed_sequence(self.seed, trainer.current_epoch, batch_idx, trainer.global_rank)
        torch.manual_seed(int(place.generate_state(1, np.uint64)[0]))


class TellSplit(Callback):
    """Say on standard error and in the run's logs what there is to know of the split, a leak first of all."""

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Say it once the clips are dealt."""
        split = data_of(trainer).split
        for leak in split.leaks:
            say(f"warning: LEAKY split, its scores are too high: {leak}")
        for note in split.notes:
            say(f"note: {note}")
        for logger in trainer.loggers:
            logger.log_hyperparams({"split": split.protocol, "leaks": list(split.leaks), "notes": list(split.notes)})


class DropLogs(Callback):
    """Remove the logs of a run that was refused before its first step; they are the run's own, in a new folder."""

    begun = False

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """From here on there is something to log; what is read may still have refused the run."""
        self.begun = True

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        """Leave nothing behind that a user has to clear away, not even an empty folder."""
        if self.begun or not isinstance(exception, MmerError) or not trainer.is_global_zero:
            return
        for logger in trainer.loggers:
            if isinstance(logger, CSVLogger):
                shutil.rmtree(logger.log_dir, ignore_errors=True)
                with suppress(OSError):
                    Path(logger.root_dir).rmdir()
                    Path(logger.save_dir).rmdir()


class ReplaceRun(Callback):
    """Remove the checkpoints of the run that a new one replaces, once that one begins.

    Else ``--ckpt_path auto`` might go on with the old one, and the epochs that it kept would stay among the new.

    Args:
        folder: Where the checkpoints are.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """From here on there is a new run."""
        if trainer.is_global_zero:
            for path in self.folder.glob("*.ckpt"):
                path.unlink()


class WriteCard(Callback):
    """Write into every checkpoint what it is: see :class:`~mmer.checkpoint.Card`.

    Args:
        seed: Seed of the run.
        past: What the run begins from or goes on from.
        origin: The checkpoint that it began from.
    """

    def __init__(self, seed: int | None, past: Remember, origin: Origin | None = None) -> None:
        self.seed = seed
        self.past = past
        self.origin = origin

    def on_save_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Add the card."""
        data = data_of(trainer)
        assert isinstance(pl_module, EmotionClassifier)
        card = Card.of_split(
            data.split,
            data.rows,
            model=pl_module.config,
            prepare=data.corpus.config,
            split=data.split_config,
            root=data.root if isinstance(data.root, str) else str(data.root.resolve()),
            seed=self.seed,
            epoch=trainer.current_epoch,
            versions=versions(),
            tokenizer=data.tokenizer,
            optim=pl_module.optim,
            averaging=pl_module.averaging,
            origin=self.origin,
        )
        checkpoint[CARD] = replace(card, marks=join_marks(card.marks, *self.past.marks)).to_plain()


class WatchTest(Callback):
    """Keep the answers of the epoch that is best on the test itself, which nobody could have known: ``oracle.csv``.

    It shows what choosing on the test would pretend. Nothing is chosen by it, and the training is the same without it.

    Args:
        folder: Where ``oracle.csv`` goes.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / "oracle.csv"
        self.best = -1.0

    def state_dict(self) -> dict[str, Any]:
        """Return the best score so far, for a run that is resumed."""
        return {"best": self.best}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up the best score of the run that is resumed."""
        self.best = state_dict["best"]

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Find out whom there is to watch.

        Raises:
            SplitError: Nobody is tested.
        """
        if not len(data_of(trainer).test):
            raise SplitError("the test part is empty, and --oracle watches it; leave --oracle out")

    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Look at the weights that validation has just scored, as :class:`BestCheckpoint` would keep them."""
        if not trainer.sanity_checking:
            self._look(trainer, pl_module)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Look at the weights where nobody validates."""
        if not validates(trainer):
            self._look(trainer, pl_module)

    def _look(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Let every process answer, for a model in pieces wants all of them; one writes."""
        average = next((each for each in trainer.callbacks if isinstance(each, AverageWeights)), None)  # type: ignore[attr-defined]
        with nullcontext() if average is None else average.shown(pl_module):
            answers = self._answer(trainer, pl_module)
        score = float(uar(confusion_matrix(answers.label, answers.predicted, len(answers.names))))
        pl_module.log("oracle/uar", score, sync_dist=True)
        if score > self.best:
            self.best = score
            if trainer.is_global_zero:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                answers.write(self.path)

    def _answer(self, trainer: L.Trainer, pl_module: L.LightningModule) -> Predictions:
        data = data_of(trainer)
        assert isinstance(pl_module, EmotionClassifier)
        rows = [replace(row, speaker=data.split.speaker(row)) for row in data.split.rows(data.rows, "test")]
        answers = predict_rows(
            pl_module.model,
            data.corpus,
            rows,
            device=pl_module.device,
            batch_size=data.batch_size,
            workers=data.workers,
            progress=False,
        )
        every = answers["+".join(pl_module.config.reads)]
        return replace(every, leaky=bool(data.split.leaks))


def versions() -> dict[str, str]:
    """Return the versions that a result depends on."""
    names = ["mmer", "torch", "torchvision", "torchaudio", "lightning", "pytorchvideo", "timm", "tokenizers", "av"]
    names += ["opencv-python-headless", *(["transformers"] if find_spec("transformers") else [])]
    return {"python": platform.python_version(), **{name: version(name) for name in names}}
