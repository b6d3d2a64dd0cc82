"""Measure what could hold a clip's face frames: random read of 16 frames at 224 pixels.

    python benchmarks/containers.py                        # the six 720p clips of MMER_DATA, or drawn faces
    python benchmarks/containers.py clip.mp4 ... --markdown table.md

The frames are cut from the clips as preparation cuts them, kept without loss, and written into every container. A read
takes one frame at random from each of 16 equal parts of the clip, as RGB bytes, in random order of the clips; all runs
on one thread. ``ms`` is the median of the wall clock with the file in memory, ``cold`` the same after the system was
asked to forget it, ``cpu`` the mean of processor time; ``psnr`` compares with the frames that were written.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from mmer.config import PrepareConfig
from mmer.corpora.demo import synthesize
from mmer.corpora.manifest import Row
from mmer.data.clip import PreparedClip
from mmer.data.prepare import prepare_clip
from mmer.media.container import Source
from mmer.media.faces.boxes import Box
from mmer.media.faces.cut import cut
from mmer.media.jpeg import encode_jpeg
from mmer.media.video import read_video

Frames = NDArray[np.uint8]  # [t h w 3]

FPS = 30
FRAMES = 16
RAVDESS = 1440
CONFIG = PrepareConfig()


@dataclass(frozen=True, slots=True)
class Container:
    """A way to keep frames.

    Args:
        name: What it is.
        suffix: Of its file.
        write: Writes frames to a file.
        read: Reads frames by their numbers.
    """

    name: str
    suffix: str
    write: Callable[[Path, Frames], None]
    read: Callable[[Path, list[int]], Frames]


@dataclass(frozen=True, slots=True)
class Result:
    """What was measured of a container."""

    name: str
    ms: float
    cold_ms: float
    cpu_ms: float
    clip_bytes: float
    psnr: float


def write_npy(path: Path, frames: Frames) -> None:
    """Write pixels."""
    np.save(path, frames)


def read_npy(path: Path, wanted: list[int]) -> Frames:
    """Read pixels through a map of the file."""
    return np.asarray(np.load(path, mmap_mode="r")[wanted])


def write_bundle(path: Path, frames: Frames) -> None:
    """Write a prepared clip."""
    parts = [encode_jpeg(frame, CONFIG.quality) for frame in frames]
    sizes = np.array([len(part) for part in parts], np.int64)
    PreparedClip(np.arange(len(parts)) / FPS, sizes, np.concatenate(parts), None, CONFIG.sample_rate).save(path)


def read_bundle(path: Path, wanted: list[int]) -> Frames:
    """Read a prepared clip as training does, checksums included."""
    frames = PreparedClip.load(path, path.stem, ["video"]).frames_at(np.array(wanted) / FPS)
    assert frames is not None
    return frames


def write_mjpeg(path: Path, frames: Frames) -> None:
    """Write the bundle's own JPEGs as the packets of a film."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mjpeg", rate=FPS)
        stream.height, stream.width, stream.pix_fmt = *frames.shape[1:3], "yuvj420p"
        for number, frame in enumerate(frames):
            packet = av.Packet(encode_jpeg(frame, CONFIG.quality).tobytes())
            packet.stream, packet.time_base = stream, Fraction(1, FPS)
            packet.pts = packet.dts = number
            packet.is_keyframe = True
            container.mux(packet)


def write_h264(gop: int) -> Callable[[Path, Frames], None]:
    """Return what writes H.264 with a key frame every ``gop`` frames."""

    def write(path: Path, frames: Frames) -> None:
        with av.open(str(path), "w") as container:
            options = {"crf": "18", "preset": "medium", "bf": "0", "g": str(gop), "keyint_min": str(gop)}
            stream = container.add_stream("libx264", rate=FPS, options=options)
            stream.height, stream.width, stream.pix_fmt = *frames.shape[1:3], "yuv420p"
            for frame in frames:
                container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
            container.mux(stream.encode(None))

    return write


def read_film(gop: int) -> Callable[[Path, list[int]], Frames]:
    """Return what reads frames of a film; it seeks where that saves decoding and goes on where it does not."""

    def read(path: Path, wanted: list[int]) -> Frames:
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            stream.codec_context.thread_count = 1
            assert stream.time_base is not None
            tick = 1 / (FPS * stream.time_base)
            found, decoded, at = [], container.decode(stream), -1
            for number in wanted:
                if number - number % gop > at + 1:
                    container.seek(round(number * tick), stream=stream)
                    decoded = container.decode(stream)
                while at < number:
                    frame = next(decoded)
                    assert frame.pts is not None
                    at = round(frame.pts / tick)
                found.append(frame.to_ndarray(format="rgb24"))
            return np.stack(found)

    return read


CONTAINERS = (
    Container("raw pixels, npy", ".npy", write_npy, read_npy),
    Container(f"JPEG bundle, quality {CONFIG.quality}", ".npz", write_bundle, read_bundle),
    Container("Motion-JPEG, same JPEGs", ".avi", write_mjpeg, read_film(1)),
    Container("H.264 crf 18, key frame every 8", ".mp4", write_h264(8), read_film(8)),
    Container("H.264 crf 18, key frame every 16", ".mp4", write_h264(16), read_film(16)),
)


