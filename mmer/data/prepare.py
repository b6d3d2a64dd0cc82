"""Raw files to prepared clips: faces are found and cut out once, sound is resampled once.

Training, evaluation and prediction all go through :func:`prepare_clip`, so they see the same pixels and samples.
"""

from __future__ import annotations

import csv
import multiprocessing
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from mmer.atomic import replacing
from mmer.config import Modality, PrepareConfig
from mmer.corpora.manifest import Manifest, Row, read_rows, write_manifest
from mmer.data.store import PreparedClip, changes, clip_path, read_settings, write_settings
from mmer.errors import ClipError, CorpusError
from mmer.media.audio import Waveform, has_audio, read_audio
from mmer.media.container import Source
from mmer.media.faces import Box, centre, crop, detect_haar, follow, is_blank
from mmer.media.jpeg import encode_jpeg
from mmer.media.video import Frame, Image, read_video


@dataclass(frozen=True, slots=True)
class Preparation:
    """What a preparation did.

    Args:
        rows: The clips that are ready.
        skipped: The clips that were left out, each with its reason.
    """

    rows: tuple[Row, ...]
    skipped: tuple[ClipError, ...]


def prepare_clip(row: Row, config: PrepareConfig, modalities: Sequence[Modality] = ("video", "audio")) -> PreparedClip:
    """Read one clip's files.

    Args:
        row: The clip.
        config: How to prepare it.
        modalities: What to read of it.

    Raises:
        ClipError: A file of the clip is broken, shows no face, or there is nothing to read.
    """
    times, sizes, jpeg = np.zeros(0), np.zeros(0, np.int64), np.zeros(0, np.uint8)
    if row.video is not None and "video" in modalities:
        times, sizes, jpeg = _read_faces(Source(row.key, row.video, config.max_seconds), config)
    audio = _read_sound(row, config) if "audio" in modalities else None
    if len(times) == 0 and audio is None:
        raise ClipError(row.key, row.video or row.audio, f"there is no {' and no '.join(modalities)} to read")
    return PreparedClip(times, sizes, jpeg, audio, config.sample_rate, _signature(row))


def _read_faces(
    source: Source, config: PrepareConfig
) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.uint8]]:
    """Return the times of a video's frames, the sizes of their faces' JPEGs, and the JPEGs."""
    times, parts = [], []
    for time, image in _faces(read_video(source), config):
        times.append(time)
        parts.append(np.zeros(0, np.uint8) if image is None else encode_jpeg(image, config.quality))
    sizes = np.array([len(part) for part in parts], np.int64)
    if not times:
        raise source.error("its video stream holds no frames")
    if not sizes.any():
        faces = "clips that are faces already want prepare --detector none"
        advice = faces if config.detector != "none" else "every frame is black"
        raise source.error(f"no face in any of {len(times)} frames; {advice}")
    return np.array(times), sizes, np.concatenate(parts)


def _faces(frames: Iterable[Frame], config: PrepareConfig) -> Iterator[tuple[float, Image | None]]:
    """Yield each frame's time and its face, or None where it shows none."""
    if config.detector == "none":
        for frame in frames:
            yield frame.time, None if is_blank(frame.image) else centre(frame.image, config.size)
        return
    for frame, box in follow(frames, detect_haar, config.detect_every):
        yield frame.time, _cut(frame.image, box, config)


def _cut(image: Image, box: Box | None, config: PrepareConfig) -> Image | None:
    return None if box is None else crop(image, box, config.margin, config.size)


def _read_sound(row: Row, config: PrepareConfig) -> Waveform | None:
    """Read a row's audio file, or the sound of its video where it names none; a silent video is no fault."""
    path = row.audio or row.video
    if path is None:
        return None
    source = Source(row.key, path, config.max_seconds)
    if row.audio is None and not has_audio(source):
        return None
    return read_audio(source, config.sample_rate)


def _signature(row: Row) -> str:
    """Say which files a clip is made of, so that a changed file is prepared anew."""
    files = [path for path in (row.video, row.audio) if path is not None and path.is_file()]
    return "; ".join(f"{path.name} {path.stat().st_size} {path.stat().st_mtime_ns}" for path in files)


