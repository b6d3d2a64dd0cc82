"""Prepared clips as a PyTorch data set."""

from __future__ import annotations

import gc
import os
import signal
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from threading import Thread

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from mmer.batch import IGNORED, Clip, Layout, frame_block
from mmer.config import AugmentConfig, ModelConfig, PrepareConfig
from mmer.corpora.manifest import Row
from mmer.data.clip import PreparedClip
from mmer.data.cut import cut, windows
from mmer.data.samplers import Draw
from mmer.data.shards import ShardedCorpus, ShardFiles
from mmer.data.store import PreparedCorpus, clip_path, is_stored
from mmer.data.transforms import AudioAugment, VideoAugment, draw_shift, draw_speed
from mmer.emotions import LabelSet
from mmer.errors import ConfigError
from mmer.tokenizer import Tokenizer


def make_layout(model: ModelConfig, prepare: PrepareConfig) -> Layout:
    """Return the shape of the batches that a model reads from clips prepared in this way.

    Raises:
        ConfigError: The clips' sound has another rate than the model wants.
    """
    clip = model.clip
    if "audio" in model.reads and clip.sample_rate != prepare.sample_rate:
        raise ConfigError(
            f"the model reads audio at {clip.sample_rate} Hz and the clips were prepared at {prepare.sample_rate} Hz; "
            f"prepare them again with --sample-rate {clip.sample_rate}"
        )
    samples = round(clip.seconds * clip.sample_rate)
    return Layout(model.reads, clip.frames, prepare.size, samples, clip.tokens, model.widths)


def usable_rows(rows: Sequence[Row], model: ModelConfig) -> list[Row]:
    """Return the rows whose label is one of the model's and that hold something the model reads.

    Raises:
        ConfigError: A row has no label, or some have labels that the model's label set knows nothing of.
    """
    return [row for row in labelled_rows(rows, model.label_set) if any(row.has(each) for each in model.reads)]


def labelled_rows(rows: Sequence[Row], classes: LabelSet) -> list[Row]:
    """Return the rows whose label is one of a label set's.

    Raises:
        ConfigError: A row has no label, or some have labels that the label set knows nothing of.
    """
    for row in rows:
        if row.label is None:
            raise ConfigError(f"clip {row.key} has no label; fill the table's 'label' column, or leave its row out")
    labels = Counter(row.label for row in rows if row.label is not None)
    classes.check(labels)
    known = {label for label in labels if classes.index(label) is not None}
    return [row for row in rows if row.label in known]


class Strings:
    """Many strings in one block of bytes.

    A worker shares its parent's memory until somebody writes to it, and Python counts references inside every string
    that it touches: a list of them is slowly copied into each worker.

    Args:
        strings: The strings.
    """

    def __init__(self, strings: Iterable[str]) -> None:
        parts = [string.encode() for string in strings]
        self.ends = np.cumsum([len(part) for part in parts], dtype=np.int64)
        self.block = np.frombuffer(b"".join(parts), np.uint8)

    def __len__(self) -> int:
        return len(self.ends)

    def __getitem__(self, index: int) -> str:
        start = int(self.ends[index - 1]) if index else 0
        return self.block[start : self.ends[index]].tobytes().decode()


