"""Child processes end with their parent, and say in one line why they failed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mmer.training.child import Child, complaint, stop
from tests.training.alive import is_alive

SLEEPER = "import time; from mmer.training.child import follow_parent; follow_parent(); print('up', flush=True); {}"


def module(folder: Path, rest: str) -> None:
    (folder / "sleeper.py").write_text(SLEEPER.format(rest))


def wait_for(log: Path, text: str) -> None:
    deadline = time.monotonic() + 20
    while text not in log.read_text():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.fixture
def child(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Child:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), *sys.path]))
    module(tmp_path, "time.sleep(60)")
    return Child("sleeper", [], tmp_path / "log", threads=1)


def test_a_child_ends_when_its_parent_is_gone(child: Child) -> None:
    wait_for(child.log, "up")
    assert child.poll() is None
    assert child.process.stdin is not None
    child.process.stdin.close()  # as the system does when a process is killed
    assert child.process.wait(20) == 1


def test_a_child_is_stopped_even_if_it_does_not_listen(tmp_path: Path, child: Child) -> None:
    wait_for(child.log, "up")
    ignore = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)"
    module(tmp_path, f"{ignore}; print('deaf', flush=True); time.sleep(60)")
    deaf = Child("sleeper", [], tmp_path / "deaf.log", threads=1)
    wait_for(deaf.log, "deaf")
    stop([child, deaf])
    assert (child.process.returncode, deaf.process.returncode) == (-signal.SIGKILL, -signal.SIGKILL)
    assert deaf.complaint() == "it was ended by SIGKILL"


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="processes are found by /proc")
@pytest.mark.parametrize("ending", ["time.sleep(60)", "raise SystemExit(2)"])
def test_none_outlives_a_child_that_was_killed_or_has_failed(
    ending: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As processes that read clips for it, or that learn with it."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), *sys.path]))
    sleep = "[sys.executable, '-c', 'import time; time.sleep(60)']"
    start = f"import subprocess, sys; print('pid', subprocess.Popen({sleep}).pid, 'of it', flush=True)"
    module(tmp_path, f"{start}; {ending}")
    child = Child("sleeper", [], tmp_path / "log", threads=1)
    wait_for(child.log, "of it")
    grandchild = int(child.log.read_text().partition("pid ")[2].split()[0])
    if "sleep" in ending:
        child.kill()
    deadline = time.monotonic() + 20
    while child.poll() is None or is_alive(grandchild):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_threads_are_the_child_s_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), *sys.path]))
    module(tmp_path, "import os; print('threads', os.environ['OMP_NUM_THREADS']); raise SystemExit(3)")
    child = Child("sleeper", [], tmp_path / "log", threads=7)
    assert child.process.wait(20) == child.poll() == 3
    assert child.complaint() == "threads 7"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a\ntrain.py: error: no such thing\nExiting\n", "no such thing"),
        ("Traceback ...\nRuntimeError: out of memory\n\n", "RuntimeError: out of memory"),
        ("", "it said nothing"),
    ],
)
def test_the_reason_is_the_error_or_the_last_line(text: str, said: str) -> None:
    assert complaint(text) == said


def test_a_process_that_is_not_leashed_needs_no_input() -> None:
    command = [sys.executable, "-c", SLEEPER.format("time.sleep(0.2); print('alive')")]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["up", "alive"]
