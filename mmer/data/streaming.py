"""The order in which training reads shards: few of them at a time, every clip once an epoch, told by arithmetic alone.

An epoch puts the shards in a random order and the clips of each in a random order. Every process takes a run of that
sequence, as long as the others', and shuffles it within windows: it needs the shards of one window on its disk and
fetches those of the next meanwhile. Nothing is counted or kept while reading, so any place of any epoch is the same
whoever asks, and a run goes on from a place as if it had not stopped.
"""

from __future__ import annotations

import math
import zlib
from collections import defaultdict
from collections.abc import Collection, Iterator
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from mmer.config import ShardConfig
from mmer.data.dataset import ClipDataset
from mmer.data.samplers import Draw, DrawSampler, Share, seed_sequence
from mmer.data.shards import ShardFiles
from mmer.errors import ConfigError

_REMOTE_WINDOW = 4e9  # bytes


class ShardSampler(DrawSampler):
    """Draws each clip once, window by window, in whole steps as any :class:`~mmer.data.samplers.DrawSampler`.

    What step takes which clips depends on the number of processes, for each reads shards of its own. Words alone lie in
    no shard and are strewn over the whole epoch.

    Args:
        dataset: The clips.
        window: How many bytes of shards a window has, about.
        share: Which of the draws are this process's.
    """

    own_clips = True

    def __init__(self, dataset: ClipDataset, window: float, share: Share = Share()) -> None:  # noqa: B008 - frozen
        super().__init__(dataset, share=share)
        assert isinstance(dataset.files, ShardFiles), "only shards are read in windows"
        self.shard = dataset.files.shard
        stored = int((self.shard >= 0).sum())
        mean = dataset.files.total / stored if stored else 1.0  # of what is fetched for a clip
        self.window = max(1, min(self.clips, int(window / mean)))

    @property
    def order(self) -> list[int | str]:
        """On what the order of an epoch depends, beside the clips themselves: which lies in which shard, too."""
        return [*super().order, self.window, zlib.crc32(self.shard.astype("<i8").tobytes())]

    def __iter__(self) -> Iterator[Draw]:
        ahead, draws = self._ahead(), enumerate(super().__iter__(), self.taken)
        return (Draw(draw.index, draw.seed, tuple(ahead.get(place, ()))) for place, draw in draws)

    def _order(self, rng: np.random.Generator) -> NDArray[np.int64]:
        """Return the epoch of all processes, who take turns in it: so that each gets a run, the runs are interlaced."""
        whole = np.resize(self._by_shard(rng), self.total_size)
        runs = whole.reshape(self.num_replicas, self.num_samples)
        for run in runs:
            for window in self._windows(run):
                rng.shuffle(window)
        return runs.T.reshape(-1)

    def _by_shard(self, rng: np.random.Generator) -> NDArray[np.int64]:
        """Return the clips shard by shard, both in random order."""
        order = rng.permutation(self.clips)
        rank = rng.permutation(int(self.shard.max(initial=-1)) + 1)
        stored = order[self.shard[order] >= 0]
        stored = stored[np.argsort(rank[self.shard[stored]], kind="stable")]
        words = order[self.shard[order] < 0]
        return np.insert(stored, rng.integers(0, len(stored) + 1, len(words)), words)

    def _windows(self, run: NDArray[np.int64]) -> list[NDArray[np.int64]]:
        return [run[start : start + self.window] for start in range(0, len(run), self.window)]

    def _ahead(self) -> dict[int, list[int]]:
        """Return at which place of this process's run which shards are to be fetched, each once.

        Where an epoch goes on, its first clip asks for what would have been asked for before it and is still wanted.
        """
        order = self._order(np.random.default_rng(seed_sequence(self.seed, 0, self.epoch)))
        run = order[self.rank :: self.num_replicas]
        places = self._places(self._windows(run))
        ahead: dict[int, list[int]] = defaultdict(list)
        for shard in self._needed(run[self.taken :]):
            ahead[max(places[shard], self.taken)].append(shard)
        return ahead

    def _places(self, windows: list[NDArray[np.int64]]) -> dict[int, int]:
        """Return at which place each shard is to be fetched: by and by in the window before its first.

        The first window has none before it: its shards are fetched with its first clips, one with each, or, where an
        epoch goes on, at once.
        """
        first = self._needed(windows[0])
        places = {shard: 0 if self.taken else place for place, shard in enumerate(first)}
        for number, (window, following) in enumerate(pairwise(windows)):
            needed = self._needed(following, known=places)
            at = number * self.window + np.linspace(0, len(window) - 1, len(needed)).astype(int)
            places |= dict(zip(needed, at.tolist(), strict=True))
        return places

    def _needed(self, clips: NDArray[np.int64], known: Collection[int] = ()) -> list[int]:
        """Return the shards of clips, but for those that are known, in the order in which they are wanted."""
        shards = dict.fromkeys(self.shard[clips].tolist())
        return [shard for shard in shards if shard >= 0 and shard not in known]


