"""Prepared clips as a PyTorch data set."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from mmer.batch import Clip, Layout
from mmer.config import AugmentConfig, ClipConfig, ModelConfig, PrepareConfig
from mmer.corpora.manifest import Row
from mmer.data.store import PreparedClip, PreparedCorpus, clip_path
from mmer.data.transforms import AudioAugment, VideoAugment
from mmer.errors import ConfigError


def make_layout(model: ModelConfig, prepare: PrepareConfig) -> Layout:
    """Return the shape of the batches that a model reads from clips prepared in this way.

    Raises:
        ConfigError: The clips' sound has another rate than the model wants.
    """
    clip = model.clip
    if "audio" in model.modalities and clip.sample_rate != prepare.sample_rate:
        raise ConfigError(
            f"the model reads audio at {clip.sample_rate} Hz and the clips were prepared at {prepare.sample_rate} Hz; "
            "prepare them again with --sample-rate, or change clip.sample_rate"
        )
    return Layout(model.modalities, clip.frames, prepare.size, round(clip.seconds * clip.sample_rate))


def usable_rows(rows: Sequence[Row], model: ModelConfig) -> list[Row]:
    """Return the rows whose label is one of the model's and that hold something the model reads.

    Raises:
        ConfigError: A row has no label, or one that the model's label set knows nothing of.
    """
    labels = model.label_set
    for row in rows:
        if row.label is None:
            raise ConfigError(f"clip {row.key} has no label; fill the table's 'label' column, or leave its row out")
    known = [row for row in rows if row.label is not None and labels.index(row.label) is not None]
    return [row for row in known if any(getattr(row, modality) for modality in model.modalities)]


class ClipDataset(Dataset[Clip]):
    """The clips of some rows, each cut to the model's window.

    Args:
        corpus: The prepared folder.
        rows: Which of its clips, in the order of the data set.
        model: What the model reads, and its labels.
        augment: How to change the clips at random; None leaves them as they are.
    """

    def __init__(
        self, corpus: PreparedCorpus, rows: Sequence[Row], model: ModelConfig, augment: AugmentConfig | None = None
    ) -> None:
        self.corpus = corpus
        self.rows = list(rows)
        self.modalities = model.modalities
        self.clip = model.clip
        self.labels = [None if row.label is None else model.label_set.index(row.label) for row in self.rows]
        self.jitter = 0.0 if augment is None else augment.jitter
        self.video_augment = None if augment is None else VideoAugment(augment)
        self.audio_augment = None if augment is None else AudioAugment(augment)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Clip:
        """Read a clip.

        Raises:
            ClipError: Its prepared file is missing or damaged.
        """
        prepared = self.read(index)
        shift = float(2 * torch.rand(()) - 1) * self.jitter if self.jitter else 0.0
        clip = cut(prepared, self.clip, self.rows[index].key, shift=shift)
        return replace(self._augmented(clip), label=self.labels[index])

    def read(self, index: int) -> PreparedClip:
        """Read a whole clip, as much of it as the model reads.

        Raises:
            ClipError: Its prepared file is missing or damaged.
        """
        key = self.rows[index].key
        return PreparedClip.load(clip_path(self.corpus.root, key), key, self.modalities)

    def class_counts(self, num_classes: int) -> list[int]:
        """Return how many clips each class has."""
        counts = Counter(self.labels)
        return [counts[index] for index in range(num_classes)]

    def _augmented(self, clip: Clip) -> Clip:
        if self.video_augment is not None and clip.video is not None:
            clip = replace(clip, video=self.video_augment(clip.video))
        if self.audio_augment is not None and clip.audio is not None:
            clip = replace(clip, audio=self.audio_augment(clip.audio))
        return clip


class Padded(Dataset[Clip]):
    """A data set lengthened to a multiple of the number of processes by repeats without a label.

    Distributed samplers repeat clips so that every process has as many; an unlabelled repeat is not scored twice.

    Args:
        dataset: The clips.
        multiple: The number of processes.
    """

    def __init__(self, dataset: ClipDataset, multiple: int) -> None:
        self.dataset = dataset
        self.length = -(-len(dataset) // multiple) * multiple

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Clip:
        clip = self.dataset[index % len(self.dataset)]
        return clip if index < len(self.dataset) else replace(clip, label=None)


class Windows(Dataset[list[Clip]]):
    """All windows of each clip of a data set: what a checkpoint is scored on, as :func:`windows` cuts them.

    Args:
        dataset: The clips.
    """

    def __init__(self, dataset: ClipDataset) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> list[Clip]:
        """Read a clip.

        Raises:
            ClipError: Its prepared file is missing or damaged.
        """
        return windows(self.dataset.read(index), self.dataset.clip, self.dataset.rows[index].key)


def windows(prepared: PreparedClip, config: ClipConfig, key: str) -> list[Clip]:
    """Cut a clip into as many windows as fit it best, spread evenly; one is the middle.

    An answer about a clip is the mean over these, in evaluation and in prediction alike.
    """
    views = max(1, round(prepared.seconds / config.seconds))
    return [cut(prepared, config, key, view=view, views=views) for view in range(views)]


def cut(
    prepared: PreparedClip, config: ClipConfig, key: str, *, shift: float = 0.0, view: int = 0, views: int = 1
) -> Clip:
    """Cut the model's window out of a clip.

    Args:
        prepared: The clip.
        config: The window.
        key: The clip's key.
        shift: How far to move the window, as a share of its length; it stays inside the clip.
        view: Which of several windows, spread evenly over the clip; one window takes the middle.
        views: How many windows there are.
    """
    length = min(config.seconds, prepared.seconds)
    slack = prepared.seconds - length
    start = slack * (0.5 if views == 1 else view / (views - 1)) + shift * length
    start = min(max(start, 0.0), slack)
    return Clip(
        key=key,
        video=_video(prepared, config, start, length),
        audio=_audio(prepared, config, start) if prepared.audio is not None else None,
    )


def _video(prepared: PreparedClip, config: ClipConfig, start: float, length: float) -> Tensor | None:
    """Take the frames nearest to the middles of equal parts of the window; repeats fill a clip of too few."""
    middles = (np.arange(config.frames) + 0.5) / config.frames
    frames = prepared.frames_at(start + middles * length)
    return None if frames is None else torch.from_numpy(frames).permute(0, 3, 1, 2).contiguous()


def _audio(prepared: PreparedClip, config: ClipConfig, start: float) -> Tensor | None:
    assert prepared.audio is not None
    first = round(start * prepared.sample_rate)
    samples = prepared.audio[first : first + round(config.seconds * prepared.sample_rate)]
    return torch.from_numpy(samples.copy()) if len(samples) else None
