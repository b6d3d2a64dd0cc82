"""How long a predictions file of RAVDESS's size takes to score, with its report, and how much memory.

    python benchmarks/evaluation.py            # also --clips 14400, --systems 3, --json

The table is made on the fly: by default 1,440 clips of 24 speakers in 5 folds, with RAVDESS's 8 classes, genders,
intensities and statements. ``evaluate.py --predictions`` scores it in a process of its own, with 10,000 resamples and
the report; what Python takes to start and to import is counted too. Seconds are given on the clock and of that process,
which others cannot delay; memory is its highest. Scores, intervals and tests alone, without the command and the report,
are the median of three rounds.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from mmer.emotions import RAVDESS8
from mmer.evaluation.measure import measure
from mmer.evaluation.predictions import Predictions
from mmer.evaluation.system import System

SECONDS = 20.0
GIB = 1.0
SPEAKERS = 24
FOLDS = 5
EVALUATE = Path(__file__).parents[1] / "evaluate.py"


def main() -> None:
    """Measure, and print the numbers beside their limits."""
    parser = argparse.ArgumentParser(description="How fast predictions are scored and reported.")
    parser.add_argument("--clips", type=int, default=1440, help="lines of the table")
    parser.add_argument("--systems", type=int, default=1, help="how many systems are scored and compared")
    parser.add_argument("--resamples", type=int, default=10_000, help="how many times speakers are drawn")
    parser.add_argument("--json", action="store_true", help="print the numbers as JSON")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        tables = [write_table(Path(scratch) / f"system{i}.csv", args.clips, seed=i) for i in range(args.systems)]
        result = {
            "clips": args.clips,
            "systems": args.systems,
            "resamples": args.resamples,
            **run(tables, Path(scratch) / "report", args.resamples),  # first: a child's peak begins with its parent's
            "measure": time_measure(tables, args.resamples),
        }
    print(json.dumps(result, indent=2) if args.json else table(result))


def write_table(path: Path, clips: int, seed: int) -> Path:
    """Write random answers that are mostly right, and return where."""
    draw = np.random.default_rng(seed)
    label = np.random.default_rng(clips).integers(len(RAVDESS8), size=clips)  # the same for every system
    logits = draw.normal(size=(clips, len(RAVDESS8))) + 2 * np.eye(len(RAVDESS8))[label]
    speakers = np.arange(clips) % SPEAKERS + 1
    odd = np.arange(clips) // SPEAKERS % 2
    Predictions(
        tuple(RAVDESS8),
        tuple(f"clip-{i:06d}" for i in range(clips)),
        tuple(map(str, speakers)),
        label,
        np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True),
        fold=tuple(str(speaker % FOLDS + 1) for speaker in speakers),
        groups={
            "corpus": ("ravdess",) * clips,
            "gender": tuple("male" if speaker % 2 else "female" for speaker in speakers),
            "intensity": tuple("strong" if i else "normal" for i in odd),
            "statement": tuple("dogs" if i % 4 < 2 else "kids" for i in range(clips)),
        },
    ).write(path)
    return path


def time_measure(tables: list[Path], resamples: int) -> float:
    """Return the median seconds of scoring alone."""
    seconds = []
    for _ in range(3):
        started = time.perf_counter()
        measure([System(path.stem, Predictions.read(path), {}) for path in tables], resamples=resamples)
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds)


def run(tables: list[Path], output: Path, resamples: int) -> dict[str, Any]:
    """Return seconds and peak MiB of the command, as a process of its own."""
    command = [sys.executable, EVALUATE, "--predictions", *tables, "--resamples", str(resamples), "--output", output]
    started = time.perf_counter()
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(child.pid, 0)  # of this child alone
    seconds = time.perf_counter() - started
    if status:
        raise SystemExit(f"{EVALUATE.name} failed with code {os.waitstatus_to_exitcode(status)}")
    page = (output / "index.html").stat().st_size
    cpu = usage.ru_utime + usage.ru_stime
    return {"seconds": seconds, "cpu": cpu, "MiB": usage.ru_maxrss / 1024, "page MiB": page / 2**20}


def table(result: dict[str, Any]) -> str:
    """Return the numbers as text."""
    quick, small = result["seconds"] < SECONDS, result["MiB"] < 1024 * GIB
    return "\n".join(
        (
            f"{result['clips']:,} clips, {result['systems']} systems, {result['resamples']:,} resamples",
            f"  scores, intervals and tests alone: {result['measure']:.2f} s",
            f"  the whole command: {result['seconds']:.1f} ({result['cpu']:.1f}) s "
            f"(limit {SECONDS:.0f} s: {_verdict(quick)})",
            f"  its memory: {result['MiB']:.0f} MiB (limit {1024 * GIB:.0f} MiB: {_verdict(small)})",
            f"  its page: {result['page MiB']:.1f} MiB",
        )
    )


def _verdict(good: bool) -> str:
    return "PASS" if good else "above"


if __name__ == "__main__":
    main()
