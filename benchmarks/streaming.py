"""Measure training batches read from shards against the same clips read from a prepared folder, map-style.

    python benchmarks/streaming.py                             # workers 0 and 2, the files in memory
    python benchmarks/streaming.py --voice                     # the sound alone: less to decode, so reading counts more
    python benchmarks/streaming.py --cold --workers 2          # the system forgets the files before each epoch
    python benchmarks/streaming.py --clips 512 --json streaming.json

A prepared corpus is made as ``benchmarks/loader.py`` makes it, 16 frames at 224 pixels and 3.6 s of sound a clip, and
written as shards. In turns, with the same batch size, the same workers and the same cut and collation into a ``Batch``:

- ``folder``: the prepared folder, each clip a file, drawn from anywhere: the limit that the others are measured by;
- ``shards``: ``mmer shards`` on the local disk, drawn from anywhere;
- ``windows``: the same in four windows, as an object store's are drawn;
- ``copied``: the same, of which nothing is on the local disk when the epoch begins: every shard is fetched, from
  another folder instead of an object store, checked and then read;
- ``webdataset``: the same tar files through WebDataset, shards shuffled and a buffer of 100 clips;
- ``litdata``: the same clips in litdata's chunks through its StreamingDataset and StreamingDataLoader, shuffled.

A ratio is the median over the rounds of a reader's clips a second to the folder's in the same round; beside it stands
the same ratio of the processor time a clip takes, of the parent and its workers, which other work on the machine
disturbs less. Then each reader
is stopped in the middle of an epoch with two workers and, where it has a state, goes on in a fresh loader: how many
clips are lost, and how many are seen twice.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import multiprocessing
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from loader import BATCH, MODEL, make_corpus
from torch.utils.data import DataLoader

from mmer.batch import Batch, Clip, Layout
from mmer.config import ModelConfig, ShardConfig
from mmer.data.clip import PreparedClip
from mmer.data.cut import cut
from mmer.data.dataset import ClipDataset, make_layout, settle_worker
from mmer.data.loader import TrainLoader
from mmer.data.samplers import DrawSampler, Share
from mmer.data.shards import open_corpus
from mmer.data.store import clip_path
from mmer.data.streaming import ShardSampler
from mmer.data.write_shards import write_shards

SHARD = 8_000_000  # bytes; small, for the corpus is small too
VOICE = ModelConfig({"voice": MODEL.streams["voice"]})
READERS = ("folder", "shards", "windows", "copied", "webdataset", "litdata")


@dataclass(frozen=True, slots=True)
class Speed:
    """Clips a second and processor time of one reader, medians over the rounds, and the ratios to the folder's."""

    reader: str
    workers: int
    clips_per_second: float
    of_folder: float
    low: float
    high: float
    cpu_ms: float
    cpu_of_folder: float


