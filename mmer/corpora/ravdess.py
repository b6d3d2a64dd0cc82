"""RAVDESS (Livingstone and Russo 2018): files named by seven two-digit fields, three files to a performance.

``modality-channel-emotion-intensity-statement-repetition-actor``; modality 01 is audio and video, 02 video only, 03
audio only. The three files of a take are the same performance, so they become one row.
"""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Literal

from mmer.corpora.manifest import Manifest, Row
from mmer.corpora.named import choose, find_media, tell_copies
from mmer.emotions import RAVDESS8
from mmer.errors import ClipError, ConfigError, CorpusError

Channel = Literal["speech", "song", "both"]
"""Which of RAVDESS's two parts to read."""

STATEMENTS = ("Kids are talking by the door", "Dogs are sitting by the door")
"""The two sentences that every actor speaks."""

SPEECH_TAKES, SONG_TAKES = 24 * 60, 23 * 44
"""How many takes there are of each part: 7,356 files, three to a take. Actor 18 does not sing."""

_VIDEO_SUFFIXES = (".mp4", ".avi")
_AUDIO_SUFFIXES = (".wav", ".flac")
_SUFFIXES = _VIDEO_SUFFIXES + _AUDIO_SUFFIXES
_NAME = re.compile(r"(\d\d)-(\d\d)-(\d\d)-(\d\d)-(\d\d)-(\d\d)-(\d\d)")
_MODALITIES = ("audio and video", "video only", "audio only")
_CHANNELS = ("speech", "song")
_INTENSITIES = ("normal", "strong")
_EMOTIONS = {"speech": 8, "song": 6}  # disgust and surprise are not sung
_SILENT = {"speech": (), "song": (18,)}  # actors without a take
_ACTORS = 24
_NAMED = 6  # incomplete actors that a note names one by one


def read_ravdess(path: Path, channel: Channel = "speech") -> Manifest:
    """Find the takes of RAVDESS, or of a corpus named like it, anywhere below a folder or in the owner's zip archives.

    A take's face comes from its 01 file, else from 02; its voice from its 03 file, else from the sound of 01. A file
    that lies there twice is read once where both copies hold the same bytes; an unpacked one goes before an archive's.

    Args:
        path: A folder with files, zip archives or both, or one zip archive.
        channel: ``speech``, the default, is what published scores are measured on.

    Raises:
        CorpusError: There is no such path, or it holds no such file.
        ConfigError: There is no such channel.
    """
    channels = _CHANNELS if channel == "both" else (channel,)
    if not set(channels) <= set(_CHANNELS):
        raise ConfigError(f"RAVDESS has no channel {channel!r}; choose speech, song or both")
    files, broken = find_media(path, _SUFFIXES)
    corpus = _corpus_name(path)
    rows, unusable, copies = _rows(files, corpus)
    kept = tuple(row for row in rows if row.extra["channel"] in channels)
    if not kept and len(rows) > len(kept):
        raise CorpusError(f"{path} holds {rows[0].extra['channel']} and no {channel}; ask for channel both")
    notes = [*_passed_over(rows, kept), *tell_copies(copies)]
    if corpus == "ravdess":
        notes = [*(_count(name, kept) for name in channels), *_files(kept), *notes]
    return Manifest(kept, (*broken, *unusable), tuple(notes))


def _rows(files: Iterable[Path], corpus: str) -> tuple[list[Row], list[ClipError], int]:
    """Return the takes of some files, what is none, and how many copies of files were passed over."""
    takes: dict[str, list[Path]] = defaultdict(list)
    rows, broken, copies = [], [], 0
    for file in files:
        if _NAME.fullmatch(file.stem):
            takes[file.stem[3:]].append(file)
        else:
            broken.append(ClipError(file.stem, file, "the name is not RAVDESS's seven two-digit fields"))
    for key in sorted(takes):
        try:
            row, more = _row(key, takes[key], corpus)
        except ClipError as error:
            broken.append(error)
        else:
            rows.append(row)
            copies += more
    return rows, broken, copies


def _count(channel: str, rows: Iterable[Row]) -> str:
    """Compare the takes of a channel with those that RAVDESS has."""
    found = {row.key for row in rows if row.extra["channel"] == channel}
    known = {actor: _known(channel, actor) for actor in range(1, _ACTORS + 1) if actor not in _SILENT[channel]}
    strange = len(found - set().union(*known.values()))
    total, count = sum(map(len, known.values())), len(found) - strange
    faults = _lacking({actor: (len(keys - found), len(keys)) for actor, keys in known.items()})
    if strange:
        faults.append(f"takes that RAVDESS does not have: {strange:,}")
    if count == total:
        return "; ".join([f"complete: {total:,} {channel} takes of {len(known)} actors", *faults])
    return f"{count:,} of {total:,} {channel} takes: {'; '.join(faults)}"