def cut_faces(path: Path) -> Frames:
    """Return a clip's faces as preparation cuts them, but never compressed."""
    clip = prepare_clip(Row(path.stem, "benchmark", video=path), CONFIG, ["video"])
    faces = []
    for frame, box in zip(read_video(Source(path.stem, path)), clip.boxes, strict=True):
        if np.isfinite(box).all():
            faces.append(cut(frame, Box(*box[:3].tolist()), CONFIG.margin, CONFIG.size))
    return np.stack(faces)


def measure(container: Container, clips: Sequence[Frames], folder: Path, reads: int) -> Result:
    """Write clips into a container and read them at random."""
    paths = [folder / f"{number}{container.suffix}" for number in range(len(clips))]
    for path, frames in zip(paths, clips, strict=True):
        container.write(path, frames)
        with path.open("rb") as file:
            os.fsync(file.fileno())
    wall, cold, cpu = [], [], []
    for which, wanted in draw(clips, reads):
        forget(paths[which])
        cold.append(timed(container, paths[which], wanted)[0])
        seconds, busy = timed(container, paths[which], wanted)
        wall.append(seconds)
        cpu.append(busy)
    return Result(
        container.name,
        1000 * float(np.median(wall)),
        1000 * float(np.median(cold)),
        1000 * float(np.mean(cpu)),
        float(np.mean([path.stat().st_size for path in paths])),
        float(np.mean([psnr(container, path, frames) for path, frames in zip(paths, clips, strict=True)])),
    )


def draw(clips: Sequence[Frames], reads: int) -> Iterator[tuple[int, list[int]]]:
    """Yield which clip to read and which of its frames, the same for every container."""
    rng = np.random.default_rng(0)
    for _ in range(reads):
        which = int(rng.integers(len(clips)))
        places = (np.arange(FRAMES) + rng.random(FRAMES)) / FRAMES
        yield which, np.unique((places * len(clips[which])).astype(int)).tolist()


def timed(container: Container, path: Path, wanted: list[int]) -> tuple[float, float]:
    """Return the wall clock and the processor time of a read, in seconds."""
    start, busy = time.perf_counter(), time.process_time()
    frames = container.read(path, wanted)
    seconds, spent = time.perf_counter() - start, time.process_time() - busy
    assert len(frames) == len(wanted)
    return seconds, spent


def forget(path: Path) -> None:
    """Ask the system to drop a file from its memory."""
    with path.open("rb") as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def psnr(container: Container, path: Path, frames: Frames) -> float:
    """Return how near the stored frames are to those written, in dB; infinite where they are the same."""
    stored = container.read(path, list(range(len(frames))))
    error = np.mean((stored.astype(np.float32) - frames) ** 2)
    return float(10 * np.log10(255**2 / error)) if error else float("inf")


def table(results: Sequence[Result]) -> str:
    """Return the results as a Markdown table."""
    head = "| container | ms | cold | cpu | KB a clip | RAVDESS | psnr |\n|---|---:|---:|---:|---:|---:|---:|"
    rows = [
        f"| {r.name} | {r.ms:.1f} | {r.cold_ms:.1f} | {r.cpu_ms:.1f} | {r.clip_bytes / 1e3:,.0f} "
        f"| {r.clip_bytes * RAVDESS / 1e9:.1f} GB | {r.psnr:.1f} dB |"
        for r in results
    ]
    return "\n".join([head, *rows])


def find_clips(folder: Path) -> list[Path]:
    """Return the real 720p clips where there are any, or else drawn ones."""
    data = Path(os.environ.get("MMER_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
    real = sorted((data / "ravdess").glob("Actor_*/01-01-*.mp4"))
    if not real:
        synthesize(folder / "demo", actors=1, takes=1, progress=False)
    return real or sorted((folder / "demo").rglob("*.mp4"))[:6]


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clips", nargs="*", type=Path, help="video files with a face")
    parser.add_argument("--reads", type=int, default=200, help="random reads of each container")
    parser.add_argument("--markdown", type=Path, help="write the table to this file")
    parser.add_argument("--json", type=Path, help="write the numbers to this file")
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory() as name:
        clips = [cut_faces(path) for path in arguments.clips or find_clips(Path(name))]
        lengths = [len(frames) for frames in clips]
        print(f"{len(clips)} clips of {min(lengths)} to {max(lengths)} frames, {CONFIG.size} pixels")
        results = []
        for container in CONTAINERS:
            results.append(measure(container, clips, Path(name), arguments.reads))
            print(f"{container.name} done", file=sys.stderr)
    print(table(results))
    if arguments.markdown:
        arguments.markdown.write_text(table(results) + "\n", encoding="utf-8")
    if arguments.json:
        arguments.json.write_text(json.dumps([asdict(result) for result in results], indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
