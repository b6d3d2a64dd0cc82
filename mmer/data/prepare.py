"""Raw files to prepared clips: faces are found and cut out once, sound is resampled once.

Training, evaluation and prediction all go through :func:`prepare_clip`, so they see the same pixels and samples.
"""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain
from pathlib import Path

import numpy as np
from tqdm import tqdm

from mmer.atomic import replacing
from mmer.config import Modality, PrepareConfig
from mmer.corpora.leaks import name_copies, same_sounds
from mmer.corpora.manifest import Manifest, Row, read_rows, write_manifest
from mmer.data.claim import Claim, claim
from mmer.data.clip import PreparedClip
from mmer.data.features import FeatureStream, Values, open_features
from mmer.data.pool import run_all
from mmer.data.store import clip_path
from mmer.data.transcripts import build_transcriber, find_sidecar
from mmer.errors import ClipError, ConfigError, CorpusError
from mmer.media.audio import Waveform, find_audio, read_audio
from mmer.media.container import Source
from mmer.media.faces import build_detector, measure_faces, read_faces
from mmer.media.files import file_hash

ALL: tuple[Modality, ...] = ("video", "audio", "text")
SKIPPED = "skipped.csv"
SHEET = "faces.png"


@dataclass(frozen=True, slots=True)
class Preparation:
    """What a preparation did.

    Args:
        rows: The clips that are ready.
        skipped: The clips that were left out, each with its reason.
        notes: What a human should know, each one line.
        warnings: What should worry him, each one line.
    """

    rows: tuple[Row, ...]
    skipped: tuple[ClipError, ...]
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Task:
    """A clip to prepare, with the features that were joined to it, or what is wrong with them."""

    row: Row
    features: Mapping[str, Values] = field(default_factory=dict)
    fault: ClipError | None = None


def prepare_clip(
    row: Row,
    config: PrepareConfig,
    modalities: Sequence[str] = ALL,
    features: Mapping[str, Values] | None = None,
    threads: int = 1,
) -> PreparedClip:
    """Read one clip's files.

    Args:
        row: The clip.
        config: How to prepare it.
        modalities: What to read of it.
        features: Its precomputed streams.
        threads: How many threads decode its video; 0 takes all cores, and no byte depends on it.

    Raises:
        ClipError: A file of the clip is broken, shows no face, or there is nothing to read.
        ConfigError: What finds faces or hears words is not installed.
    """
    clip = replace(PreparedClip.empty(config.sample_rate), features=dict(features or {}))
    if row.video is not None and "video" in modalities:
        clip = _with_faces(clip, Source(row.key, row.video, config.max_seconds), config, threads)
    if "audio" in modalities:
        clip = replace(clip, audio=_read_sound(row, config))
    if "text" in modalities:
        clip = replace(clip, text=build_transcriber(config)(row))
    if not clip.has_video and clip.audio is None and clip.text is None and not features:
        raise ClipError(row.key, row.video or row.audio, f"there is no {' and no '.join(modalities)} to read")
    return clip


def _with_faces(clip: PreparedClip, source: Source, config: PrepareConfig, threads: int) -> PreparedClip:
    faces = read_faces(source, config, build_detector(config), threads)
    return replace(
        clip,
        times=faces.times,
        sizes=faces.sizes,
        jpeg=faces.jpeg,
        boxes=faces.boxes,
        height=faces.height,
        width=faces.width,
    )


def _read_sound(row: Row, config: PrepareConfig) -> Waveform | None:
    """Read a row's audio file, or the sound of its video where it names none; a silent video is no fault."""
    path = row.audio or row.video
    if path is None:
        return None
    source = Source(row.key, path, config.max_seconds)
    return (find_audio if row.audio is None else read_audio)(source, config.sample_rate)


