"""Trainings that tests have begun end with them."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.training.alive import is_alive

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="processes are found by /proc"),
]

SLEEP = "import time; time.sleep(600)"


@pytest.fixture(scope="class")  # wider than a test's, so that it ends behind what ends trainings
def left(nursery: Any) -> Iterator[list[int]]:
    """Trainings that a test leaves behind, which are gone before the next one begins."""
    found: list[int] = []
    yield found
    assert found and not any(map(is_alive, found)) and not nursery.running


def test_trainings_that_are_left_behind_end_with_their_test(nursery: Any, left: list[int], tmp_path: Path) -> None:
    left.extend(nursery.start([], tmp_path / f"log.{number}", before=SLEEP).pid for number in range(2))
    assert all(map(is_alive, left))


def test_who_is_waited_for_is_not_killed_again(nursery: Any, tmp_path: Path) -> None:
    run = nursery.start([], tmp_path / "log", before=SLEEP)
    run.send(signal.SIGKILL)
    assert run.wait() == -signal.SIGKILL and not nursery.running
