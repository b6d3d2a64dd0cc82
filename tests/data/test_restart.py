"""A preparation can be killed at any moment, and only one writes to a folder at a time."""

from __future__ import annotations

import hashlib
import json
import operator
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from mmer.cli import main
from mmer.config import PrepareConfig
from mmer.corpora.manifest import Manifest, Row
from mmer.data import claim as claiming
from mmer.data.claim import claim, versions
from mmer.data.clip import PreparedClip
from mmer.data.pool import run_all
from mmer.data.prepare import prepare_corpus
from mmer.data.store import clip_path
from mmer.errors import CorpusError

SMALL = PrepareConfig(size=64)
COMMAND = "import sys; from mmer.cli import main; sys.exit(main())"


def contents(root: Path) -> dict[str, bytes]:
    """The bytes of every file of a folder, hidden ones included."""
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def write_films(path: Path, film: Path, count: int) -> Path:
    path.write_text("\n".join(["key,video,label", *(f"clip {i},{film},happy" for i in range(count))]))
    return path


def begin(*arguments: object) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", COMMAND, *map(str, arguments)], stderr=subprocess.DEVNULL)


PREPARER = """
import json, multiprocessing, os, sys
import mmer.data.prepare, mmer.data.summary
from mmer.cli import main

fork = multiprocessing.get_context("fork")
multiprocessing.get_context = lambda kind: fork  # workers too have imported all of it
for line in sys.stdin:
    child = os.fork()
    if not child:
        code = 99
        try:
            os.dup2(2, 1)
            code = main(json.loads(line))
        finally:
            os._exit(code)
    print(child, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


class Preparer:
    """Runs commands of ``mmer``, one after the other, without the seconds in which an interpreter imports all of it."""

    def __init__(self) -> None:
        command = [sys.executable, "-c", PREPARER]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )

    def begin(self, *arguments: object) -> int:
        """Begin a command and return the number of its process."""
        print(json.dumps([str(argument) for argument in arguments]), file=self.process.stdin, flush=True)
        return int(self.process.stdout.readline())

    def end(self) -> int:
        """Return the exit code of the command that runs, or minus the signal that has ended it."""
        return int(self.process.stdout.readline())


@pytest.fixture
def preparer() -> Iterator[Preparer]:
    started = Preparer()
    with started.process:
        yield started


def ready(root: Path) -> int:
    """Count the clips that are prepared."""
    return len(list(root.glob("clips/[!.]*.npz")))


def wait_for(root: Path, clips: int) -> None:
    deadline = time.monotonic() + 60
    while ready(root) < clips:
        assert time.monotonic() < deadline
        time.sleep(0.002)


@pytest.mark.slow
def test_killed_ten_times_equals_uninterrupted(tmp_path: Path, odd_media: dict[str, Path], preparer: Preparer) -> None:
    table = write_films(tmp_path / "films.csv", odd_media["a face.mp4"], 60)
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    settings = ("--size", 64, "--workers", 2)
    preparer.begin("prepare", "table", table, whole, *settings)
    assert preparer.end() == 0

    generator, codes = random.Random(0), []
    for _ in range(10):
        process = preparer.begin("prepare", "table", table, killed, *settings)
        wait_for(killed, min(50, ready(killed) + generator.randrange(6)))
        time.sleep(generator.uniform(0, 0.1))
        os.kill(process, signal.SIGKILL)
        codes.append(preparer.end())
    assert codes == [-signal.SIGKILL] * 10, "it was killed on the way"

    preparer.begin("prepare", "table", table, killed, *settings)
    assert preparer.end() == 0
    assert contents(killed) == contents(whole)


def test_killed_and_restarted_equals_uninterrupted(tmp_path: Path, odd_media: dict[str, Path]) -> None:
    table = write_films(tmp_path / "films.csv", odd_media["a face.mp4"], 12)
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    settings = ("--size", "64", "--workers", "1")
    process = begin("prepare", "table", table, killed, *settings)
    wait_for(killed, 3)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL, "the preparation was killed on the way"
    done = {path: path.stat().st_mtime_ns for path in killed.glob("clips/[!.]*.npz")}
    assert 3 <= len(done) < 12 and not (killed / "manifest.csv").exists()
    for path in done:
        PreparedClip.load(path, "a clip is there whole or not at all")
    for folder in (killed, whole):
        assert main(["prepare", "table", str(table), str(folder), *settings]) == 0
    assert contents(killed) == contents(whole)
    assert {path: path.stat().st_mtime_ns for path in done} == done, "what was ready was not made again"


def test_what_killed_writers_left_is_swept_and_nothing_else(tmp_path: Path, odd_media: dict[str, Path]) -> None:
    manifest = Manifest((Row("a", "test", audio=odd_media["8 kHz.wav"]),))
    root = tmp_path / "prepared"
    prepare_corpus(manifest, root, SMALL, progress=False)
    before = contents(root)
    left = [".prepare.12.json", ".manifest.12.csv", ".skipped.12.csv", ".faces.12.png", "clips/.a.12.npz"]
    kept = [".notes.txt", ".manifest.old.csv"]
    for name in (*left, *kept):
        (root / name).write_text("half")
    prepare_corpus(manifest, root, SMALL, progress=False)
    assert contents(root) == before | dict.fromkeys(kept, b"half")


def test_only_one_process_prepares_a_folder_at_a_time(tmp_path: Path, odd_media: dict[str, Path]) -> None:
    manifest = Manifest((Row("a", "test", audio=odd_media["8 kHz.wav"]),))
    root = tmp_path / "prepared"
    with claim(root, SMALL):
        before = contents(root)
        with pytest.raises(CorpusError) as caught:
            prepare_corpus(manifest, root, SMALL, progress=False)
        assert str(caught.value) == f"another process is preparing {root}; wait for it, or use another folder"
        assert contents(root) == before
    assert len(prepare_corpus(manifest, root, SMALL, progress=False).rows) == 1


def test_refused_folder_is_left_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "cat.jpg").touch()
    with pytest.raises(CorpusError, match="is not a prepared folder"), claim(tmp_path, SMALL):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["cat.jpg"]


# --- what prepare.json says


def read_record(root: Path) -> dict[str, object]:
    record: dict[str, object] = json.loads((root / "prepare.json").read_text())
    return record


def test_folder_says_how_and_of_what_it_was_made(tmp_path: Path, odd_media: dict[str, Path]) -> None:
    rows = (Row("a", "test", video=odd_media["a face.mp4"]), Row("b", "test", audio=odd_media["8 kHz.wav"], text="hi"))
    prepare_corpus(Manifest(rows), tmp_path / "one", SMALL, progress=False)
    prepare_corpus(Manifest(rows[:1]), tmp_path / "two", SMALL, progress=False)
    one, two = read_record(tmp_path / "one"), read_record(tmp_path / "two")
    assert one["counts"] == {"clips": 2, "skipped": 0, "video": 1, "audio": 2, "text": 1}
    (found,) = one["versions"]
    assert found.keys() == {"mmer", "av", "ffmpeg", "opencv", "numpy"}
    assert len(str(one["sources"])) == 64 and one["sources"] != two["sources"]


def test_other_versions_are_told_and_both_recorded(
    tmp_path: Path, odd_media: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = Manifest((Row("a", "test", audio=odd_media["8 kHz.wav"]),))
    root = tmp_path / "prepared"
    now = versions(SMALL)
    monkeypatch.setattr(claiming, "media_versions", lambda: {**now, "opencv": "4.0.0"})
    assert prepare_corpus(manifest, root, SMALL, progress=False).warnings == ()
    monkeypatch.undo()
    (warning,) = prepare_corpus(manifest, root, SMALL, progress=False).warnings
    assert warning == (
        f"the folder was begun with opencv 4.0.0 (now {now['opencv']}): its clips may differ slightly; "
        "both are in prepare.json"
    )
    assert read_record(root)["versions"] == [{**now, "opencv": "4.0.0"}, now]
    assert prepare_corpus(manifest, root, SMALL, progress=False).warnings == (), "both are known by now"


def test_versions_name_the_detector_and_the_listener(tmp_path: Path) -> None:
    model = tmp_path / "yunet.onnx"
    model.write_bytes(b"weights")
    found = versions(PrepareConfig(detector="yunet", detector_model=str(model), transcripts="whisper"))
    assert found["detector_model"] == hashlib.sha256(b"weights").hexdigest()
    assert "faster-whisper" in found


# --- several processes


@pytest.mark.slow
def test_tasks_are_taken_as_they_are_needed() -> None:
    taken: list[int] = []

    def tasks() -> Iterator[int]:
        for i in range(200):
            taken.append(i)
            yield i

    results = run_all(abs, tasks(), workers=2)
    first = next(results)
    assert len(taken) < 100, "a long corpus does not lie in memory"
    assert sorted([first, *results]) == list(range(200))


@pytest.mark.slow
def test_a_failing_task_ends_it_all() -> None:
    with pytest.raises(ZeroDivisionError):
        list(run_all(partial(operator.truediv, 1), range(-7, 50), workers=2))


HEARTBEAT = """
import sys, time
from pathlib import Path
from mmer.data.pool import run_all