def prepare_corpus(
    manifest: Manifest,
    root: Path,
    config: PrepareConfig,
    *,
    features: Mapping[str, Path] | None = None,
    workers: int = 1,
    sheet: bool = True,
    progress: bool = True,
) -> Preparation:
    """Prepare a corpus; clips that are ready are kept, so an interrupted preparation goes on where it stopped.

    Args:
        manifest: What to prepare.
        root: The prepared folder; it is made where it does not exist.
        config: How to prepare it.
        features: Where each of the settings' feature streams lies, as :func:`~mmer.data.features.open_features` takes.
        workers: Processes that read at the same time.
        sheet: Whether to draw some clips' faces into ``faces.png``.
        progress: Whether to show a progress bar on standard error.

    Raises:
        CorpusError: The folder was prepared with other settings, or not one clip could be prepared.
        ConfigError: What finds faces or hears words is not installed.
    """
    streams = _open_streams(manifest, config, features or {})
    build_detector(config)  # what is not installed is said once, and before a folder is made
    build_transcriber(config)
    with claim(root, config) as claimed:
        _check_source(root, manifest)
        rows, skipped = _prepare_rows(manifest, root, config, streams, workers, progress)
        _write_skipped(root / SKIPPED, skipped)
        if not rows:
            reason = str(skipped[0]) if skipped else "the corpus is empty"
            raise CorpusError(f"not one of {len(manifest) + len(manifest.broken)} clips could be prepared; {reason}")
        write_manifest(root / "manifest.csv", rows)
        if sheet:
            from mmer.data.sheet import write_sheet  # only here: workers start quicker without what draws

            write_sheet(root / SHEET, manifest.rows, rows, skipped, config)
        _finish(claimed, rows, skipped)
    notes = (*manifest.notes, *(note for stream in streams for note in stream.notes))
    return Preparation(rows, skipped, notes, (*claimed.warnings, *_copies(rows)))


def _open_streams(manifest: Manifest, config: PrepareConfig, features: Mapping[str, Path]) -> list[FeatureStream]:
    if set(config.features) != set(features):
        raise ConfigError(
            f"the settings name the feature streams {', '.join(config.features) or 'none'} "
            f"and files are given for {', '.join(features) or 'none'}; give one of each name"
        )
    streams = [open_features(name, features[name]) for name in sorted(features)]
    for stream in streams:
        stream.check([row.key for row in manifest.rows])
    return streams


def _prepare_rows(
    manifest: Manifest,
    root: Path,
    config: PrepareConfig,
    streams: Sequence[FeatureStream],
    workers: int,
    progress: bool,
) -> tuple[tuple[Row, ...], tuple[ClipError, ...]]:
    """Prepare every row; return those that are ready, in their order, and what was left out."""
    done: dict[str, Row] = {}
    skipped = list(manifest.broken)
    prepare = partial(_prepare_one, root, config)
    words = [row for row in manifest.rows if row.video is None and row.audio is None]
    media = [row for row in manifest.rows if row.video is not None or row.audio is not None]
    # words alone are done at once: to hand them to another process would take longer
    outcomes = chain(map(prepare, _tasks(words, streams)), run_all(prepare, _tasks(media, streams), workers))
    with tqdm(total=len(manifest), desc="prepare", unit="clip", disable=not progress) as bar:
        for outcome in outcomes:
            if isinstance(outcome, ClipError):
                skipped.append(outcome)
            else:
                done[outcome.key] = outcome
            bar.update()
    skipped.sort(key=lambda error: (error.key, error.reason))
    return tuple(done[row.key] for row in manifest.rows if row.key in done), tuple(skipped)


def _tasks(rows: Iterable[Row], streams: Sequence[FeatureStream]) -> Iterator[_Task]:
    """Join the feature streams to the rows."""
    for row in rows:
        try:
            values = {stream.name: stream.read(row.key) for stream in streams}
        except ClipError as error:
            yield _Task(row, fault=error)
        else:
            yield _Task(row, {name: value for name, value in values.items() if value is not None})


def _prepare_one(root: Path, config: PrepareConfig, task: _Task) -> Row | ClipError:
    """Prepare a clip unless it is ready, and return its row in the prepared manifest, or what is wrong with it."""
    row, path = task.row, clip_path(root, task.row.key)
    try:
        if task.fault is not None:
            return task.fault
        made_of = _source(row, config, task.features)
        clip = _ready(path, row.key, made_of)
        if clip is None:
            clip = replace(prepare_clip(row, config, features=task.features), source=made_of)
            _store(clip, path)
    except ClipError as error:
        return error
    return _prepared_row(row, path, clip)


