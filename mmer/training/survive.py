"""What a training outlives: a kill while it writes a checkpoint, a full disk, a loss that is no number."""

from __future__ import annotations

import errno
import json
import os
import re
from collections import deque
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.plugins.io import TorchCheckpointIO
from torch import Tensor

from mmer.atomic import replacing
from mmer.batch import Batch
from mmer.data.store import is_url
from mmer.errors import MmerError

_UNWRITTEN = re.compile(r"PytorchStreamWriter|unexpected pos")
"""What PyTorch says where a file took less than it was given."""

_WRITING = re.compile(r"\.(best|last|epoch-\d+(-step-\d+)?)\.\d+\.ckpt")
"""Names of checkpoints that were being written when their process was killed."""


class NonFiniteError(MmerError):
    """A loss that is no number."""


class AtomicCheckpoints(TorchCheckpointIO):
    """Writes checkpoints that are there whole or not at all, also after a loss of power or on a full disk."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Write a checkpoint beside its place, and then put it there.

        Raises:
            OSError: The disk is full, or the folder may not be written to.
            TypeError: There are ``storage_options``, which Lightning's own knows no use for either.
        """
        if is_url(str(path)) or storage_options is not None:
            super().save_checkpoint(checkpoint, path, storage_options)
            return
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as temporary:
            try:
                with temporary.open("wb") as file:
                    torch.save(checkpoint, file)
                    file.flush()
                    os.fsync(file.fileno())
            except RuntimeError as error:  # how PyTorch says that a file could not be written
                cause = error.__cause__ or error.__context__
                if isinstance(cause, OSError):
                    raise OSError(cause.errno, cause.strerror, str(path)) from error
                if not _UNWRITTEN.search(str(error)):
                    raise
                raise OSError(errno.EIO, f"cannot be written ({error})", str(path)) from error
            except OSError as error:
                raise OSError(error.errno, error.strerror, str(path)) from error


class NamedLog(CSVLogger):
    """A log that says where it is when the disk is full."""

    def save(self) -> None:
        """Write what was logged since.

        Raises:
            OSError: It cannot be written.
        """
        try:
            super().save()
        except OSError as error:
            raise OSError(error.errno, error.strerror, self.experiment.metrics_file_path) from error


def remove_unfinished(folder: Path) -> None:
    """Remove what killed processes were writing into a folder of checkpoints."""
    for path in folder.glob(".*.ckpt"):
        if _WRITING.fullmatch(path.name):
            path.unlink(missing_ok=True)


def newest(folder: Path) -> Path | None:
    """Return the checkpoint of a folder from which a run goes on by itself, None where there is none.

    Until the end of its first epoch a run may have ``best`` alone.
    """
    return next((path for path in (folder / "last.ckpt", folder / "best.ckpt") if path.is_file()), None)


def is_between_steps(trainer: L.Trainer, batch_idx: int) -> bool:
    """Tell whether a training can be broken off behind a batch and go on as if it had not been.

    It is not half an accumulated step, nor is anything due that Lightning would leave out afterwards: a validation, the
    end of the epoch or of the training.
    """
    loop = trainer.fit_loop
    assert loop._data_fetcher is not None
    return (
        (batch_idx + 1) % trainer.accumulate_grad_batches == 0
        and not trainer.is_last_batch
        and trainer.global_step != trainer.max_steps
        and not loop.epoch_loop._should_check_val_fx(loop._data_fetcher)
    )


class CheckLoss(Callback):
    """End a training whose loss is no number, and write down which clips it was.

    On a GPU the loss of a step is looked at when it is known and no step waits for it, one or a few steps later; before
    a checkpoint is written it is waited for.

    Args:
        folder: Where ``nonfinite.json`` goes, which has a number behind its name on all processes but the first.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._waiting: deque[tuple[Tensor, torch.cuda.Event | None, dict[str, Any]]] = deque()
        self._keys: tuple[str, ...] = ()
        self._number = 0

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Batch, batch_idx: int
    ) -> None:
        """Remember whose loss comes."""
        self._keys, self._number = batch.key, batch_idx

    def on_before_backward(self, trainer: L.Trainer, pl_module: L.LightningModule, loss: Tensor) -> None:
        """Look at the losses that are known by now."""
        where = {
            "epoch": trainer.current_epoch,
            "batch": self._number,
            "step": trainer.global_step,
            "rank": trainer.global_rank,
            "clips": list(self._keys),
        }
        event = None
        value = loss.detach()
        if value.is_cuda:
            value = torch.empty_like(value, device="cpu", pin_memory=True).copy_(value, non_blocking=True)
            event = torch.cuda.Event()  # type: ignore[no-untyped-call]
            event.record()
        self._waiting.append((value, event, where))
        self._look(wait=False)

    def on_save_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Keep no weights of which nobody knows whether they are numbers."""
        self._look(wait=True)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Look at the last ones."""
        self._look(wait=True)

    def _look(self, wait: bool) -> None:
        while self._waiting:
            value, event, where = self._waiting[0]
            if event is not None and wait:
                event.synchronize()
            if event is not None and not event.query():  # type: ignore[no-untyped-call]
                return
            self._waiting.popleft()
            if not value.isfinite():
                self._refuse(float(value), where)

    def _refuse(self, loss: float, where: dict[str, Any]) -> None:
        rank = where["rank"]
        path = self.folder / ("nonfinite.json" if rank == 0 else f"nonfinite-{rank}.json")
        self.folder.mkdir(parents=True, exist_ok=True)
        with replacing(path) as temporary:
            temporary.write_text(json.dumps({**where, "loss": str(loss)}, indent=2) + "\n", encoding="utf-8")
        raise NonFiniteError(
            f"the loss is {loss} in epoch {where['epoch'] + 1}, batch {where['batch'] + 1}; its clips are in {path}; "
            "look at them, or lower model.optim.lr, and go on from the last checkpoint, where there is one"
        )
