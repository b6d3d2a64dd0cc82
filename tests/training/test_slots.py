"""Which trials count: exactly as many as are wanted, whoever asks, dies or comes too late."""

from __future__ import annotations

import pytest
from optuna.trial import FrozenTrial, TrialState, create_trial

from mmer.training.slots import END, SLOT, alive, find_slots, judge

STATES = {
    "c": (TrialState.COMPLETE, None),
    "p": (TrialState.PRUNED, None),
    "r": (TrialState.RUNNING, None),
    "w": (TrialState.WAITING, None),
    "d": (TrialState.FAIL, None),  # died, and nobody could say so
    "k": (TrialState.FAIL, "died"),
    "i": (TrialState.FAIL, "interrupted"),
    "m": (TrialState.FAIL, "mistake"),
    "s": (TrialState.FAIL, "surplus"),
    "t": (TrialState.FAIL, "twice"),
}


def trials(words: str) -> list[FrozenTrial]:
    """Return trials as ``c r:0 d`` describes them: their states, and behind a colon whose slot they have."""
    found = []
    for number, word in enumerate(words.split()):
        letter, _, slot = word.partition(":")
        state, end = STATES[letter]
        attributes = ({END: end} if end else {}) | ({SLOT: int(slot)} if slot else {})
        value = 0.5 if state is TrialState.COMPLETE else None
        trial = create_trial(state=state, value=value, user_attrs=attributes)
        trial.number = number
        found.append(trial)
    return found


@pytest.mark.parametrize(
    ("words", "states"),
    [
        ("c p r w", ["finished", "finished", "running", "waiting"]),
        ("d k i", ["dead", "dead", "dead"]),
        ("m s", ["gone", "gone"]),
        ("d c:0", ["finished"]),
        ("d k:0", ["dead"]),
        ("d k:0 d:0", ["gone"]),  # tried again twice, and no more
        ("d i:0 i:0 i:0 k:0", ["dead"]),  # to be asked to end is no failure
        ("d r:0 t:0", ["running"]),
        ("d k:0 t:0", ["dead"]),
        ("d w:0 c", ["waiting", "finished"]),
    ],
)
def test_a_slot_is_what_its_trials_made_of_it(words: str, states: list[str]) -> None:
    assert [slot.state for slot in find_slots(trials(words), 2, grid=False)] == states


@pytest.mark.parametrize(
    ("words", "wanted", "verdict"),
    [
        ("r", 1, None),
        ("c r", 1, "surplus"),
        ("c c r r", 3, "surplus"),
        ("c m r r", 3, None),  # the mistake left its place
        ("d r r", 2, "surplus"),  # the dead one will be tried again
        ("d c r:0", 2, None),
        ("d c r:0 r:0", 2, "twice"),
        ("d c:0 r:0", 3, "twice"),
        ("d c s r:0", 2, None),
    ],
)
def test_who_began_last_is_judged(words: str, wanted: int, verdict: str | None) -> None:
    found = trials(words)
    assert judge(found, len(found) - 1, wanted, 2, grid=False) == verdict


def test_of_two_in_a_slot_the_earlier_stays() -> None:
    found = trials("d r:0 r:0")
    assert [judge(found, number, 1, 2, grid=False) for number in (1, 2)] == [None, "twice"]


def test_a_point_that_is_not_of_the_grid_counts_nothing() -> None:
    found = trials("c:0 r:1 r d")
    assert [slot.number for slot in find_slots(found, 2, grid=True)] == [0, 1]
    assert judge(found, 2, 5, 2, grid=True) == "surplus"
    assert judge(found, 1, 5, 2, grid=True) is None


def test_a_point_of_a_grid_that_was_withdrawn_may_come_back() -> None:
    assert [slot.state for slot in find_slots(trials("c:0 s:1 m:2"), 2, grid=True)] == ["finished", "dead", "gone"]


def test_the_first_slots_alive_are_those_that_finish() -> None:
    slots = find_slots(trials("m c k r s w:2"), 2, grid=False)
    assert [slot.number for slot in alive(slots)] == [1, 2, 3]