def _source(row: Row, config: PrepareConfig, features: Mapping[str, Values]) -> str:
    """Say what a clip is made of, as ``video:9f86d0... text:2c26b4...``: SHA-256 checksums of contents, no names.

    A changed file is prepared anew, and the same files make the same clip wherever and whenever.
    """
    parts = {name: _checksum(path) for name, path in (("video", row.video), ("audio", row.audio)) if path is not None}
    if config.transcripts == "sidecar" and parts:
        path = find_sidecar(row)
        parts |= {} if path is None else {"text": _checksum(path)}
    elif row.text is not None and (config.transcripts == "corpus" or not parts):
        parts["text"] = hashlib.sha256(row.text.encode()).hexdigest()
    for name, values in features.items():
        parts[name] = hashlib.sha256(f"{values.shape}".encode() + values.tobytes()).hexdigest()
    return " ".join(f"{name}:{checksum}" for name, checksum in parts.items())


def _checksum(path: Path) -> str:
    """Return a file's checksum; what keeps it from being read is said, with the clip's key, when it is."""
    try:
        return file_hash(path)
    except (OSError, ValueError):  # ValueError: a name that no file can have
        return "unreadable"


def _ready(path: Path, key: str, made_of: str) -> PreparedClip | None:
    """Return the prepared clip if it exists and was made of the files as they are now."""
    if not path.is_file():
        return None
    try:
        clip = PreparedClip.load(path, key)
    except ClipError:
        return None  # damaged: make it again
    return clip if clip.source == made_of else None


def _store(clip: PreparedClip, path: Path) -> None:
    """Write a clip; words alone stand in the manifest and need no file."""
    if clip.has_video or clip.audio is not None or clip.features:
        clip.save(path)
    else:
        path.unlink(missing_ok=True)  # of a time when the row had more


def _prepared_row(row: Row, path: Path, clip: PreparedClip) -> Row:
    return Row(
        key=row.key,
        corpus=row.corpus,
        speaker=row.speaker,
        label=row.label,
        video=path if clip.has_video else None,
        audio=None if clip.audio is None else path,
        text=clip.text,
        extra={**row.extra, **_findings(clip)},
    )


def _findings(clip: PreparedClip) -> dict[str, str]:
    """Return what the manifest says of a clip beyond its row."""
    found = {"source": clip.source}
    if clip.has_video or clip.audio is not None:
        found["seconds"] = f"{clip.seconds:.3f}"
    if clip.has_video:
        faces = measure_faces(clip.boxes, clip.height)
        found |= {
            "face_share": f"{clip.face_share:.3f}",
            "face_size": f"{faces.size:.1f}",
            "face_jitter": f"{faces.jitter:.4f}",
        }
    if clip.audio is not None and np.ptp(clip.audio) > 0:  # all silences are alike and no sign of a copy
        found["sound"] = hashlib.sha256(clip.audio.tobytes()).hexdigest()[:32]
    if clip.features:
        found["features"] = " ".join(sorted(clip.features))
    return found


def _copies(rows: Iterable[Row]) -> Iterator[str]:
    """Say which clips have the very same sound."""
    copies = same_sounds(rows)
    if copies:
        yield (
            f"{len(copies)} sounds are each there under several keys, the same to the sample: {name_copies(copies)}; "
            "training keeps the first of each with split.duplicates=drop"
        )


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


def _finish(claimed: Claim, rows: Sequence[Row], skipped: Sequence[ClipError]) -> None:
    sources = hashlib.sha256("".join(f"{row.key}\n{row.extra['source']}\n" for row in rows).encode()).hexdigest()
    counts = {"clips": len(rows), "skipped": len(skipped)}
    for modality in ALL:
        counts[modality] = sum(getattr(row, modality) is not None for row in rows)
    claimed.finish(sources, counts)


def _write_skipped(path: Path, skipped: Iterable[ClipError]) -> None:
    with (
        replacing(path) as temporary,
        temporary.open("w", newline="", encoding="utf-8", errors="backslashreplace") as file,  # a path may be no UTF-8
    ):
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("key", "path", "reason"))
        writer.writerows((error.key, error.path or "", error.reason) for error in skipped)
