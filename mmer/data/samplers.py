"""Which clips an epoch draws, in which order, and with which seed each is changed."""

from __future__ import annotations

from collections.abc import Iterator, Sized
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Dataset
from torch.utils.data.distributed import DistributedSampler


@dataclass(frozen=True, slots=True)
class Draw:
    """A clip, drawn for training.

    Args:
        index: Its place in the data set.
        seed: What the random changes to it are drawn with; every draw of a run has its own.
    """

    index: int
    seed: int


class DrawSampler(DistributedSampler[Draw]):
    """Draws as many clips as there are, a whole number for each process, anew in every epoch.

    The order and the seeds depend on the run's seed, the epoch and the place in the epoch, and on nothing else: neither
    on the number of workers nor on which of them reads a clip. Processes take turns in the one order. It is one of
    PyTorch's distributed samplers, so that Lightning keeps it and tells it the epoch.

    Args:
        dataset: The clips.
        groups: A number for the class, or the speaker, of each clip: every group is then drawn equally often, its
            clips in fresh random orders one after the other. None draws each clip once.
        seed: The run's seed.
        processes: How many processes share an epoch.
        rank: Which of them this is.
    """

    def __init__(
        self,
        dataset: Sized,
        groups: NDArray[np.int64] | None = None,
        *,
        seed: int = 0,
        processes: int = 1,
        rank: int = 0,
    ) -> None:
        super().__init__(cast(Dataset[Any], dataset), num_replicas=processes, rank=rank, seed=seed)
        self.clips = len(dataset)
        self.members = None if groups is None else [np.flatnonzero(groups == group) for group in np.unique(groups)]

    def __iter__(self) -> Iterator[Draw]:
        order = self._order(np.random.default_rng(seed_sequence(self.seed, 0, self.epoch)))
        seeds = seed_sequence(self.seed, 1, self.epoch).generate_state(self.total_size, np.uint64)
        mine = slice(self.rank, None, self.num_replicas)
        return map(Draw, order[mine].tolist(), seeds[mine].tolist())

    def _order(self, rng: np.random.Generator) -> NDArray[np.int64]:
        """Return the epoch of all processes; the first clips repeat where they cannot share it evenly."""
        if self.members is None:
            return np.resize(rng.permutation(self.clips), self.total_size)
        counts = np.full(len(self.members), self.total_size // len(self.members))
        counts[rng.permutation(len(counts))[: self.total_size - counts.sum()]] += 1
        drawn = [_cycle(clips, count, rng) for clips, count in zip(self.members, counts.tolist(), strict=True)]
        return rng.permutation(np.concatenate(drawn))


def _cycle(clips: NDArray[np.int64], count: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Return some clips in one random order after the other, so that none is drawn twice more than another."""
    rounds = -(-count // len(clips))
    return np.concatenate([clips[:0], *(rng.permutation(clips) for _ in range(rounds))])[:count]


def seed_sequence(seed: int, *place: int) -> np.random.SeedSequence:
    """Return the seeds of one place of a run, such as an epoch on a process; those of other places are unrelated."""
    return np.random.SeedSequence(seed, spawn_key=place)