def _lacking(counts: Mapping[int, tuple[int, int]]) -> list[str]:
    """Say which actors are missing and which are incomplete.

    Args:
        counts: For every actor, how many takes are missing, and of how many.
    """
    gone = [actor for actor, (missing, total) in counts.items() if missing == total]
    part = [actor for actor, (missing, _) in counts.items() if missing and actor not in gone]
    faults = [f"actors {_ranges(gone)} are missing"] if len(gone) > 1 else []
    if len(gone) == 1:
        faults = [f"actor {gone[0]} is missing"]
    if len(part) > _NAMED:
        return [*faults, f"{len(part)} actors lack {sum(counts[actor][0] for actor in part):,} takes"]
    return [*faults, *(f"actor {actor} lacks {counts[actor][0]} of {counts[actor][1]}" for actor in part)]


def _ranges(numbers: Sequence[int]) -> str:
    """Return rising numbers for a human, as ``1, 3, 7 to 24``."""
    parts: list[str] = []
    for _, run in groupby(enumerate(numbers), lambda pair: pair[1] - pair[0]):
        found = [number for _, number in run]
        parts += [f"{found[0]} to {found[-1]}"] if len(found) > 4 else map(str, found)
    return ", ".join(parts)


def _known(channel: str, actor: int) -> set[str]:
    """Return the keys of an actor's takes; neutral is never strong."""
    emotions = range(1, _EMOTIONS[channel] + 1)
    acted = [(emotion, strength) for emotion in emotions for strength in (1, 2) if (emotion, strength) != (1, 2)]
    code = _CHANNELS.index(channel) + 1
    return {f"{code:02d}-{e:02d}-{i:02d}-{s:02d}-{r:02d}-{actor:02d}" for e, i in acted for s in (1, 2) for r in (1, 2)}


def _files(rows: Sequence[Row]) -> list[str]:
    """Say how many takes have a file of their own for the face and for the voice, unless all or none have."""
    counts = {"video": sum(row.video is not None for row in rows), "audio": sum(row.audio is not None for row in rows)}
    return [
        f"{count:,} of {len(rows):,} takes have {name} files" for name, count in counts.items() if 0 < count < len(rows)
    ]


def _passed_over(rows: Sequence[Row], kept: Sequence[Row]) -> list[str]:
    others = Counter(row.extra["channel"] for row in rows)
    others.subtract(row.extra["channel"] for row in kept)
    return [
        f"{count:,} {name} takes are passed over; channel both reads them" for name, count in others.items() if count
    ]


def _corpus_name(folder: Path) -> str:
    """Return what the folder says it is; the demo corpus says so in corpus.json."""
    note = folder / "corpus.json"
    if not note.is_file():
        return "ravdess"
    try:
        return str(json.loads(note.read_text(encoding="utf-8"))["name"])
    except (ValueError, KeyError, TypeError) as error:
        raise CorpusError(
            f"{note} does not say the corpus's name; mend it, or delete it if the clips are RAVDESS's"
        ) from error


def _row(key: str, paths: list[Path], corpus: str) -> tuple[Row, int]:
    """Return a take's row, and how many copies of its files were passed over."""
    channel, emotion, intensity, statement, repetition, actor = (int(field) for field in key.split("-"))
    where = paths[0]
    for path in paths:
        _field(key, path, "modality", _MODALITIES, int(path.stem[:2]))
    video, faces = _file(key, paths, ("01", "02"), _VIDEO_SUFFIXES)
    audio, voices = _file(key, paths, ("03",), _AUDIO_SUFFIXES)
    row = Row(
        key=key,
        corpus=corpus,
        speaker=str(actor),
        label=_field(key, where, "emotion", RAVDESS8, emotion),
        video=video,
        audio=audio,
        text=_field(key, where, "statement", STATEMENTS, statement),
        extra={
            "channel": _field(key, where, "channel", _CHANNELS, channel),
            "gender": "male" if actor % 2 else "female",
            "intensity": _field(key, where, "intensity", _INTENSITIES, intensity),
            "repetition": str(repetition),
            "statement": str(statement),
            "take": key,
        },
    )
    return row, faces + voices


def _field(key: str, path: Path, name: str, values: tuple[str, ...], code: int) -> str:
    if not 1 <= code <= len(values):
        raise ClipError(key, path, f"{name} {code:02d} is unknown; the codes are 01 to {len(values):02d}")
    return values[code - 1]


def _file(
    key: str, paths: list[Path], modalities: tuple[str, ...], suffixes: tuple[str, ...]
) -> tuple[Path | None, int]:
    """Return a take's file of the first modality and suffix that it has, and how many copies of that there are."""
    for modality in modalities:
        found, copies = choose(key, [path for path in paths if path.stem.startswith(modality)], suffixes)
        if found is not None:
            return found, copies
    return None, 0
