"""How fast a manifest of 100,000 clips is read and split, and how much memory it takes.

    python benchmarks/manifest.py            # also --clips 10000, --json

Two tables are made on the fly: one as ``mmer prepare`` writes it (one file a clip, six extra columns) and one of raw
files (a video and a voice for every clip). Reading is compared with a bare pass of ``csv.reader`` over the same table
in the same process. Splits are timed with everything that they check: speakers, takes and sounds in two parts. Memory
is what a fresh process grows by: while it holds the rows, and at its highest.
"""

from __future__ import annotations

import argparse
import csv
import json
import multiprocessing
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from mmer.config import SplitConfig
from mmer.corpora.manifest import Row, read_rows, write_manifest
from mmer.corpora.splits import make_split
from mmer.emotions import EKMAN7

LOAD_TARGET = 2.0
SPLIT_TARGET = 2.0
SPLITS = (
    SplitConfig("group-kfold:5", duplicates="drop"),
    SplitConfig("loso", duplicates="drop"),
    SplitConfig("table", allow_leak=True, duplicates="drop"),
    SplitConfig("random_leaky"),
)


def main() -> None:
    """Measure, and print the seconds beside their targets."""
    parser = argparse.ArgumentParser(description="How fast a large manifest is read and split.")
    parser.add_argument("--clips", type=int, default=100_000, help="rows of the manifest")
    parser.add_argument("--rounds", type=int, default=5, help="times that everything is done; the median counts")
    parser.add_argument("--json", action="store_true", help="print the numbers as JSON")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        result = {"clips": args.clips, **measure(Path(scratch), args.clips, args.rounds)}
    print(json.dumps(result, indent=2) if args.json else table(result))


def measure(scratch: Path, clips: int, rounds: int) -> dict[str, Any]:
    """Return seconds, ratios and MiB."""
    result: dict[str, Any] = {}
    for kind in ("prepared", "raw"):
        path = scratch / f"{kind}.csv"
        rows = list(make_rows(scratch, clips, raw=kind == "raw"))
        started = time.perf_counter()
        write_manifest(path, rows)
        written = time.perf_counter() - started
        bare, load = timed(partial(count_lines, path), rounds), timed(partial(read_rows, path, ""), rounds)
        result[kind] = {
            "MiB": path.stat().st_size / 2**20,
            "write": written,
            "bare": bare,
            "load": load,
            "of bare": load["cpu"] / bare["cpu"],
            **memory(path),
        }
    read = [row for _, row in read_rows(scratch / "prepared.csv", "")]
    result["split"] = {config.protocol: timed(partial(make_split, read, config), rounds) for config in SPLITS}
    return result


def make_rows(folder: Path, clips: int, *, raw: bool) -> Iterator[Row]:
    """Yield synthetic clips of 200 speakers; one in a thousand repeats the sound of the one before."""
    draw = random.Random(0)
    sound = ""
    for number in range(clips):
        key, speaker = f"{number % 200:03d}/take-{number:06d}", number % 200
        sound = sound if number % 1000 == 999 else f"{draw.getrandbits(128):032x}"
        file = folder / "clips" / f"{key.replace('/', '%2F')}.npz"
        row = Row(key, "synthetic", str(speaker), EKMAN7[number % 7], file, file, "a few words that somebody said")
        if raw:
            yield replace(row, video=folder / "video" / f"{key}.mp4", audio=folder / "audio" / f"{key}.wav")
            continue
        extra = {"gender": "female" if speaker % 2 else "male", "split": draw.choice(["train", "validation", "test"])}
        yield replace(row, extra={**extra, "take": key, "sound": sound, "seconds": "3.604", "face_share": "0.987"})


def timed(act: Callable[[], object], rounds: int) -> dict[str, float]:
    """Return the median seconds of doing something: on the clock, and of this process, which others cannot delay."""
    clock, cpu = [], []
    for _ in range(rounds):
        started, spent = time.perf_counter(), time.process_time()
        act()
        clock.append(time.perf_counter() - started)
        cpu.append(time.process_time() - spent)
    return {"clock": statistics.median(clock), "cpu": statistics.median(cpu)}


def count_lines(path: Path) -> int:
    """Pass over a table and keep nothing."""
    with path.open(newline="", encoding="utf-8-sig") as file:
        return sum(1 for _ in csv.reader(file))


def memory(path: Path) -> dict[str, float]:
    """Return the MiB that a process of its own grows by: while it holds the rows, and at its highest."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_growth, (path,))


def _growth(path: Path) -> dict[str, float]:
    before = _resident("VmRSS")
    rows = read_rows(path, "")
    held, highest = _resident("VmRSS"), _resident("VmHWM")
    assert rows
    return {"held": held - before, "highest": highest - before}


def _resident(name: str) -> float:
    """Return what Linux says of this process's memory, in MiB; getrusage's maximum would count its parent's too."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(status[name].split()[0]) / 1024


def table(result: dict[str, Any]) -> str:
    """Return the numbers as text."""
    lines = [f"manifest of {result['clips']:,} clips; seconds on the clock (of the process)"]
    for kind in ("prepared", "raw"):
        found = result[kind]
        lines += [
            f"{kind}: a table of {found['MiB']:.0f} MiB, written in {found['write']:.2f} s",
            f"  load {judged(found['load'], LOAD_TARGET)}, {found['of bare']:.1f} times a bare csv.reader pass",
            f"  its rows take {found['held']:.0f} MiB, {found['highest']:.0f} MiB at the highest",
        ]
    lines += ["prepared, split:"]
    lines += [f"  {name} {judged(times, SPLIT_TARGET)}" for name, times in result["split"].items()]
    return "\n".join(lines)


def judged(times: dict[str, float], target: float) -> str:
    """Return a time beside its target."""
    verdict = "PASS" if times["clock"] < target else "above"
    return f"{times['clock']:.2f} ({times['cpu']:.2f}) s (target under {target:.0f} s: {verdict})"


if __name__ == "__main__":
    main()