@dataclass(frozen=True, slots=True)
class Corpus:
    """The clips in all forms.

    Args:
        root: The folder of all of them: ``folder``, ``shards``, ``chunks`` and ``cache``.
        model: What is read of them.
        layout: What makes batches.
    """

    root: Path
    model: ModelConfig
    layout: Layout

    @classmethod
    def make(cls, root: Path, clips: int, model: ModelConfig) -> Corpus:
        """Write the clips in all forms."""
        make_corpus(root / "folder", clips)
        write_shards(root / "folder", root / "shards", SHARD, progress=False)
        corpus = open_corpus(root / "folder")
        _write_chunks(root / "chunks", [clip_path(corpus.root, row.key) for row in corpus.rows])
        return cls(root, model, make_layout(model, corpus.config))

    def files(self) -> Iterable[Path]:
        """Return every file of every form."""
        return (path for path in self.root.rglob("*") if path.is_file())

    def loader(self, reader: str, workers: int) -> Any:
        """Return a reader's loader, whose every iteration is an epoch."""
        how: dict[str, Any] = {"batch_size": BATCH, "num_workers": workers, "persistent_workers": workers > 0}
        if reader == "webdataset":
            return DataLoader(self._webdataset(), collate_fn=self.layout.collate, worker_init_fn=settle_worker, **how)
        if reader == "litdata":
            return self._litdata(how)
        cache = ShardConfig(cache=str(self.root / "cache"))
        places = {"folder": self.root / "folder", "copied": f"local:{self.root / 'shards'}"}
        corpus = open_corpus(places.get(reader, self.root / "shards"), cache)
        dataset = ClipDataset(corpus, corpus.rows, self.model)
        share = Share(batch_size=BATCH)
        if reader in ("windows", "copied"):
            sampler: DrawSampler = ShardSampler(dataset, dataset.files.total / 4, share)
        else:
            sampler = DrawSampler(dataset, share=share)
        collate = self.layout.collate
        return TrainLoader(dataset, sampler=sampler, collate_fn=collate, worker_init_fn=settle_worker, **how)

    def _webdataset(self) -> Any:
        import webdataset as wds

        shards = sorted(str(path) for path in (self.root / "shards").glob("*.tar"))
        dataset = wds.WebDataset(shards, shardshuffle=len(shards), empty_check=False).shuffle(100)
        return dataset.map(lambda sample: self._decode(sample["__key__"], sample["npz"]))

    def _litdata(self, how: dict[str, Any]) -> Any:
        from litdata import StreamingDataLoader, StreamingDataset

        decode = self._decode

        class Chunks(StreamingDataset):
            def __getitem__(self, index: Any) -> Clip:
                key, _, data = bytes(super().__getitem__(index)).partition(b"\0")
                return decode(key.decode(), data)

        dataset = Chunks(str(self.root / "chunks"), shuffle=True, drop_last=False)
        return StreamingDataLoader(dataset, collate_fn=self.layout.collate, **how)

    def _decode(self, key: str, data: bytes) -> Clip:
        """Make of a clip's bytes what the others make of it."""
        return cut(PreparedClip.read(memoryview(data), key, Path(key), self.model.reads), self.model.clip, key)


def _write_chunks(root: Path, paths: Sequence[Path]) -> None:
    from litdata.streaming.writer import BinaryWriter

    writer = BinaryWriter(str(root), chunk_bytes=SHARD)
    for index, path in enumerate(paths):
        writer[index] = path.stem.encode() + b"\0" + path.read_bytes()
    writer.done()
    writer.merge()


def measure(corpus: Corpus, workers: int, rounds: int, cold: bool) -> list[Speed]:
    """Read epochs in turns."""
    loaders = {reader: corpus.loader(reader, workers) for reader in READERS}
    for reader, loader in loaders.items():
        _count(_epoch(corpus, reader, loader, 0))  # workers start, files come into memory
    speeds: dict[str, list[float]] = {reader: [] for reader in READERS}
    costs: dict[str, list[float]] = {reader: [] for reader in READERS}
    for number in range(1, rounds + 1):
        for reader in READERS if number % 2 else READERS[::-1]:
            if cold:
                _forget(corpus.files())
            batches = _epoch(corpus, reader, loaders[reader], number)
            begun, spent = time.perf_counter(), _processor_time()
            clips = _count(batches)
            speeds[reader].append(clips / (time.perf_counter() - begun))
            costs[reader].append((_processor_time() - spent) / clips * 1e3)
    found = []
    for reader in READERS:
        ratios = np.array(speeds[reader]) / np.array(speeds["folder"])
        cost = np.median(np.array(costs[reader]) / np.array(costs["folder"]))
        speed, own = float(np.median(speeds[reader])), float(np.median(costs[reader]))
        found.append(Speed(reader, workers, speed, *_spread(ratios), own, float(cost)))
    return found


def _processor_time() -> float:
    """Return the seconds of processor time that this process and its workers have used."""
    found = time.process_time()
    for child in multiprocessing.active_children():
        fields = Path(f"/proc/{child.pid}/stat").read_text().rpartition(")")[2].split()
        found += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return found


