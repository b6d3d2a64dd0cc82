"""Prepared clips as a Lightning data module."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import lightning as L
import torch
from torch.utils.data import DataLoader

from mmer.batch import Batch, Clip, Layout
from mmer.config import AugmentConfig, ModelConfig, SplitConfig
from mmer.corpora.splits import Part, Split, make_split
from mmer.data.dataset import ClipDataset, Padded, make_layout, usable_rows
from mmer.data.store import PreparedCorpus
from mmer.errors import ConfigError, SplitError


class EmotionDataModule(L.LightningDataModule):
    """The clips of a prepared folder, split by speaker.

    Args:
        model: The model that reads them; ``train.py`` takes it from ``model.config``.
        root: The prepared folder.
        split: Who trains, who validates, who is tested.
        augment: Random changes to training clips; null leaves them as they are.
        batch_size: Clips in a batch, on each device.
        workers: Processes that read clips; 0 reads in the training process. Null takes one less than there are cores,
            8 at most.
    """

    def __init__(
        self,
        model: ModelConfig,
        root: str,
        split: SplitConfig = SplitConfig(),  # noqa: B008 - frozen, and the command line shows it
        augment: AugmentConfig | None = AugmentConfig(),  # noqa: B008
        batch_size: int = 16,
        workers: int | None = None,
    ) -> None:
        super().__init__()
        if batch_size < 1 or (workers is not None and workers < 0):
            raise ConfigError(f"data.batch_size={batch_size} must be positive, data.workers={workers} not negative")
        self.model = model
        self.root = Path(root)
        self.split_config = split
        self.augment = augment
        self.batch_size = batch_size
        self.workers = min(8, max((os.cpu_count() or 1) - 1, 0)) if workers is None else workers

    def setup(self, stage: str) -> None:
        """Open the folder and deal its speakers.

        Raises:
            CorpusError: The folder was not prepared.
            SplitError: The split would leak, or a part would be empty.
            ConfigError: A clip has no label, or one that the label set does not know.
        """
        self.corpus = PreparedCorpus.open(self.root)
        self.rows = usable_rows(self.corpus.rows, self.model)
        self.split: Split = make_split(self.rows, self.split_config)
        self.layout: Layout = make_layout(self.model, self.corpus.config)
        self.train = self._dataset("train", self.augment)
        self.validation = self._dataset("validation")
        self.test = self._dataset("test")
        needed = {"fit": self.train, "validate": self.validation, "test": self.test}[stage]
        if not len(needed):
            raise SplitError(
                f"there is no clip to {stage}: the part has no speaker, or none whose clips have "
                f"{' or '.join(self.model.modalities)} and a label of {self.model.label_set.name}"
            )

    def train_dataloader(self) -> DataLoader[Clip]:
        """Training clips in random order; an incomplete last batch is left out unless it is the only one."""
        complete = len(self.train) >= self.batch_size * self._processes
        return self._loader(self.train, shuffle=True, drop_last=complete)

    def val_dataloader(self) -> list[DataLoader[Clip]]:
        """Validation clips, each scored once whatever the number of processes; none without validation speakers."""
        return [self._loader(Padded(self.validation, self._processes))] if len(self.validation) else []

    def test_dataloader(self) -> DataLoader[Clip]:
        """Test clips, each scored once whatever the number of processes."""
        return self._loader(Padded(self.test, self._processes))

    def transfer_batch_to_device(self, batch: Batch, device: Any, dataloader_idx: int) -> Batch:
        """Move a batch to the device without waiting for it."""
        return batch.to(device, non_blocking=True)

    @property
    def _processes(self) -> int:
        return self.trainer.world_size if self.trainer is not None else 1

    def _dataset(self, part: Part, augment: AugmentConfig | None = None) -> ClipDataset:
        return ClipDataset(self.corpus, self.split.rows(self.rows, part), self.model, augment)

    def _loader(
        self, dataset: ClipDataset | Padded, shuffle: bool = False, drop_last: bool = False
    ) -> DataLoader[Clip]:
        return DataLoader(
            dataset,
            batch_size=self.batch_size,
            shuffle=shuffle,
            drop_last=drop_last,
            num_workers=self.workers,
            collate_fn=self.layout.collate,
            persistent_workers=self.workers > 0,
            pin_memory=torch.cuda.is_available(),
        )
