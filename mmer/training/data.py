"""Prepared clips as a Lightning data module."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, Literal

import cv2
import lightning as L
import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader

from mmer.batch import Batch, Clip, Layout
from mmer.build import build_tokenizer
from mmer.config import AugmentConfig, ModelConfig, ShardConfig, SplitConfig
from mmer.corpora.manifest import Row, listed
from mmer.corpora.splits import Part, Split, make_split
from mmer.data.dataset import ClipDataset, Padded, make_layout, settle_worker, usable_rows
from mmer.data.loader import TrainLoader
from mmer.data.mixing import Mixer
from mmer.data.samplers import DrawSampler, Share
from mmer.data.shards import open_corpus
from mmer.data.store import as_root
from mmer.data.streaming import build_sampler
from mmer.errors import ConfigError, SplitError
from mmer.tokenizer import Tokenizer
from mmer.training.devices import count_cores, share_cores

SamplerName = Literal["shuffled", "class_balanced", "speaker_balanced"]
"""How an epoch's clips are chosen."""


class EmotionDataModule(L.LightningDataModule):
    """The clips of a prepared folder or of shards, split by speaker.

    Args:
        model: The model that reads them; ``train.py`` takes it from ``model.config``.
        root: The prepared folder; or a folder of shards, or its URL in an object store, as ``mmer shards`` writes it.
        split: Who trains, who validates, who is tested.
        augment: Random changes to training clips; null leaves them as they are.
        sampler: ``shuffled`` draws each training clip once an epoch; ``class_balanced`` and ``speaker_balanced`` draw
            as many clips, every class or every speaker equally often.
        batch_size: Clips in a batch, on each device.
        workers: Processes that read clips for each training process; 0 reads in that process itself. Null takes its
            share of the cores that it may use less one, 8 at most.
        prefetch: Batches that each of them reads ahead.
        shards: How shards are read.
    """

    def __init__(
        self,
        model: ModelConfig,
        root: str,
        split: SplitConfig = SplitConfig(),  # noqa: B008 - frozen, and the command line shows it
        augment: AugmentConfig | None = AugmentConfig(),  # noqa: B008
        sampler: SamplerName = "shuffled",
        batch_size: int = 16,
        workers: int | None = None,
        prefetch: int = 2,
        shards: ShardConfig = ShardConfig(),  # noqa: B008
    ) -> None:
        super().__init__()
        for name, size in (("batch_size", batch_size), ("prefetch", prefetch)):
            if size < 1:
                raise ConfigError(f"data.{name}={size} must be positive")
        if workers is not None and workers < 0:
            raise ConfigError(f"data.workers={workers} must not be negative")
        mixes = augment is not None and (augment.mixup > 0 or augment.cutmix > 0)
        if mixes and "text" in model.reads:
            raise ConfigError("augment.mixup and augment.cutmix mix no words and the model reads text; set both to 0")
        self.model = model
        self.root = as_root(root)
        self.shards = shards
        self.split_config = split
        self.augment = augment
        self.mixes = mixes
        self.sampler = sampler
        self.batch_size = batch_size
        self.prefetch = prefetch
        self.tokenizer: Tokenizer | None = None  # a checkpoint's, before setup; else the training clips teach one
        self.wanted_workers = workers
        self.cores = count_cores()

    @property
    def workers(self) -> int:
        """Processes that read clips for this one."""
        if self.wanted_workers is not None:
            return self.wanted_workers
        return min(8, max(self.cores - 1, 0))

    def setup(self, stage: str) -> None:
        """Open the folder and deal its speakers.

        Raises:
            CorpusError: The folder was not prepared.
            SplitError: The split would leak, or a part would be empty.
            ConfigError: A clip has no label, or one that the label set does not know; or speakers are to be balanced
                and some clips have none; or the model reads precomputed streams that the folder does not have, or
                that no training clip has; or shards cannot be read as the settings say; or validations are to come
                behind more batches than an epoch has.
        """
        self.cores = share_cores(self.trainer.node_rank if self.trainer is not None else 0)
        self.corpus = open_corpus(self.root, self.shards)
        self._check_streams()
        self.rows = usable_rows(self.corpus.rows, self.model)
        self.split: Split = make_split(self.corpus.rows, self.split_config)  # the same people whatever the model reads
        self.layout: Layout = make_layout(self.model, self.corpus.config)
        training = self.split.rows(self.rows, "train")
        if self.tokenizer is None:
            self.tokenizer = build_tokenizer(self.model, (row.text for row in training if row.text))
        self.train = ClipDataset(self.corpus, training, self.model, self.augment, self.tokenizer)
        self.groups = self._groups(training)
        self.validation = self._dataset("validation")
        self.test = self._dataset("test")
        self._check_clips(stage)
        if stage == "fit":
            self._check_training(training)
            self._check_interval(self._draws())  # what drawing refuses is said before anything is fetched

    def train_dataloader(self) -> DataLoader[Clip]:
        """Training clips in random order; an incomplete last batch is left out unless it is the only one.

        The order, the changes and the mixing come from the run's seed, which is 0 without ``seed_everything``.
        """
        if self.augment is not None and self.mixes:
            self.mixer = Mixer(self.augment, self._seed, self._rank)
        return TrainLoader(self.train, sampler=self._draws(), **self._reading())

    def val_dataloader(self) -> list[DataLoader[Clip]]:
        """Validation clips, each scored once whatever the number of processes; none without validation speakers."""
        return [self._scoring(self.validation)] if len(self.validation) else []

    def test_dataloader(self) -> DataLoader[Clip]:
        """Test clips, each scored once whatever the number of processes."""
        return self._scoring(self.test)

    def transfer_batch_to_device(self, batch: Batch, device: Any, dataloader_idx: int) -> Batch:
        """Move a batch to the device without waiting for it."""
        return batch.to(device, non_blocking=True)

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        """Mix the clips of a training batch, where the settings ask for it."""
        if self.mixes and self.trainer is not None and self.trainer.training:
            return self.mixer(batch, self.trainer.current_epoch, self.trainer.fit_loop.batch_idx + 1)
        return batch

    def _check_streams(self) -> None:
        """Refuse a model of precomputed streams that the folder does not have: a clip may lack one, a corpus not."""
        known = self.corpus.config.features
        if missing := [name for name in self.model.widths if name not in known]:
            raise ConfigError(
                f"the model reads the features {listed(missing)} and {self.root} has {listed(known) or 'none'}; "
                f"prepare it with --features {missing[0]}=PATH, or change the stream's 'features'"
            )

    def _check_clips(self, stage: str) -> None:
        """Refuse to begin where a part that is needed has no clip."""
        empty = {"fit": not len(self.train), "validate": not len(self.validation), "test": not len(self.test)}[stage]
        nobody = stage == "fit" and self.split.validation and not len(self.validation)
        if empty or nobody:
            raise SplitError(
                f"there is no clip to {'validate' if nobody else stage}: the part has no speaker, or none whose clips "
                f"have {' or '.join(self.model.reads)} and a label of {self.model.label_set.name}"
            )

    def _check_training(self, rows: Sequence[Row]) -> None:
        """Refuse precomputed streams that no training clip has: there would be nothing to standardise them by."""
        if absent := [name for name in self.model.widths if not any(row.has(name) for row in rows)]:
            raise ConfigError(
                f"no clip of the training part has the features {listed(absent)}, and they are standardised by those "
                "that have; prepare training clips with them, choose another split, or leave their streams out"
            )

    def _check_interval(self, draws: DrawSampler) -> None:
        """Refuse validations behind more batches than an epoch has."""
        if self.trainer is None or self.trainer.check_val_every_n_epoch is None or not self.trainer.limit_val_batches:
            return
        interval, limit = self.trainer.val_check_interval, self.trainer.limit_train_batches
        length = -(-draws.num_samples // self.batch_size)
        batches = min(limit, length) if isinstance(limit, int) else int(limit * length)
        if isinstance(interval, int) and 0 < batches < interval:
            raise ConfigError(
                f"trainer.val_check_interval={interval} is more than an epoch's number of batches, {batches}; give at "
                "most that, or count over epochs with trainer.check_val_every_n_epoch=null"
            )

    def _draws(self) -> DrawSampler:
        share = Share(self._seed, self.batch_size, self._processes, self._rank, self._local)
        return build_sampler(self.train, self.groups, self.shards, share)

    @property
    def _seed(self) -> int:
        return int(os.environ.get("PL_GLOBAL_SEED", "0"))  # where Lightning keeps it, for all processes

    @property
    def _processes(self) -> int:
        return self.trainer.world_size if self.trainer is not None else 1

    @property
    def _rank(self) -> int:
        return self.trainer.global_rank if self.trainer is not None else 0

    @property
    def _local(self) -> int:
        """How many of the processes run on this machine."""
        return self.trainer.num_devices if self.trainer is not None else 1

    def _dataset(self, part: Part) -> ClipDataset:
        return ClipDataset(self.corpus, self.split.rows(self.rows, part), self.model, tokenizer=self.tokenizer)

    def _groups(self, rows: Sequence[Row]) -> NDArray[np.int64] | None:
        """Return a number for what the sampler balances of each clip."""
        match self.sampler:
            case "shuffled":
                return None
            case "class_balanced":
                return self.train.labels
            case "speaker_balanced":
                return _speakers(rows)

    def _scoring(self, dataset: ClipDataset) -> DataLoader[Clip]:
        return DataLoader(Padded(dataset, self._processes), **self._reading())

    def _reading(self) -> dict[str, Any]:
        """Return how every loader reads."""
        cv2.setNumThreads(1)  # before a worker is forked: there, OpenCV would wait for threads that only the parent has
        return {
            "batch_size": self.batch_size,
            "num_workers": self.workers,
            "prefetch_factor": self.prefetch if self.workers else None,
            "collate_fn": self.layout.collate,
            "worker_init_fn": settle_worker,
            "persistent_workers": self.workers > 0,
            "pin_memory": torch.cuda.is_available(),
        }


def data_of(trainer: L.Trainer) -> EmotionDataModule:
    """Return the clips of a trainer."""
    data = trainer.datamodule  # type: ignore[attr-defined]
    assert isinstance(data, EmotionDataModule)
    return data


def validates(trainer: L.Trainer) -> bool:
    """Tell whether a training is shown anybody to validate on."""
    return len(data_of(trainer).validation) > 0 and trainer.limit_val_batches != 0


def validates_within_epochs(trainer: L.Trainer) -> bool:
    """Tell whether validations come behind some batches, and not behind epochs alone."""
    interval = trainer.val_check_interval
    return trainer.check_val_every_n_epoch is None or isinstance(interval, int) or interval < 1


def require_validation(trainer: L.Trainer, setting: str) -> None:
    """Refuse a setting that watches validation speakers where none are shown.

    Raises:
        ConfigError: There are none.
    """
    if not len(data_of(trainer).validation):
        raise ConfigError(
            f"{setting} watches validation speakers and there are none; name some (data.split.validation), or leave it "
            "out"
        )
    if not validates(trainer):
        raise ConfigError(
            f"{setting} watches validation speakers and trainer.limit_val_batches=0 shows none; raise it, or leave "
            f"{setting} out"
        )


def _speakers(rows: Sequence[Row]) -> NDArray[np.int64]:
    """Return a number for the speaker of each row; the same name in two corpora is two people."""
    nameless = [row.key for row in rows if row.speaker is None]
    if nameless:
        raise ConfigError(
            f"data.sampler=speaker_balanced needs speakers, and {len(nameless)} training clips have none, "
            f"{nameless[0]!r} the first; choose shuffled or class_balanced"
        )
    people = {person: number for number, person in enumerate(dict.fromkeys((row.corpus, row.speaker) for row in rows))}
    return np.array([people[row.corpus, row.speaker] for row in rows], np.int64)
