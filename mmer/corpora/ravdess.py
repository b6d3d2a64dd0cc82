"""RAVDESS (Livingstone and Russo 2018): files named by seven two-digit fields, three files to a performance.

``modality-channel-emotion-intensity-statement-repetition-actor``; modality 01 is audio and video, 02 video only, 03
audio only. The three files of a take are the same performance, so they become one row.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from mmer.corpora.manifest import Manifest, Row
from mmer.emotions import RAVDESS8
from mmer.errors import ClipError, CorpusError

STATEMENTS = ("Kids are talking by the door", "Dogs are sitting by the door")
"""The two sentences that every actor speaks."""

_VIDEO_SUFFIXES = (".mp4", ".avi")
_AUDIO_SUFFIXES = (".wav", ".flac")
_NAME = re.compile(r"(\d\d)-(\d\d)-(\d\d)-(\d\d)-(\d\d)-(\d\d)-(\d\d)")
_MODALITIES = ("audio and video", "video only", "audio only")
_CHANNELS = ("speech", "song")
_INTENSITIES = ("normal", "strong")


def read_ravdess(folder: Path) -> Manifest:
    """Find the takes of RAVDESS, or of a corpus named like it, anywhere below a folder.

    A take's face comes from its 01 file, else from 02; its voice from its 03 file, else from the sound of 01.

    Raises:
        CorpusError: The folder is missing, or holds no such file.
    """
    if not folder.is_dir():
        raise CorpusError(f"{folder} is not a folder; give the one that holds RAVDESS's Actor_01, Actor_02, ...")
    corpus = _corpus_name(folder)
    takes: dict[str, list[Path]] = defaultdict(list)
    broken: list[ClipError] = []
    for path in _media_files(folder):
        if _NAME.fullmatch(path.stem):
            takes[path.stem[3:]].append(path)
        else:
            broken.append(ClipError(path.stem, path, "the name is not RAVDESS's seven two-digit fields"))
    rows = []
    for key in sorted(takes):
        try:
            rows.append(_row(key, takes[key], corpus))
        except ClipError as error:
            broken.append(error)
    if not rows and not broken:
        suffixes = " ".join(_VIDEO_SUFFIXES + _AUDIO_SUFFIXES)
        raise CorpusError(f"{folder} holds no file with one of the suffixes {suffixes}")
    return Manifest(tuple(rows), tuple(broken))


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


def _media_files(folder: Path) -> Iterator[Path]:
    """Yield the media files below a folder, in order, without the hidden ones that file managers leave."""
    suffixes = _VIDEO_SUFFIXES + _AUDIO_SUFFIXES
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() in suffixes and not path.name.startswith("."):
            yield path


def _row(key: str, paths: list[Path], corpus: str) -> Row:
    channel, emotion, intensity, statement, repetition, actor = (int(field) for field in key.split("-"))
    where = paths[0]
    for path in paths:
        _field(key, path, "modality", _MODALITIES, int(path.stem[:2]))
    return Row(
        key=key,
        corpus=corpus,
        speaker=str(actor),
        label=_field(key, where, "emotion", RAVDESS8, emotion),
        video=_file(key, paths, ("01", "02"), _VIDEO_SUFFIXES),
        audio=_file(key, paths, ("03",), _AUDIO_SUFFIXES),
        text=_field(key, where, "statement", STATEMENTS, statement),
        extra={
            "channel": _field(key, where, "channel", _CHANNELS, channel),
            "gender": "male" if actor % 2 else "female",
            "intensity": _field(key, where, "intensity", _INTENSITIES, intensity),
            "repetition": str(repetition),
            "statement": str(statement),
        },
    )


def _field(key: str, path: Path, name: str, values: tuple[str, ...], code: int) -> str:
    if not 1 <= code <= len(values):
        raise ClipError(key, path, f"{name} {code:02d} is unknown; the codes are 01 to {len(values):02d}")
    return values[code - 1]


def _file(key: str, paths: list[Path], modalities: tuple[str, ...], suffixes: tuple[str, ...]) -> Path | None:
    """Return a take's file of the first modality and suffix that it has."""
    for modality in modalities:
        for suffix in suffixes:
            found = [p for p in paths if p.stem.startswith(modality) and p.suffix.lower() == suffix]
            if len(found) > 1:
                raise ClipError(key, found[0], f"the same take is also at {found[1]}; keep one")
            if found:
                return found[0]
    return None