def prepare_corpus(
    manifest: Manifest, root: Path, config: PrepareConfig, *, workers: int = 1, progress: bool = True
) -> Preparation:
    """Prepare a corpus; clips that are ready are kept, so an interrupted preparation goes on where it stopped.

    Args:
        manifest: What to prepare.
        root: The prepared folder; it is made where it does not exist.
        config: How to prepare it.
        workers: Processes that read at the same time.
        progress: Whether to show a progress bar on standard error.

    Raises:
        CorpusError: The folder was prepared with other settings, or not one clip could be prepared.
    """
    _claim(root, config)
    _check_source(root, manifest)
    done: dict[str, Row] = {}
    skipped = list(manifest.broken)
    with tqdm(total=len(manifest), desc="prepare", unit="clip", disable=not progress) as bar:
        for outcome in _prepare_all(manifest.rows, root, config, workers):
            if isinstance(outcome, ClipError):
                skipped.append(outcome)
            else:
                done[outcome.key] = outcome
            bar.update()
    rows = tuple(done[row.key] for row in manifest.rows if row.key in done)
    skipped.sort(key=lambda error: (error.key, error.reason))
    _write_skipped(root / "skipped.csv", skipped)
    if not rows:
        reason = str(skipped[0]) if skipped else "the corpus is empty"
        raise CorpusError(f"not one of {len(manifest) + len(manifest.broken)} clips could be prepared; {reason}")
    write_manifest(root / "manifest.csv", rows)
    return Preparation(rows, tuple(skipped))


def _claim(root: Path, config: PrepareConfig) -> None:
    """Make the folder, or refuse one whose clips were prepared differently: a cache is never a mixture."""
    before = read_settings(root)
    if before is None:
        if root.exists() and (not root.is_dir() or any(not path.name.startswith(".") for path in root.iterdir())):
            raise CorpusError(f"{root} exists and is not a prepared folder; choose an empty or a new one")
        root.mkdir(parents=True, exist_ok=True)
        write_settings(root, config)
    elif before != config:
        raise CorpusError(
            f"{root} was prepared with {changes(before, config)}; use the same settings, or another folder"
        )
    (root / "clips").mkdir(exist_ok=True)


def _check_source(root: Path, manifest: Manifest) -> None:
    """Refuse a folder that holds another corpus, whose clips would be lost from its manifest."""
    path = root / "manifest.csv"
    if not path.is_file():
        return
    known = {row.key for row in manifest.rows} | {error.key for error in manifest.broken}
    others = [row.key for _, row in read_rows(path, corpus="") if row.key not in known]
    if others:
        raise CorpusError(
            f"{root} holds {len(others)} clips that the source does not name, {others[0]!r} the first; "
            "use another folder"
        )


def _prepare_all(rows: tuple[Row, ...], root: Path, config: PrepareConfig, workers: int) -> Iterator[Row | ClipError]:
    """Yield the outcome of every row, in any order."""
    if workers == 1:
        yield from (_prepare_one(row, root, config) for row in rows)
        return
    context = multiprocessing.get_context("spawn")  # a forked decoder thread would hang
    with ProcessPoolExecutor(workers, mp_context=context, initializer=cv2.setNumThreads, initargs=(1,)) as pool:
        futures = [pool.submit(_prepare_one, row, root, config) for row in rows]
        try:
            yield from (future.result() for future in as_completed(futures))
        finally:
            pool.shutdown(cancel_futures=True)


def _prepare_one(row: Row, root: Path, config: PrepareConfig) -> Row | ClipError:
    """Prepare a clip unless it is ready, and return its row in the prepared manifest, or what is wrong with it."""
    path = clip_path(root, row.key)
    try:
        clip = _ready(path, row)
        if clip is None:
            clip = prepare_clip(row, config)
            clip.save(path)
    except ClipError as error:
        return error
    stored = {"seconds": f"{clip.seconds:.3f}", "face_share": f"{clip.face_share:.3f}" if clip.has_video else ""}
    return Row(
        key=row.key,
        corpus=row.corpus,
        speaker=row.speaker,
        label=row.label,
        video=path if clip.has_video else None,
        audio=None if clip.audio is None else path,
        text=row.text,
        extra={**row.extra, **stored},
    )


def _ready(path: Path, row: Row) -> PreparedClip | None:
    """Return the prepared clip if it exists and was made of the files as they are now."""
    if not path.is_file():
        return None
    try:
        clip = PreparedClip.load(path, row.key)
    except ClipError:
        return None  # damaged: make it again
    return clip if clip.source == _signature(row) else None


def _write_skipped(path: Path, skipped: Iterable[ClipError]) -> None:
    with (
        replacing(path) as temporary,
        temporary.open("w", newline="", encoding="utf-8", errors="backslashreplace") as file,  # a path may be no UTF-8
    ):
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("key", "path", "reason"))
        writer.writerows((error.key, error.path or "", error.reason) for error in skipped)