def _spread(ratios: Any) -> tuple[float, float, float]:
    return float(np.median(ratios)), float(ratios.min()), float(ratios.max())


def _epoch(corpus: Corpus, reader: str, loader: Any, number: int) -> Iterable[Batch]:
    if reader == "copied":
        for path in (corpus.root / "cache").glob("*/*.tar"):
            path.unlink()
        loader.dataset.files.mapped.clear()
    if isinstance(loader, TrainLoader):
        loader.sampler.set_epoch(number)  # type: ignore[attr-defined]
    return loader  # type: ignore[no-any-return]


def _count(batches: Iterable[Batch]) -> int:
    return sum(len(batch.key) for batch in batches)


def _forget(paths: Iterable[Path]) -> None:
    """Ask the system to forget what it holds of files."""
    for path in paths:
        with path.open("rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def try_resume(corpus: Corpus, reader: str, clips: int) -> str:
    """Stop in the middle of an epoch, go on in a fresh loader, and say what became of the clips."""
    first, fresh = corpus.loader(reader, 2), corpus.loader(reader, 2)
    before: list[str] = []
    for number, batch in enumerate(_epoch(corpus, reader, first, 1), 1):
        before += batch.key
        if number == clips // BATCH // 2:
            break
    if not hasattr(first, "state_dict"):
        return "no state: it begins the epoch anew"
    fresh.load_state_dict(first.state_dict())
    after = [key for batch in _epoch(corpus, reader, fresh, 1) for key in batch.key]
    seen = before + after
    return f"{clips - len(set(seen))} of {clips} clips lost, {len(seen) - len(set(seen))} seen twice"


def main(args: Sequence[str] | None = None) -> int:
    """Print the table; exit with 1 where shards take more than 1.05 of the folder's processor time."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=256, help="a multiple of the batch of 16")
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 2])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--voice", action="store_true", help="read the sound alone")
    parser.add_argument("--cold", action="store_true", help="forget the files before each epoch")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args(args)
    cv2.setNumThreads(1)
    os.environ["LITDATA_DISABLE_VERSION_CHECK"] = "1"  # it would ask a server for its newest version
    root = Path(tempfile.mkdtemp(prefix="mmer-streaming-"))
    try:
        corpus = Corpus.make(root, given.clips, VOICE if given.voice else MODEL)
        shards = list((root / "shards").glob("*.tar"))
        versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in ("litdata", "webdataset"))
        size = sum(path.stat().st_size for path in shards) / 1e6
        print(f"{given.clips} clips, {size:.0f} MB in {len(shards)} shards, {os.cpu_count()} cores, {versions}")
        speeds = [speed for workers in given.workers for speed in measure(corpus, workers, given.rounds, given.cold)]
        for speed in speeds:
            print(
                f"{speed.workers} workers  {speed.reader:<11}{speed.clips_per_second:8.1f} clips/s  "
                f"{speed.of_folder:5.2f} of the folder ({speed.low:.2f} to {speed.high:.2f})  "
                f"processor {speed.cpu_ms:5.2f} ms a clip, {speed.cpu_of_folder:.2f} of the folder"
            )
        resumed = {reader: try_resume(corpus, reader, given.clips) for reader in READERS}
        for reader, outcome in resumed.items():
            print(f"stopped in the middle  {reader:<11}{outcome}")
    finally:
        shutil.rmtree(root, ignore_errors=True)
    if given.json is not None:
        text = json.dumps({"speeds": [asdict(speed) for speed in speeds], "resumed": resumed}, indent=2)
        given.json.write_text(f"{text}\n", encoding="utf-8")
    slow = [speed for speed in speeds if speed.reader == "shards" and speed.cpu_of_folder > 1.05]
    return 1 if slow else 0


if __name__ == "__main__":
    sys.exit(main())
