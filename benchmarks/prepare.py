"""How fast clips are prepared, against what FFmpeg needs to decode them.

    python benchmarks/prepare.py                     # RAVDESS's own 720p clips, or drawn ones where there are none
    python benchmarks/prepare.py FOLDER... --json    # any clips

Two ratios, each taken in one run on the same clips:

- the CPU time of a bare decode of the video (PyAV, one thread, no pixel converted) by that of the whole preparation:
  checksums, decoding, Haar detection in every 5th frame, tracking, cutting out, JPEG, sound, the prepared file;
- clips per second with two processes by those with one, over so many clips that starting processes does not matter;
  without the contact sheet, which costs the same in both.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import av
import cv2

from mmer.config import PrepareConfig
from mmer.corpora.demo import synthesize
from mmer.corpora.manifest import Manifest, Row
from mmer.data.prepare import prepare_corpus

DECODE_TARGET = 0.6
WORKERS_TARGET = 1.8
SUFFIXES = (".mp4", ".avi", ".mov", ".mkv", ".webm", ".flv")


def main() -> None:
    """Measure, and print the ratios beside their targets."""
    args = _arguments()
    cv2.setNumThreads(1)  # as the workers of prepare do
    with tempfile.TemporaryDirectory() as scratch:
        clips = _find_clips(args.folders, Path(scratch))
        config = PrepareConfig(detector=args.detector, size=args.size)
        result = {
            "clips": len(clips),
            "pixels": _largest_frame(clips[0]),
            "detector": args.detector,
            **_against_decode(clips, config, args.rounds, Path(scratch)),
            **_against_one_worker(clips, config, args.copies, Path(scratch)),
        }
    print(json.dumps(result, indent=2) if args.json else _table(result))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="How fast clips are prepared.")
    parser.add_argument("folders", nargs="*", type=Path, help="folders with video clips")
    parser.add_argument("--detector", choices=("haar", "dlib", "none"), default="haar")
    parser.add_argument("--size", type=int, default=224, help="side of the face frames, in pixels")
    parser.add_argument("--rounds", type=int, default=5, help="times that every clip is decoded and prepared")
    parser.add_argument("--copies", type=int, default=10, help="keys of every clip when workers are compared")
    parser.add_argument("--json", action="store_true", help="print the numbers as JSON")
    return parser.parse_args()


def _find_clips(folders: Sequence[Path], scratch: Path) -> list[Path]:
    """Return the clips to measure on: those given, else RAVDESS's where they lie, else drawn ones."""
    data = Path(os.environ.get("MMER_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
    places = folders or (data / "ravdess",)
    clips = [path for place in places for path in sorted(place.rglob("*")) if path.suffix.lower() in SUFFIXES]
    if clips:
        return clips
    if folders:
        raise SystemExit(f"{', '.join(map(str, folders))}: no file with one of the suffixes {' '.join(SUFFIXES)}")
    synthesize(scratch / "demo", actors=1, takes=1, progress=False)
    return sorted((scratch / "demo").rglob("*.mp4"))


def _largest_frame(clip: Path) -> str:
    with av.open(str(clip)) as container:
        stream = container.streams.video[0]
        return f"{stream.width}x{stream.height}"


def _against_decode(clips: Sequence[Path], config: PrepareConfig, rounds: int, scratch: Path) -> dict[str, float]:
    """Decode and prepare the clips in turn; a ratio of medians forgives a machine that is busy now and then."""
    decode, prepare = [], []
    for number in range(rounds):
        decode.append(_cpu_seconds(partial(_decode_all, clips)))
        prepare.append(_cpu_seconds(partial(_prepare, clips, config, scratch / f"round{number}", 1, 1)))
    bare, whole = statistics.median(decode), statistics.median(prepare)
    return {
        "decoded_per_cpu_second": len(clips) / bare,
        "prepared_per_cpu_second": len(clips) / whole,
        "share_of_decode": bare / whole,
    }


def _decode_all(clips: Sequence[Path]) -> None:
    for clip in clips:
        with av.open(str(clip)) as container:
            stream = container.streams.video[0]
            stream.codec_context.thread_count = 1
            for _ in container.decode(stream):
                pass


def _against_one_worker(clips: Sequence[Path], config: PrepareConfig, copies: int, scratch: Path) -> dict[str, float]:
    seconds = {}
    for workers in (1, 2):
        start = time.perf_counter()
        _prepare(clips, config, scratch / f"workers{workers}", copies, workers)
        seconds[workers] = time.perf_counter() - start
    count = copies * len(clips)
    return {
        "clips_per_second_1_worker": count / seconds[1],
        "clips_per_second_2_workers": count / seconds[2],
        "speedup": seconds[1] / seconds[2],
    }


def _prepare(clips: Sequence[Path], config: PrepareConfig, root: Path, copies: int, workers: int) -> None:
    rows = [
        Row(f"{copy} {i} {clip.stem}", "bench", video=clip) for copy in range(copies) for i, clip in enumerate(clips)
    ]
    done = prepare_corpus(Manifest(tuple(rows)), root, config, workers=workers, sheet=False, progress=False)
    assert not done.skipped, done.skipped[0]


def _cpu_seconds(work: Callable[[], None]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def _table(result: dict[str, Any]) -> str:
    def verdict(value: float, target: float) -> str:
        return f"{value:.2f} (target {target}: {'PASS' if value >= target else 'below'})"

    return "\n".join(
        (
            f"{result['clips']} clips, {result['pixels']}, detector {result['detector']}",
            f"bare decode         {result['decoded_per_cpu_second']:6.2f} clips per CPU second",
            f"prepare             {result['prepared_per_cpu_second']:6.2f} clips per CPU second",
            f"prepare / decode      {verdict(result['share_of_decode'], DECODE_TARGET)}",
            f"prepare, 1 worker   {result['clips_per_second_1_worker']:6.2f} clips per second",
            f"prepare, 2 workers  {result['clips_per_second_2_workers']:6.2f} clips per second",
            f"2 workers / 1         {verdict(result['speedup'], WORKERS_TARGET)}",
        )
    )


if __name__ == "__main__":
    main()
