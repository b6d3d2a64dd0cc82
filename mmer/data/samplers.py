"""Which clips an epoch draws, in which order, and with which seed each is changed."""

from __future__ import annotations

from collections.abc import Iterator, Sized
from dataclasses import dataclass
from itertools import chain, repeat
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
        ahead: Shards to fetch meanwhile, for clips that are drawn later.
    """

    index: int
    seed: int
    ahead: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Share:
    """Which part of a run's draws a process takes.

    Args:
        seed: The run's seed.
        batch_size: Clips that each process takes for a step.
        processes: How many processes share an epoch.
        rank: Which of them this is.
        local: How many of them run on this machine.
    """

    seed: int = 0
    batch_size: int = 1
    processes: int = 1
    rank: int = 0
    local: int = 1


class DrawSampler(DistributedSampler[Draw]):
    """Draws as many clips as there are, in whole batches over all processes, anew in every epoch.

    The order and the seeds depend on the run's seed, the epoch and the place in the epoch, and on nothing else: neither
    on the number of workers nor on which of them reads a clip. Processes take turns in the one order, so that the same
    clips make a step whether one process takes them or several. An incomplete last step is left out unless it is the
    only one, whose first clips repeat where the processes cannot share it evenly. It is one of PyTorch's distributed
    samplers, so that Lightning keeps it and tells it the epoch.

    Args:
        dataset: The clips.
        groups: A number for the class, or the speaker, of each clip: every group is then drawn equally often, its
            clips in fresh random orders one after the other. None draws each clip once.
        share: Which of the draws are this process's.
        shard: The number of each clip's shard, -1 for none, where shards are fetched: the first clip that is drawn then
            asks for all of them, in the order in which they are wanted. None asks for none.
    """

    own_clips = False
    """Whether a process has clips of its own, so that another number of processes has other steps."""

    def __init__(
        self,
        dataset: Sized,
        groups: NDArray[np.int64] | None = None,
        share: Share = Share(),
        shard: NDArray[np.int64] | None = None,
    ) -> None:
        super().__init__(cast(Dataset[Any], dataset), num_replicas=share.processes, rank=share.rank, seed=share.seed)
        self.clips = len(dataset)
        self.members = None if groups is None else [np.flatnonzero(groups == group) for group in np.unique(groups)]
        if steps := self.clips // (share.processes * share.batch_size):
            self.num_samples = steps * share.batch_size
            self.total_size = self.num_samples * share.processes
        self._far = shard
        self._taken = (-1, 0)

    @property
    def order(self) -> list[int | str]:
        """On what the order of an epoch depends, beside the clips themselves."""
        return [type(self).__name__, self.seed, self.clips, 0 if self.members is None else len(self.members)]

    def go_on(self, epoch: int, taken: int) -> None:
        """Leave out what this process has taken of an epoch that was broken off."""
        self._taken = (epoch, taken)

    @property
    def taken(self) -> int:
        """How many clips of the coming epoch this process leaves out, for it has taken them."""
        epoch, taken = self._taken
        return taken if epoch == self.epoch else 0

    def __iter__(self) -> Iterator[Draw]:
        order = self._order(np.random.default_rng(seed_sequence(self.seed, 0, self.epoch)))
        seeds = seed_sequence(self.seed, 1, self.epoch).generate_state(self.total_size, np.uint64)
        mine = slice(self.rank + self.taken * self.num_replicas, None, self.num_replicas)
        clips = order[mine].tolist()
        return map(Draw, clips, seeds[mine].tolist(), chain([self._wanted(clips)], repeat(())))

    def _wanted(self, clips: list[int]) -> tuple[int, ...]:
        """Return the shards of clips, those that are wanted first at the beginning, where they are to be fetched."""
        if self._far is None:
            return ()
        return tuple(shard for shard in dict.fromkeys(self._far[clips].tolist()) if shard >= 0)

    def _order(self, rng: np.random.Generator) -> NDArray[np.int64]:
        """Return the epoch of all processes; the first clips repeat where they cannot share it evenly."""
        return np.resize(self._epoch_of_one(rng), self.total_size)

    def _epoch_of_one(self, rng: np.random.Generator) -> NDArray[np.int64]:
        """Return as many draws as there are clips: what one process would take, and several share."""
        if self.members is None:
            return rng.permutation(self.clips)
        counts = np.full(len(self.members), self.clips // len(self.members))
        counts[rng.permutation(len(counts))[: self.clips - counts.sum()]] += 1
        drawn = [_cycle(clips, count, rng) for clips, count in zip(self.members, counts.tolist(), strict=True)]
        return rng.permutation(np.concatenate(drawn))


def _cycle(clips: NDArray[np.int64], count: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Return some clips in one random order after the other, so that none is drawn twice more than another."""
    rounds = -(-count // len(clips))
    return np.concatenate([clips[:0], *(rng.permutation(clips) for _ in range(rounds))])[:count]


def seed_sequence(seed: int, *place: int) -> np.random.SeedSequence:
    """Return the seeds of one place of a run, such as an epoch on a process; those of other places are unrelated."""
    return np.random.SeedSequence(seed, spawn_key=place)
