"""Measure the training loader against a bare read of the same bytes: 16 frames at 224 pixels, 3.6 s of sound.

    python benchmarks/loader.py                            # workers 0 and 2, with and without augmentation
    python benchmarks/loader.py --clips 64 --workers 0 4 --json loader.json

A prepared corpus is made of the six 720p clips of MMER_DATA, or of drawn faces. In turns, with as many processes:

- ``loader``: the train loader of ``EmotionDataModule``, from the file to the collated batch in the parent's hands;
- ``decode``: the bare read. Open the file, read the bytes of the window's 16 JPEGs and samples at places that are known
  beforehand, decode them into one new array a batch; no manifest, no checksum, no choice of frames, and the arrays are
  dropped where they were read;
- ``handed``: the bare read as the data set of a plain PyTorch loader, which hands the arrays to the parent;
- ``bytes``: the same bytes, read and not decoded.

A ratio is the median over the rounds of loader to bare read in the same round. Afterwards the resident memory of the
parent and of every worker at the end of each epoch: it must not grow.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from multiprocessing.pool import Pool
from pathlib import Path

import cv2
import numpy as np
import torch
from containers import find_clips
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from mmer.batch import Batch
from mmer.config import AugmentConfig, ModelConfig, MViTConfig, PrepareConfig, SplitConfig, WaveCNNConfig
from mmer.corpora.manifest import Row, write_manifest
from mmer.data.clip import PreparedClip
from mmer.data.prepare import prepare_clip
from mmer.data.store import clip_path, write_settings
from mmer.emotions import RAVDESS8
from mmer.training.data import EmotionDataModule

TARGET = 0.8
GROWTH = 0.02  # share of a process's memory by which it may grow from the first epoch to the last
MODEL = ModelConfig({"face": MViTConfig("mvit"), "voice": WaveCNNConfig("wave_cnn")})
PREPARE = PrepareConfig()
RECORDED = 3.7  # seconds of a stored clip, a little more than the window
BATCH = 16


@dataclass(frozen=True, slots=True)
class Window:
    """Where the bytes of one clip's window lie.

    Args:
        path: The clip's file.
        frames: Place and length of each JPEG.
        samples: Place and length of the sound.
    """

    path: Path
    frames: list[tuple[int, int]]
    samples: tuple[int, int]


@dataclass(frozen=True, slots=True)
class Speed:
    """Samples a second of one setting, medians over the rounds, and the ratios within them."""

    workers: int
    augment: bool
    loader: float
    decode: float
    handed: float
    bytes: float
    of_decode: float
    of_handed: float
    of_bytes: float


class Bare(Dataset[tuple[Tensor, Tensor]]):
    """The bare read of batches, as a data set.

    Args:
        batches: The windows of each batch.
    """

    def __init__(self, batches: Sequence[Sequence[Window]]) -> None:
        self.batches = batches

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        """Read a batch."""
        video, audio = decode(self.batches[index])
        return torch.from_numpy(video), torch.from_numpy(audio)


def make_corpus(root: Path, count: int, prepare: PrepareConfig = PREPARE) -> None:
    """Write a prepared folder: a few clips, looped to one length, each under many keys from a frame of its own."""
    with tempfile.TemporaryDirectory() as name:
        rows = [Row(path.stem, "benchmark", video=path) for path in find_clips(Path(name))]
        clips = [prepare_clip(row, prepare) for row in rows]
    (root / "clips").mkdir(parents=True)
    write_settings(root, prepare)
    rows = []
    for number in range(count):
        key = f"clip-{number:04d}"
        path = clip_path(root, key)
        loop(clips[number % len(clips)], number).save(path)
        rows.append(Row(key, "benchmark", str(number % 12), RAVDESS8[number % 8], path, path))
    write_manifest(root / "manifest.csv", rows)


def loop(clip: PreparedClip, start: int) -> PreparedClip:
    """Repeat a clip's frames that show a face, from one of them on, and its sound, for ``RECORDED`` seconds."""
    assert clip.audio is not None
    faces, ends = np.flatnonzero(clip.sizes), np.cumsum(clip.sizes)
    step = float(np.median(np.diff(clip.times)))
    chosen = np.take(faces, np.arange(round(RECORDED / step)) + start, mode="wrap").tolist()
    return replace(
        PreparedClip.empty(clip.sample_rate),
        times=np.arange(len(chosen)) * step,
        sizes=clip.sizes[chosen],
        jpeg=np.concatenate([clip.jpeg[ends[i] - clip.sizes[i] : ends[i]] for i in chosen]),
        audio=np.resize(clip.audio, round(RECORDED * clip.sample_rate)),
    )