def beat(path):
    while True:
        with open(path, "a") as file:
            file.write("x")
        time.sleep(0.01)

if __name__ == "__main__":
    list(run_all(beat, [f"{sys.argv[1]}/{i}.log" for i in range(2)], workers=2))
"""


@pytest.mark.slow
def test_workers_die_with_their_parent(tmp_path: Path) -> None:
    script = tmp_path / "heartbeat.py"
    script.write_text(HEARTBEAT)
    process = subprocess.Popen([sys.executable, str(script), str(tmp_path)], stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while len(list(tmp_path.glob("*.log"))) < 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    process.kill()
    process.wait()
    sizes: list[int] = []
    while sizes != (sizes := [path.stat().st_size for path in tmp_path.glob("*.log")]):  # they beat 50 times in between
        assert time.monotonic() < deadline and len(sizes) == 2
        time.sleep(0.5)


def test_clip_file_of_a_row_that_lost_its_media_goes(tmp_path: Path, odd_media: dict[str, Path]) -> None:
    root = tmp_path / "prepared"
    rows = (Row("a", "test", audio=odd_media["8 kHz.wav"], text="words"), Row("a", "test", text="words"))
    for row, there in zip(rows, (True, False), strict=True):
        prepare_corpus(Manifest((row,)), root, SMALL, progress=False)
        assert clip_path(root, "a").exists() is there
