"""An epoch is dealt fairly, to each process its own part, and repeats with its seed."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from torch.utils.data import BatchSampler, DataLoader
from torch.utils.data.distributed import DistributedSampler

from mmer.data.samplers import Draw, DrawSampler, Share

CLASSES = np.array([0] * 30 + [1] * 8 + [2] * 2)
MEMBERS = (range(30), range(30, 38), range(38, 40))


def draws(count: int = 10, epoch: int = 0, groups: np.ndarray | None = None, **share: int) -> list[Draw]:
    sampler = DrawSampler(range(count), groups, Share(**share))
    sampler.set_epoch(epoch)
    drawn = list(sampler)
    assert len(drawn) == len(sampler)
    return drawn


def indices(*args: object, **settings: object) -> list[int]:
    return [draw.index for draw in draws(*args, **settings)]


def test_shuffled_draws_every_clip_once_in_another_order_each_epoch() -> None:
    first, second = indices(50), indices(50, epoch=1)
    assert sorted(first) == sorted(second) == list(range(50))
    assert first != second and first != list(range(50))


def test_an_epoch_repeats_with_its_seed() -> None:
    assert draws(epoch=3, seed=1) == draws(epoch=3, seed=1)
    assert draws(seed=1) != draws(seed=2)


def test_every_draw_of_a_run_has_a_seed_of_its_own() -> None:
    seeds = [draw.seed for epoch in range(20) for rank in (0, 1) for draw in draws(epoch=epoch, processes=2, rank=rank)]
    seeds += [draw.seed for draw in draws(seed=1)]
    assert len(set(seeds)) == len(seeds) == 210


@pytest.mark.parametrize("groups", [None, CLASSES])
def test_processes_share_the_one_order_of_an_epoch(groups: np.ndarray | None) -> None:
    alone = draws(40, groups=groups)
    first, second = (draws(40, groups=groups, processes=2, rank=rank) for rank in (0, 1))
    assert alone[::2] == first and alone[1::2] == second


def test_processes_of_a_shuffled_epoch_have_no_clip_in_common() -> None:
    parts = [indices(40, processes=4, rank=rank) for rank in range(4)]
    assert sorted(i for part in parts for i in part) == list(range(40))


@pytest.mark.parametrize("groups", [None, CLASSES])
def test_the_same_clips_make_a_step_however_many_processes_take_them(groups: np.ndarray | None) -> None:
    """40 clips in steps of 12: the last 4 are left out, for one process as for three."""
    alone = [draw.index for draw in DrawSampler(range(40), groups, Share(batch_size=12))]
    samplers = [DrawSampler(range(40), groups, Share(batch_size=4, processes=3, rank=rank)) for rank in range(3)]
    parts = [[draw.index for draw in sampler] for sampler in samplers]
    assert len(alone) == 36
    for step in range(3):
        together = [clip for part in parts for clip in part[4 * step : 4 * step + 4]]
        assert sorted(together) == sorted(alone[12 * step : 12 * step + 12])


def test_an_only_step_that_cannot_be_shared_evenly_repeats_as_few_clips_as_can_be() -> None:
    parts = [indices(10, processes=4, rank=rank, batch_size=3) for rank in range(4)]
    assert [len(part) for part in parts] == [3, 3, 3, 3]
    assert sorted(Counter(i for part in parts for i in part).values()) == [1] * 8 + [2] * 2


def test_an_epoch_that_was_broken_off_goes_on_where_it_was() -> None:
    sampler = DrawSampler(range(12), share=Share(batch_size=2, processes=2, rank=1))
    sampler.set_epoch(3)
    whole = list(sampler)
    sampler.go_on(3, 4)
    assert list(sampler) == whole[4:] and sampler.taken == 4
    sampler.set_epoch(4)
    assert len(list(sampler)) == 6 and sampler.taken == 0, "the next one begins at its beginning"


def test_more_processes_than_clips_all_have_something_to_do() -> None:
    assert [len(indices(2, processes=5, rank=rank)) for rank in range(5)] == [1] * 5


def test_balanced_groups_are_drawn_equally_often_and_their_clips_too() -> None:
    for epoch in range(5):
        counts = Counter(indices(40, epoch, groups=CLASSES))
        per_class = [sum(counts[i] for i in clips) for clips in MEMBERS]
        assert sorted(per_class) == [13, 13, 14], "40 draws over 3 classes"
        for clips in MEMBERS:
            times = [counts[i] for i in clips]
            assert max(times) - min(times) <= 1
        assert max(counts[i] for i in range(30)) == 1, "a class that is large enough repeats no clip"


def test_what_is_left_over_goes_to_other_groups_in_other_epochs() -> None:
    larger = {Counter(CLASSES[indices(40, epoch, groups=CLASSES)].tolist()).most_common(1)[0][0] for epoch in range(20)}
    assert larger == {0, 1, 2}


def test_over_epochs_a_large_group_is_seen_whole() -> None:
    seen = {i for epoch in range(12) for i in indices(40, epoch, groups=CLASSES)}
    assert seen == set(range(40))


def test_balanced_groups_are_mixed_within_the_epoch() -> None:
    classes = CLASSES[indices(40, groups=CLASSES)]
    assert (np.diff(classes) != 0).sum() > 12


def test_more_groups_than_draws_is_no_trouble() -> None:
    assert len(set(indices(3, groups=np.array([5, 7, 9])))) == 3


def test_it_is_what_lightning_keeps_and_tells_the_epoch() -> None:
    sampler = DrawSampler(range(4))
    assert isinstance(sampler, DistributedSampler) and sampler.epoch == 0
    loader = DataLoader(range(4), sampler=sampler, batch_size=2)
    assert isinstance(loader.batch_sampler, BatchSampler) and loader.batch_sampler.sampler is sampler
