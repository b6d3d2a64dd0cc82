"""Trainings that tests have begun end with them."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest

from tests.training.alive import is_alive

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="processes are found by /proc"),
]

SLEEP = "import time; time.sleep(600)"

LEFT: list[int] = []


def test_a_training_is_left_behind(nursery: Any, tmp_path: Path) -> None:
    LEFT.extend(nursery.start([], tmp_path / f"log.{number}", before=SLEEP).pid for number in range(2))
    assert all(map(is_alive, LEFT))


def test_and_is_gone_before_the_next_test_begins(nursery: Any, tmp_path: Path) -> None:
    assert not any(map(is_alive, LEFT)) and not nursery.running
    run = nursery.start([], tmp_path / "log", before=SLEEP)
    run.send(signal.SIGKILL)
    assert run.wait() == -signal.SIGKILL and not nursery.running, "who is waited for is not killed again"