class ClipFiles:
    """The clips of a prepared folder, each a file.

    Args:
        root: The folder.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def load(self, index: int, key: str, modalities: Sequence[str]) -> PreparedClip:
        """Read a clip, as much of it as a model reads.

        Raises:
            ClipError: Its file is missing or damaged.
        """
        return PreparedClip.load(clip_path(self.root, key), key, modalities)

    def expect(self, shards: Sequence[int]) -> None:
        """There is nothing to fetch."""


class ClipDataset(Dataset[Clip]):
    """The clips of some rows, each cut to the model's window.

    An index gives a clip as it is, always the same; a :class:`Draw` gives it changed at random under the draw's seed.

    Args:
        corpus: The prepared folder, or one of shards.
        rows: Which of its clips, in the order of the data set.
        model: What the model reads, and its labels.
        augment: How a draw changes its clip; None leaves it as it is.
        tokenizer: What makes token ids of the words, where the model reads them.

    Raises:
        ConfigError: A precomputed stream has another width than the model's config says.
        ClipError: A prepared clip is missing or damaged.
        CorpusError: A shard is missing.
    """

    def __init__(
        self,
        corpus: PreparedCorpus,
        rows: Sequence[Row],
        model: ModelConfig,
        augment: AugmentConfig | None = None,
        tokenizer: Tokenizer | None = None,
    ) -> None:
        self.files = ShardFiles(corpus, rows) if isinstance(corpus, ShardedCorpus) else ClipFiles(corpus.root)
        for name, width in model.widths.items():
            _check_width(corpus.name, self.files, rows, name, width)
        self.size = corpus.config.size
        self.keys = Strings(row.key for row in rows)
        self.on_disk = np.array([is_stored(row) for row in rows], bool)
        self.texts = Strings(row.text or "" for row in rows) if "text" in model.reads else None
        known = {label: model.label_set.index(label) for label in {row.label for row in rows if row.label is not None}}
        classes = [None if row.label is None else known[row.label] for row in rows]
        self.labels = np.array([IGNORED if label is None else label for label in classes], np.int64)
        self.modalities = model.reads
        self.clip = model.clip
        self.tokenizer = tokenizer
        self.augment = augment
        self.video_augment = None if augment is None else VideoAugment(augment)
        self.audio_augment = None if augment is None else AudioAugment(augment)

    def __len__(self) -> int:
        return len(self.keys)

    def __getitem__(self, item: int | Draw) -> Clip:
        """Read a clip.

        Raises:
            ClipError: Its prepared file is missing or damaged.
        """
        return self._clip(item)

    def __getitems__(self, items: Sequence[int | Draw]) -> list[Clip]:
        """Read the clips of a batch, their frames side by side in one block, so that collating copies nothing.

        Raises:
            ClipError: A prepared file is missing or damaged.
        """
        if "video" not in self.modalities:
            return [self._clip(item) for item in items]
        block = frame_block(len(items), self.clip.frames, self.size)
        return [self._clip(item, row) for item, row in zip(items, block, strict=True)]

    def _clip(self, item: int | Draw, out: Tensor | None = None) -> Clip:
        index, seed = (item.index, item.seed) if isinstance(item, Draw) else (item, None)
        if isinstance(item, Draw) and item.ahead:
            self.files.expect(item.ahead)
        prepared, key = self.read(index), self.keys[index]
        if seed is None or self.augment is None:
            return self._labelled(cut(prepared, self.clip, key, self.tokenizer, out=out), index)
        with torch.random.fork_rng(devices=[]):  # so that nothing else depends on how many clips were read before
            torch.default_generator.manual_seed(seed)  # torch.manual_seed would seed the GPU's dropout too
            clip = self._labelled(self._changed(prepared, key, self.augment, out), index)
        return clip if out is None or clip.video is None else replace(clip, video=out.copy_(clip.video))

    def read(self, index: int) -> PreparedClip:
        """Read a whole clip, as much of it as the model reads.

        Raises:
            ClipError: Its prepared file is missing or damaged.
        """
        if not self.on_disk[index]:
            text = None if self.texts is None else self.texts[index] or None
            return PreparedClip.empty(self.clip.sample_rate, text)
        return self._load(index, self.modalities)

    def read_stream(self, index: int, name: str) -> NDArray[np.float32] | None:
        """Read a precomputed stream of a clip, cut to the window, and nothing else; None where the clip lacks it.

        Raises:
            ClipError: Its prepared file is missing or damaged.
        """
        if not self.on_disk[index]:
            return None
        found = cut(self._load(index, (name,)), self.clip, self.keys[index]).features.get(name)
        return None if found is None else found.numpy()

    def _load(self, index: int, reads: Sequence[str]) -> PreparedClip:
        return self.files.load(index, self.keys[index], reads)

    def class_counts(self, num_classes: int) -> list[int]:
        """Return how many clips each class has."""
        counts: list[int] = np.bincount(self.labels[self.labels != IGNORED], minlength=num_classes).tolist()
        return counts

    def _labelled(self, clip: Clip, index: int) -> Clip:
        label = int(self.labels[index])
        return replace(clip, label=None if label == IGNORED else label)

    def _changed(self, prepared: PreparedClip, key: str, augment: AugmentConfig, out: Tensor | None) -> Clip:
        shift, speed = draw_shift(augment), draw_speed(augment)
        clip = cut(prepared, self.clip, key, self.tokenizer, shift=shift, speed=speed, out=out)
        if self.video_augment is not None and clip.video is not None:
            clip = replace(clip, video=self.video_augment(clip.video))
        if self.audio_augment is not None and clip.audio is not None:
            clip = replace(clip, audio=self.audio_augment(clip.audio))
        return clip


def settle_worker(_: int) -> None:
    """Keep a loader's worker from copying its parent's memory, and alive as long as that; its ``worker_init_fn``.

    The garbage collector would mark, and so copy, every object that the parent made; it leaves them alone. SIGTERM
    often reaches a whole group of processes, and the parent, which ends behind its step, still wants clips: its worker
    obeys nobody else. A Ctrl-C reaches it too, and the parent ends it then.
    """
    gc.freeze()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, "sigwaitinfo"):  # not on every system
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        Thread(target=_obey, args=(os.getppid(),), daemon=True).start()


def _obey(parent: int) -> None:
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != parent:
        pass
    os._exit(0)


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
        dataset = self.dataset
        return windows(dataset.read(index), dataset.clip, dataset.keys[index], dataset.tokenizer)


def _check_width(corpus: str, files: ClipFiles | ShardFiles, rows: Sequence[Row], name: str, width: int) -> None:
    """Look at the first clip that has a precomputed stream; the preparation saw to it that all are as wide.

    Raises:
        ConfigError: The model's config says another width.
    """
    index = next((index for index, row in enumerate(rows) if row.has(name)), None)
    if index is None:
        return
    found = files.load(index, rows[index].key, (name,)).features[name].shape[1]
    if found != width:
        raise ConfigError(
            f"the features {name} of {corpus} are {found} wide and the config says {width}; set width: {found}"
        )
