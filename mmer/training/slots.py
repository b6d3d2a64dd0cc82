"""Which trials of a study count: each has a slot, and one that dies is tried again in the same slot.

Trials are numbered by the storage as they begin, so processes that share a study agree on the order of its slots
without asking each other. The first N slots that are not given up are the N trials that were asked for; whoever finds
that his trial lies beyond withdraws it. A slot that was given up stays so, hence never more than N finish, unless more
retries are asked for meanwhile; a point of a grid keeps its place, and may be begun when more are asked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from optuna.trial import FrozenTrial, TrialState

SLOT = "slot"
"""Attribute of a trial: whose place it takes; without it, its own."""

END = "end"
"""Attribute of a failed trial: why it did."""

RUN = "run"
"""Attribute of a trial: where and how it is trained; it has a first sign of life by then."""

End = Literal["surplus", "twice", "mistake", "interrupted", "died"]
"""Why a trial failed: nobody asked for so many; another one has its slot; its settings cannot work; whoever ran it was
asked to end; its training was killed, which is also what nothing says."""

State = Literal["finished", "running", "waiting", "dead", "gone"]
"""Of a slot; a dead one is to be tried again, one that is gone never. A point of a grid that was withdrawn is dead:
more may be asked for later."""

_FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)


@dataclass(frozen=True, slots=True)
class Slot:
    """A place among the trials, and who was in it.

    Args:
        number: Its place in the order.
        state: How far it is.
        trials: Its trials, in their order; the last is the newest.
    """

    number: int
    state: State
    trials: tuple[FrozenTrial, ...]


def find_slots(trials: Sequence[FrozenTrial], retries: int, *, grid: bool) -> list[Slot]:
    """Return the slots of a study in their order.

    Args:
        trials: All trials of the study.
        retries: How many times a slot is tried again after its trial has died.
        grid: Whether slots are the points of a grid; a trial that has none was withdrawn, or will be.
    """
    found: dict[int, list[FrozenTrial]] = {}
    for trial in sorted(trials, key=lambda each: each.number):
        if not grid or SLOT in trial.user_attrs:
            found.setdefault(slot_of(trial), []).append(trial)
    return [Slot(number, _state(each, retries, grid=grid), tuple(each)) for number, each in sorted(found.items())]


def slot_of(trial: FrozenTrial) -> int:
    """Return the number of a trial's slot."""
    return int(trial.user_attrs.get(SLOT, trial.number))


def alive(slots: Sequence[Slot]) -> list[Slot]:
    """Return the slots that are finished or will be."""
    return [slot for slot in slots if slot.state != "gone"]


def is_over(slots: Sequence[Slot], wanted: int, *, grid: bool) -> bool:
    """Tell whether there is nothing left to do."""
    finished = sum(slot.state == "finished" for slot in slots)
    return finished >= wanted or (grid and all(slot.state in ("finished", "gone") for slot in slots))


def judge(trials: Sequence[FrozenTrial], number: int, wanted: int, retries: int, *, grid: bool) -> End | None:
    """Return why a trial that has just begun is to be withdrawn; None where it may run.

    Args:
        trials: All trials of the study, with this one.
        number: Its number.
        wanted: How many trials there are to be.
        retries: How many times a slot is tried again after its trial has died.
        grid: Whether slots are the points of a grid.
    """
    own = next(trial for trial in trials if trial.number == number)
    if grid and SLOT not in own.user_attrs:
        return "surplus"
    slots = find_slots(trials, retries, grid=grid)
    slot = next(each for each in slots if each.number == slot_of(own))
    others = [trial for trial in slot.trials if trial.number != number]
    if any(_holds(trial, number) for trial in others):
        return "twice"
    before = [each for each in alive(slots) if each.number < slot.number]
    return "surplus" if len(before) >= wanted else None


def _holds(trial: FrozenTrial, number: int) -> bool:
    """Tell whether a trial has a slot, so that another one cannot."""
    return trial.state in _FINISHED or (trial.state is TrialState.RUNNING and trial.number < number)


def _state(trials: Sequence[FrozenTrial], retries: int, *, grid: bool) -> State:
    states = {trial.state for trial in trials}
    if states & set(_FINISHED):
        return "finished"
    if TrialState.RUNNING in states:
        return "running"
    if TrialState.WAITING in states:
        return "waiting"
    ends = [trial.user_attrs.get(END, "died") for trial in trials]
    if ("surplus" in ends and not grid) or "mistake" in ends or ends.count("died") > retries:
        return "gone"
    return "dead"