def find_window(path: Path) -> Window:
    """Find the middle window's bytes in a clip's file, as the loader without augmentation takes them."""
    clip, data = PreparedClip.load(path, path.stem), path.read_bytes()
    assert clip.audio is not None
    start = (clip.seconds - MODEL.clip.seconds) / 2
    middles = start + (np.arange(MODEL.clip.frames) + 0.5) / MODEL.clip.frames * MODEL.clip.seconds
    jpeg, ends = data.index(clip.jpeg.tobytes()), np.cumsum(clip.sizes)
    nearest = np.abs(clip.times[:, None] - middles).argmin(axis=0).tolist()
    frames = [(jpeg + int(ends[i] - clip.sizes[i]), int(clip.sizes[i])) for i in nearest]
    first, count = round(start * clip.sample_rate), round(MODEL.clip.seconds * clip.sample_rate)
    return Window(path, frames, (data.index(clip.audio.tobytes()) + 4 * first, 4 * count))


def decode(windows: Sequence[Window]) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Read and decode windows into new arrays, as bare as it can be."""
    side = PREPARE.size
    video = np.empty((len(windows), MODEL.clip.frames, side, side, 3), np.uint8)
    audio = np.empty((len(windows), windows[0].samples[1] // 4), np.float32)
    for which, window in enumerate(windows):
        with window.path.open("rb", buffering=0) as file:
            for place, (offset, length) in enumerate(window.frames):
                data = np.frombuffer(os.pread(file.fileno(), length, offset), np.uint8)
                video[which, place] = cv2.imdecode(data, cv2.IMREAD_COLOR_RGB)
            offset, length = window.samples
            audio[which] = np.frombuffer(os.pread(file.fileno(), length, offset), np.float32)
    return video, audio


def read_decoded(windows: Sequence[Window]) -> int:
    """Read and decode windows and drop them."""
    return len(decode(windows)[0])


def read_bytes(windows: Sequence[Window]) -> int:
    """Read the bytes of windows and do nothing with them."""
    for window in windows:
        with window.path.open("rb", buffering=0) as file:
            for offset, length in [*window.frames, window.samples]:
                os.pread(file.fileno(), length, offset)
    return len(windows)


def rate(read: Callable[[], int]) -> float:
    """Return the samples a second of something that reads and says how many it has read."""
    start = time.perf_counter()
    count = read()
    return count / (time.perf_counter() - start)


def bare(read: Callable[[Sequence[Window]], int], batches: Sequence[Sequence[Window]], pool: Pool | None) -> int:
    """Read batches in this process, or in those of a pool."""
    return sum(map(read, batches)) if pool is None else sum(pool.imap_unordered(read, batches))


def run_epoch(loader: DataLoader[Batch]) -> int:
    """Read an epoch and return its samples."""
    return sum(len(batch) for batch in loader)


def run_bare(loader: DataLoader[tuple[Tensor, Tensor]]) -> int:
    """Read an epoch of bare reads and return its samples."""
    return sum(len(video) for video, _ in loader)


def make_loader(root: Path, workers: int, augment: bool) -> DataLoader[Batch]:
    """Return the train loader of the data module."""
    module = EmotionDataModule(
        MODEL,
        str(root),
        split=SplitConfig(protocol="speakers"),
        augment=AugmentConfig() if augment else None,
        batch_size=BATCH,
        workers=workers,
    )
    module.setup("fit")
    loader: DataLoader[Batch] = module.train_dataloader()
    return loader


def compare(root: Path, workers: int, augment: bool, rounds: int) -> Speed:
    """Let the loader and the bare reads take turns."""
    windows = [find_window(path) for path in sorted((root / "clips").iterdir())]
    order = np.random.default_rng(0).permutation(len(windows)).tolist()
    batches = [[windows[i] for i in order[at : at + BATCH]] for at in range(0, len(order) - BATCH + 1, BATCH)]
    loader = make_loader(root, workers, augment)
    plain = DataLoader(Bare(batches), None, num_workers=workers, persistent_workers=workers > 0)
    pool = multiprocessing.get_context("spawn").Pool(workers, cv2.setNumThreads, (1,)) if workers else None
    rates: list[tuple[float, ...]] = []
    for number in range(rounds + 1):
        found = (
            rate(lambda: run_epoch(loader)),
            rate(lambda: bare(read_decoded, batches, pool)),
            rate(lambda: run_bare(plain)),
            rate(lambda: bare(read_bytes, batches, pool)),
        )
        if number:  # the first round starts processes and fills the system's memory
            rates.append(found)
    if pool is not None:
        pool.terminate()
        pool.join()
    table = np.array(rates)
    middle, ratios = np.median(table, axis=0), np.median(table[:, :1] / table[:, 1:], axis=0)
    return Speed(workers, augment, *middle.tolist(), *ratios.tolist())


def resident(process: int) -> tuple[float, float]:
    """Return a process's resident memory and its proportional share of it, in MB."""
    lines = Path(f"/proc/{process}/smaps_rollup").read_text(encoding="ascii").splitlines()
    sizes = {line.split(":")[0]: float(line.split()[1]) / 1e3 for line in lines[1:]}
    return sizes["Rss"], sizes["Pss"]


