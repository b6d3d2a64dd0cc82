"""The loader of training clips, which goes on in the middle of an epoch."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from torch.utils.data import DataLoader

from mmer.batch import Clip
from mmer.data.samplers import DrawSampler
from mmer.errors import ConfigError


class TrainLoader(DataLoader[Clip]):
    """A loader over the draws of a :class:`~mmer.data.samplers.DrawSampler`, whose place a checkpoint keeps.

    Its place is what was handed out, not what workers have read ahead. Lightning saves and restores it.
    """

    handed = 0
    """Batches of the epoch that were handed out."""

    refusal = ""
    """Why the middle of an epoch means nothing here; its end does."""

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        """Yield the batches of the epoch, or what is left of it where a checkpoint says how far it was.

        Raises:
            ConfigError: A step takes another number of clips than before, so that the place in the epoch means nothing.
        """
        taken = self.sampler.taken if isinstance(self.sampler, DrawSampler) else 0
        if taken and self.refusal:
            raise ConfigError(self.refusal)
        self.handed = taken // self._size
        for batch in super().__iter__():
            self.handed += 1
            yield batch

    def state_dict(self) -> dict[str, Any]:
        """Return how far the epoch is; nothing where Lightning has put another sampler in the place of ours."""
        if not isinstance(self.sampler, DrawSampler):
            return {}
        order = self.sampler.order
        return {"epoch": self.sampler.epoch, "batches": self.handed, "order": order, **self._share()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where an epoch was broken off; another epoch begins at its beginning."""
        if not state or not isinstance(self.sampler, DrawSampler):
            return
        before, now = ((each["batch_size"], each["processes"]) for each in (state, self._share()))
        same = before == now if self.sampler.own_clips else math.prod(before) == math.prod(now)
        if not same:
            product = "those" if self.sampler.own_clips else f"what makes {math.prod(before)} clips a step"
            self.refusal = (
                f"the checkpoint stopped in the middle of an epoch with data.batch_size={before[0]} on {before[1]} "
                f"processes, and this is {now[0]} on {now[1]}; give {product}, or go on from the end of an epoch"
            )
        if state["order"] != self.sampler.order:
            self.refusal = (
                "the checkpoint stopped in the middle of an epoch whose clips came in another order; give the "
                "seed_everything, data.sampler and data.shards of its run, and its shards as they were, or go on from "
                "the end of an epoch"
            )
        self.sampler.go_on(state["epoch"], state["batches"] * self._size)

    def _share(self) -> dict[str, int]:
        assert isinstance(self.sampler, DrawSampler)
        return {"batch_size": self._size, "processes": self.sampler.num_replicas}

    @property
    def _size(self) -> int:
        assert self.batch_size is not None, "the data module names it"
        return self.batch_size
