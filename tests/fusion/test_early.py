"""How streams come to one clock."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from mmer.batch import Tokens
from mmer.fusion.early import align


def tokens(*values: float | None) -> Tokens:
    """One clip of tokens of width 1; None is masked, with garbage under the mask."""
    x = torch.tensor([[1e6 if value is None else float(value) for value in values]]).unsqueeze(2)
    return Tokens(x, torch.tensor([[value is not None for value in values]]))


def on_clock(given: Tokens, steps: int, causal: bool = False) -> list[float | None]:
    clean = Tokens(torch.where(given.mask.unsqueeze(2), given.x, 0.0), given.mask)
    out = align(clean, given.count(), steps, causal=causal)
    return [
        round(value, 4) if real else None
        for value, real in zip(out.x[0, :, 0].tolist(), out.mask[0].tolist(), strict=True)
    ]


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("steps", [1, 3, 7, 16, 50])
def test_a_token_to_each_step_stays_exactly_what_it_is(steps: int, causal: bool) -> None:
    torch.manual_seed(0)
    x = torch.randn(1, steps, 3)
    out = align(Tokens(x, torch.ones(1, steps, dtype=torch.bool)), torch.tensor([float(steps)]), steps, causal=causal)
    assert torch.equal(out.x, x)
    assert out.mask.all()


def test_between_the_middles_of_tokens_it_is_linear() -> None:
    assert on_clock(tokens(0, 4), 4) == [0, 1, 3, 4]  # middles at 1/4 and 3/4, steps at 1/8, 3/8, 5/8, 7/8


def test_a_linear_course_stays_one_where_several_tokens_fall_on_a_step() -> None:
    found = on_clock(tokens(*range(40)), 8)
    assert found[1:-1] == pytest.approx([5 * step + 2 for step in range(1, 7)], abs=1e-3)


def test_no_token_is_lost_where_several_fall_on_a_step() -> None:
    for place in range(40):
        assert any(on_clock(tokens(*(float(i == place) for i in range(40))), 8))


def test_a_single_token_is_at_every_step() -> None:
    assert on_clock(tokens(3), 5) == [3] * 5
    assert on_clock(tokens(3), 5, causal=True) == [None, None, None, None, 3]  # it is known when the clip has ended


def test_where_nobody_knows_how_long_the_clip_is_its_sound_spans_it() -> None:
    assert on_clock(tokens(0, 4, None, None, None), 4) == on_clock(tokens(0, 4), 4)


def test_tokens_need_not_end_where_the_clip_does() -> None:
    given = replace(tokens(0, 1, 2), extent=torch.tensor([2.5]))  # half of the last lies behind its end
    assert on_clock(given, 5) == [0, 0.25, 0.75, 1.25, 1.75]
    assert on_clock(given, 5, causal=True) == [None, 0, 0, 1, 2], "what its end cuts short is heard at its end"
    shorter = replace(tokens(3), extent=torch.tensor([0.2]))
    assert on_clock(shorter, 3, causal=True) == [None, None, 3]


def test_steps_that_were_cut_leave_the_others_in_their_place() -> None:
    given = replace(tokens(0, 1, None, None), extent=torch.tensor([4.0]))
    assert on_clock(given, 4) == [0, 1, None, None]
    assert on_clock(given, 8, causal=True) == [None, 0, 0, 1, 1, None, None, None]


def test_a_gap_is_bridged_by_its_real_neighbours_and_never_by_what_lies_in_it() -> None:
    assert on_clock(tokens(1, 2, None, 4, 5), 10) == [1, 1.25, 1.75, 2, 2, 4, 4, 4.25, 4.75, 5]


def test_a_step_without_any_token_near_is_masked() -> None:
    assert on_clock(tokens(1, None, None, None, 5), 5) == [1, None, None, None, 5]
    assert on_clock(tokens(None, None), 3) == [None] * 3


def test_a_causal_step_is_the_mean_of_what_has_ended_in_it_or_the_last_before() -> None:
    assert on_clock(tokens(1, 3, 5, 7), 2, causal=True) == [2, 6]
    assert on_clock(tokens(1, 3), 4, causal=True) == [None, 1, 1, 3]
    assert on_clock(tokens(1, 3, None, 7), 2, causal=True) == [2, 7]


@pytest.mark.parametrize(("count", "steps"), [(12, 4), (4, 12), (7, 5), (5, 7)])
def test_a_causal_step_ignores_what_comes_later(count: int, steps: int) -> None:
    torch.manual_seed(0)
    x, mask, extent = torch.randn(1, count, 2), torch.ones(1, count, dtype=torch.bool), torch.tensor([float(count)])
    before = align(Tokens(x, mask), extent, steps, causal=True).x
    for place in range(count):
        changed = x.clone()
        changed[:, place:] += 1
        ended = place * steps // count  # steps that end before the token's part begins
        assert torch.equal(align(Tokens(changed, mask), extent, steps, causal=True).x[0, :ended], before[0, :ended])
