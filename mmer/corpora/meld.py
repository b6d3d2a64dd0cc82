"""MELD (Poria et al. 2019): utterances of a television series with their words, speaker and, mostly, their video.

``train_sent_emo.csv``, ``dev_sent_emo.csv`` and ``test_sent_emo.csv`` beside or in ``train/train_splits``,
``dev/dev_splits_complete`` and ``test/output_repeated_splits_test`` with ``dia0_utt0.mp4``. Dialogues are numbered from
0 in each part, so a key starts with its part.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from mmer.corpora.manifest import Manifest, Row, unique
from mmer.corpora.named import find_files
from mmer.errors import ClipError, CorpusError

_COUNTS = {"train": 9989, "dev": 1109, "test": 2610}
CLIPS = sum(_COUNTS.values())

_PARTS = {"train": "train", "dev": "validation", "test": "test"}
_EMOTIONS = ("anger", "disgust", "fear", "joy", "neutral", "sadness", "surprise")
_TABLE = re.compile(r"(?:meld_)?(train|dev|test)_sent_emo")
_CLIP = re.compile(r"(?:final_videos_test)?dia(\d+)_utt(\d+)")
_COLUMNS = ("Utterance", "Speaker", "Emotion", "Dialogue_ID", "Utterance_ID")
_EXTRAS = {
    "sentiment": "Sentiment",
    "dialogue": "Dialogue_ID",
    "utterance": "Utterance_ID",
    "season": "Season",
    "episode": "Episode",
    "start": "StartTime",
    "end": "EndTime",
}
_VIDEO_SUFFIXES = (".mp4", ".avi")
_AUDIO_SUFFIXES = (".wav", ".flac")
_CONTROLS = {code: bytes([code]).decode("cp1252", "ignore") for code in range(0x80, 0xA0)}
"""What Windows means by characters 128 to 159, which are apostrophes and dashes in some copies of the tables."""


class _Name(NamedTuple):
    """What names an utterance."""

    part: str
    dialogue: int
    utterance: int

    def __str__(self) -> str:
        return f"{self.part}_dia{self.dialogue}_utt{self.utterance}"


def read_meld(folder: Path) -> Manifest:
    """Find MELD's tables and videos anywhere below a folder; an utterance without a video keeps its words.

    The parts share speakers, as their owners made them: only ``split.allow_leak`` trains and tests on them.

    Raises:
        CorpusError: The folder is missing or holds no table, or a table is not MELD's.
    """
    tables = _tables(folder)
    media = find_files(folder, _VIDEO_SUFFIXES + _AUDIO_SUFFIXES)
    only = next(iter(tables)) if len(tables) == 1 else None
    videos, sounds = (_by_name(folder, media, suffixes, only) for suffixes in (_VIDEO_SUFFIXES, _AUDIO_SUFFIXES))
    pairs: list[tuple[str, Row]] = []
    broken: list[ClipError] = []
    notes: list[str] = []
    for part, path in tables.items():
        good, bad = _read_part(part, path, videos, sounds)
        pairs += good
        broken += bad
        notes.append(_tally(part, len(good) + len(bad)))
        notes += _without_video(part, [row for _, row in good])
    manifest = unique(pairs)
    absent = [part for part in _COUNTS if part not in tables]
    if absent:
        notes.append(f"there is no {' and no '.join(f'{part}_sent_emo.csv' for part in absent)}")
    packed = [path.name for path in find_files(folder, (".gz", ".tar", ".tgz", ".zip"))]
    if packed:
        notes.append(f"{', '.join(packed)}: still packed, so nothing in there is read; unpack them where they lie")
    surplus = len(media) - sum(path is not None for row in manifest.rows for path in (row.video, row.audio))
    if surplus:
        notes.append(f"passed over, for they belong to no line of a table: {surplus:,} files")
    return Manifest(manifest.rows, (*broken, *manifest.broken), tuple(notes))


def _tables(folder: Path) -> Mapping[str, Path]:
    """Return each part's table, the one nearest to the folder where there are several."""
    found: dict[str, Path] = {}
    for path in sorted(find_files(folder, (".csv",)), key=lambda path: len(path.parts)):
        match = _TABLE.fullmatch(path.stem)
        if match is not None:
            found.setdefault(match[1], path)
    if not found:
        raise CorpusError(
            f"{folder} holds none of MELD's tables train_sent_emo.csv, dev_sent_emo.csv, test_sent_emo.csv"
        )
    return {part: found[part] for part in _COUNTS if part in found}