def build_sampler(
    dataset: ClipDataset,
    groups: NDArray[np.int64] | None,
    config: ShardConfig,
    share: Share = Share(),  # noqa: B008 - frozen
) -> DrawSampler:
    """Return what draws training clips: all of them at random where they fit in one window, else window by window.

    Args:
        dataset: The clips.
        groups: A number for what is balanced of each clip; None draws each once.
        config: How shards are read.
        share: Which of the draws are this process's.

    Raises:
        ConfigError: Something is to be balanced and the clips do not fit in one window, or the windows of this
            machine's processes do not fit in the cache.
    """
    window = _window(dataset, config, share.local)
    if window is None:
        return DrawSampler(dataset, groups, share, _far(dataset))
    if groups is not None:
        assert isinstance(dataset.files, ShardFiles)
        raise ConfigError(
            "a balanced data.sampler draws from all training clips at any time, and their shards of "
            f"{dataset.files.total / 1e9:.3g} GB are read in windows of {window / 1e9:.3g} GB; choose "
            "data.sampler=shuffled, or a larger data.shards.window_gb"
        )
    return ShardSampler(dataset, window, share)


def _far(dataset: ClipDataset) -> NDArray[np.int64] | None:
    """Return in which shards clips lie that are fetched from a URL; None where they are at hand."""
    files = dataset.files
    return files.shard if isinstance(files, ShardFiles) and files.mirror is not None else None


def _window(dataset: ClipDataset, config: ShardConfig, local: int) -> float | None:
    """Return how many bytes a window has, or None where there is but one.

    Raises:
        ConfigError: The cache cannot hold the windows of so many processes.
    """
    files = dataset.files
    if not isinstance(files, ShardFiles) or (files.mirror is None and config.window_gb is None):
        return None
    most = _widest(files, config, local)
    window = min(_REMOTE_WINDOW, most) if config.window_gb is None else 1e9 * config.window_gb
    if window > most:
        raise ConfigError(
            f"data.shards.window_gb={config.window_gb} is too much: {_kept(local)} that window, the next one and two "
            f"shards, and data.shards.cache_gb={config.cache_gb}; give that at least "
            f"{_in_gb(2 * local * (window + files.longest))}, or make the window smaller"
        )
    return window if window < files.total else None


def _widest(files: ShardFiles, config: ShardConfig, local: int) -> float:
    """Return how wide a window may be, so that two of each process of this machine stay in the cache.

    Windows begin and end in the middle of shards, so that two that follow each other need two shards more.

    Raises:
        ConfigError: Not even three shards of each process would stay.
    """
    cache = 1e9 * config.cache_gb
    if files.mirror is None or files.total <= cache:
        return math.inf
    if cache < 3 * local * files.longest:
        raise ConfigError(
            f"data.shards.cache_gb={config.cache_gb} is too little: {_kept(local)} three shards of up to "
            f"{files.longest / 1e6:.3g} MB; give it at least {_in_gb(3.0 * local * files.longest)}"
        )
    return cache / local / 2 - files.longest


def _kept(local: int) -> str:
    return "a training keeps there" if local == 1 else f"each of the {local} processes of this machine keeps there"


def _in_gb(size: float) -> float:
    """Return a number of bytes in 10^9, rounded up to a million."""
    return math.ceil(size / 1e6) / 1e3
