"""The loader goes on in the middle of an epoch, and says where it cannot."""

from __future__ import annotations

from typing import Any

import pytest
from torch.utils.data import DataLoader, SequentialSampler

from mmer.data.loader import TrainLoader
from mmer.data.samplers import Draw, DrawSampler, Share
from mmer.errors import ConfigError


class Clips(list[int]):
    """Clips whose content is the draw that asked for them."""

    def __getitem__(self, item: Any) -> Any:
        return item


def make_loader(batch_size: int, processes: int = 1, rank: int = 0, epoch: int = 2) -> TrainLoader:
    clips = Clips(range(19))
    sampler = DrawSampler(clips, share=Share(batch_size=batch_size, processes=processes, rank=rank))
    sampler.set_epoch(epoch)
    return TrainLoader(clips, batch_size=batch_size, sampler=sampler, collate_fn=list)


def broken_off(batches: int, batch_size: int, processes: int = 1) -> dict[str, Any]:
    loader = make_loader(batch_size, processes)
    for _, _ in zip(range(batches), loader, strict=False):
        pass
    return loader.state_dict()


def test_what_was_handed_out_is_left_out() -> None:
    whole, again = list(make_loader(4)), make_loader(4)
    again.load_state_dict(broken_off(3, 4))
    assert list(again) == whole[3:] and len(again) == 4
    again.sampler.set_epoch(3)
    assert len(list(again)) == 4, "the next epoch is whole"


def test_other_processes_go_on_with_steps_of_as_many_clips() -> None:
    rest = [set(batch) for batch in list(make_loader(4))[3:]]
    parts = [make_loader(2, processes=2, rank=rank) for rank in (0, 1)]
    for part in parts:
        part.load_state_dict(broken_off(3, 4))
    assert [set(first) | set(second) for first, second in zip(*parts, strict=True)] == rest


@pytest.mark.parametrize(("before", "batch_size"), [((3, 4, 1), 2), ((5, 2, 1), 4), ((3, 2, 2), 2)])
def test_steps_of_other_clips_do_not_go_on_in_the_middle(before: tuple[int, int, int], batch_size: int) -> None:
    loader = make_loader(batch_size)
    loader.load_state_dict(broken_off(*before))
    with pytest.raises(ConfigError, match=r"the checkpoint stopped in the middle of an epoch with data\.batch_size="):
        list(loader)


@pytest.mark.parametrize(("before", "batch_size"), [((4, 4, 1), 2), ((9, 2, 1), 4), ((2, 4, 2), 2)])
def test_steps_of_other_clips_go_on_behind_an_epoch(before: tuple[int, int, int], batch_size: int) -> None:
    loader = make_loader(batch_size, epoch=3)
    loader.load_state_dict(broken_off(*before))
    assert len(list(loader)) == 19 // batch_size


def test_processes_with_clips_of_their_own_stay_as_many(monkeypatch: pytest.MonkeyPatch) -> None:
    state = broken_off(3, 4)
    monkeypatch.setattr(DrawSampler, "own_clips", True)
    loader = make_loader(2, processes=2)
    loader.load_state_dict(state)
    with pytest.raises(ConfigError, match="this is 2 on 2; give those, or go on from the end"):
        list(loader)


def test_another_order_does_not_go_on_in_the_middle() -> None:
    loader = make_loader(4)
    loader.sampler.seed = 5
    loader.load_state_dict(broken_off(3, 4))
    with pytest.raises(ConfigError, match="an epoch whose clips came in another order; give the seed_everything"):
        list(loader)


def test_another_sampler_has_no_place() -> None:
    """Lightning puts one there to overfit a batch."""
    clips = Clips(range(5))
    loader = TrainLoader(clips, batch_size=2, sampler=SequentialSampler(clips), collate_fn=list)
    assert isinstance(loader, DataLoader) and loader.state_dict() == {}
    loader.load_state_dict(broken_off(1, 4))
    assert list(loader) == [[0, 1], [2, 3], [4]]


def test_a_draw_is_what_is_asked_for() -> None:
    assert isinstance(next(iter(make_loader(4)))[0], Draw)