def _by_name(folder: Path, paths: Iterable[Path], suffixes: tuple[str, ...], only: str | None) -> Mapping[_Name, Path]:
    """Return the utterances' files of some suffixes by name.

    Part of the test videos exist twice, once as ``final_videos_testdia0_utt0.mp4``; the plain name goes first. Where
    there is only one part's table, files in folders that name no part are that part's.
    """
    found: dict[_Name, Path] = {}
    files = (path for path in paths if path.suffix.lower() in suffixes)
    for path in sorted(files, key=lambda path: (path.name.startswith("final"), path)):
        match, part = _CLIP.fullmatch(path.stem), _part(path.relative_to(folder).parts[:-1]) or only
        if match is not None and part is not None:
            found.setdefault(_Name(part, int(match[1]), int(match[2])), path)
    return found


def _part(folders: Iterable[str]) -> str | None:
    """Return the part that the innermost folder with a part's name stands for."""
    for name in reversed(list(folders)):
        named = [part for part in _COUNTS if part in re.split(r"[^a-z]+", name.lower())]
        if len(named) == 1:
            return named[0]
    return None


def _read_part(
    part: str, path: Path, videos: Mapping[_Name, Path], sounds: Mapping[_Name, Path]
) -> tuple[list[tuple[str, Row]], list[ClipError]]:
    """Return a part's utterances with their place in the table, and the lines that are none."""
    good, broken = [], []
    for place, line in _read_lines(path):
        try:
            name = _name(part, path, place, line)
            row = _row(name, path, place, line)
        except ClipError as error:
            broken.append(error)
            continue
        good.append((f"{path.name} {place}", replace(row, video=videos.get(name), audio=sounds.get(name))))
    return good, broken


def _name(part: str, path: Path, place: str, line: Mapping[str, str]) -> _Name:
    try:
        return _Name(part, int(line["Dialogue_ID"]), int(line["Utterance_ID"]))
    except ValueError:
        raise ClipError(f"at {place}", path, "Dialogue_ID and Utterance_ID are not numbers") from None


def _row(name: _Name, path: Path, place: str, line: Mapping[str, str]) -> Row:
    """Return what a line says of an utterance."""
    label = line["Emotion"].strip()
    if label not in _EMOTIONS:
        reason = f"emotion {label!r} ({place}) is unknown; MELD's are {', '.join(_EMOTIONS)}"
        raise ClipError(str(name), path, reason)
    return Row(
        key=str(name),
        corpus="meld",
        speaker=_clean(line["Speaker"]),
        label=label,
        text=_clean(line["Utterance"]),
        extra={
            "split": _PARTS[name.part],
            **{extra: line[column] for extra, column in _EXTRAS.items() if line.get(column)},
        },
    )


def _clean(text: str) -> str | None:
    """Return a text with single spaces and real apostrophes, None where nothing is left."""
    return " ".join(text.translate(_CONTROLS).split()) or None


def _read_lines(path: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield a table's lines with their place; old copies of the tables are in Windows' code page."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise CorpusError(f"{path} cannot be read: {error.strerror}; take the owner's file") from error
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = data.decode("cp1252", "replace")
    reader = csv.DictReader(io.StringIO(text, newline=""), restval="")
    absent = [column for column in _COLUMNS if column not in (reader.fieldnames or ())]
    if absent:
        raise CorpusError(f"{path} has no column {', '.join(absent)}; take the owner's file")
    for line in reader:
        yield f"line {reader.line_num}", line


def _tally(part: str, count: int) -> str:
    known = _COUNTS[part]
    return (
        f"{part} is complete: {known:,} utterances" if count == known else f"{part}: {count:,} of {known:,} utterances"
    )


def _without_video(part: str, rows: list[Row]) -> list[str]:
    """Say how many utterances have words and perhaps sound alone, by name where these are few."""
    absent = [row.key for row in rows if row.video is None]
    if not absent:
        return []
    if len(absent) == len(rows):
        return [f"{part}: no videos"]
    more = f" and {len(absent) - 5:,} more" if len(absent) > 5 else ""
    return [f"{part}: {len(absent):,} of {len(rows):,} utterances have no video: {', '.join(absent[:5])}{more}"]