def watch(root: Path, workers: int, epochs: int) -> list[dict[str, tuple[float, float]]]:
    """Return the memory of the parent and of every worker at the end of each epoch."""
    loader = make_loader(root, workers, augment=True)
    found = []
    for _ in range(epochs):
        run_epoch(loader)
        children = sorted(child.pid for child in multiprocessing.active_children() if child.pid is not None)
        names = {"parent": os.getpid(), **{f"worker {number}": pid for number, pid in enumerate(children, 1)}}
        found.append({name: resident(pid) for name, pid in names.items()})
    return found


def verdict(good: bool) -> str:
    """Say whether a target was reached."""
    return "PASS" if good else "below"


def flat(epochs: Sequence[dict[str, tuple[float, float]]]) -> bool:
    """Whether no process grew from the first epoch to the last."""
    return all(epochs[-1][name][0] <= (1 + GROWTH) * epochs[0][name][0] for name in epochs[0])


def show_speed(speed: Speed) -> None:
    """Print a line of the table."""
    print(
        f"{speed.workers:7d}  {'yes' if speed.augment else 'no':>7}  {speed.loader:6.0f}  {speed.decode:6.0f}  "
        f"{speed.handed:6.0f}  {speed.bytes:6.0f}  {speed.of_decode:9.2f}  {speed.of_handed:9.2f}  "
        f"{speed.of_bytes:8.3f}  {verdict(speed.of_decode >= TARGET)}"
    )


def show_memory(workers: int, epochs: Sequence[dict[str, tuple[float, float]]]) -> None:
    """Print the memory of each process over the epochs."""
    print(f"\nresident (proportional) MB at the end of each epoch, {workers} workers, with augmentation")
    for name in epochs[0]:
        cells = "  ".join("{:7.1f} ({:6.1f})".format(*epoch[name]) for epoch in epochs)
        print(f"{name:>9}  {cells}")
    print(f"flat within {GROWTH:.0%}: {verdict(flat(epochs))}")


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=128, help="clips of the corpus")
    parser.add_argument("--workers", type=int, nargs="*", default=[0, 2], help="processes that read")
    parser.add_argument("--rounds", type=int, default=7, help="epochs of each, in turns")
    parser.add_argument("--epochs", type=int, default=3, help="epochs over which memory is watched")
    parser.add_argument("--json", type=Path, help="write the numbers to this file")
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        root = Path(name) / "data"
        print(f"preparing {arguments.clips} clips", file=sys.stderr)
        make_corpus(root, arguments.clips)
        print(f"samples a second of {arguments.clips} clips, batches of {BATCH}; target {TARGET} of decode")
        print("workers  augment  loader  decode  handed   bytes  of decode  of handed  of bytes")
        speeds = []
        for augment in (False, True):
            for workers in arguments.workers:
                speeds.append(compare(root, workers, augment, arguments.rounds))
                show_speed(speeds[-1])
        memory = {workers: watch(root, workers, arguments.epochs) for workers in arguments.workers}
        for workers, epochs in memory.items():
            show_memory(workers, epochs)
    if arguments.json:
        numbers = {"target": TARGET, "speed": [asdict(speed) for speed in speeds], "memory": memory}
        arguments.json.write_text(json.dumps(numbers, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
