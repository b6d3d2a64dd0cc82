"""CREMA-D (Cao et al. 2014): 91 actors say 12 sentences in six emotions; thousands of raters said what they perceived.

``1001_DFA_ANG_XX``: actor, sentence, emotion that was asked for, level. The voice lies in ``AudioWAV``, face and voice
in ``VideoFlash``; the file of the same name with another suffix is the same clip.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Literal, get_args

from mmer.corpora.manifest import Manifest, Row
from mmer.corpora.named import decode, find_media, read_named, with_tally
from mmer.errors import ClipError, ConfigError, CorpusError

CLIPS = 7442
SPEAKERS = tuple(str(actor) for actor in range(1001, 1092))

LabelSource = Literal["intended", "perceived", "perceived-voice", "perceived-face"]
"""Whose word a label is: the actor's task, or the majority of the raters who saw and heard, heard, or saw the clip."""

SENTENCES: Mapping[str, str] = {
    "IEO": "It's eleven o'clock",
    "TIE": "That is exactly what happened",
    "IOM": "I'm on my way to the meeting",
    "IWW": "I wonder what this is about",
    "TAI": "The airplane is almost full",
    "MTI": "Maybe tomorrow it will be cold",
    "IWL": "I would like a new alarm clock",
    "ITH": "I think I have a doctor's appointment",
    "DFA": "Don't forget a jacket",
    "ITS": "I think I've seen this before",
    "TSI": "The surface is slick",
    "WSI": "We'll stop in a couple of minutes",
}
"""The sentences by their code."""

_EMOTIONS = {
    "ANG": "angry",
    "DIS": "disgust",
    "FEA": "fearful",
    "HAP": "happy",
    "NEU": "neutral",
    "SAD": "sad",
}
_LEVELS = {"LO": "low", "MD": "medium", "HI": "high", "XX": "unspecified"}
_VOTES = {emotion[0].upper(): emotion for emotion in _EMOTIONS.values()}
_COLUMNS = {"perceived": "MultiModalVote", "perceived-voice": "VoiceVote", "perceived-face": "FaceVote"}

_VIDEO_SUFFIXES = (".flv", ".mp4", ".avi")
_AUDIO_SUFFIXES = (".wav", ".flac", ".mp3")
_RESULTS = ("processedResults", "data/InfoAndStats/processedResults", ".")
_POINTER = b"version https://git-lfs"
_SILENT = "1076_MTI_SAD_XX"
_MISSPELT = {"1040_ITH_SAD_X": "1040_ITH_SAD_XX"}  # a wav file in the owner's own copy; its video is spelt rightly


def read_crema_d(path: Path, labels: LabelSource = "intended") -> Manifest:
    """Find the clips of CREMA-D anywhere below a folder or in zip archives.

    The voice comes from the wav file, else from mp3, else from the video's own sound. ``VideoDemographics.csv`` tells
    gender and age, ``processedResults/summaryTable.csv`` the raters' votes; they lie in the folder or the one above it.

    Args:
        path: The clone of the owner's repository, or a part of it.
        labels: Whose word they are. A clip whose raters were divided has no perceived label and is left out.

    Raises:
        CorpusError: There is no such path, it holds no clip, or no votes where labels were asked of them.
        ConfigError: There are no such labels.
    """
    if labels not in get_args(LabelSource):
        raise ConfigError(f"CREMA-D has no labels {labels!r}; choose one of {', '.join(get_args(LabelSource))}")
    found, broken = find_media(path, _VIDEO_SUFFIXES + _AUDIO_SUFFIXES)
    paths, pointers = _without_pointers(found)
    if not paths:
        raise CorpusError(f"the files in {path} are Git LFS pointers, not recordings; run 'git lfs pull' there")
    manifest = with_tally(read_named(paths, _parse, _VIDEO_SUFFIXES, _AUDIO_SUFFIXES, broken), CLIPS, SPEAKERS)
    notes = list(manifest.notes)
    if pointers:
        notes.append(f"passed over as Git LFS pointers: {pointers:,} files; 'git lfs pull' fetches the recordings")
    if any(row.key == _SILENT for row in manifest.rows):
        notes.append(f"{_SILENT} is known to have no sound")
    rows, people = _with_people(manifest.rows, path)
    good, unlabelled = (rows, ()) if labels == "intended" else _with_votes(rows, _read_votes(path, labels))
    return Manifest(good, (*manifest.broken, *unlabelled), (*notes, *people))


def _parse(path: Path) -> Row:
    key = _MISSPELT.get(path.stem, path.stem)
    fields = key.split("_")
    if len(fields) != 4 or fields[0] not in SPEAKERS:
        raise ClipError(path.stem, path, "the name is not CREMA-D's actor_sentence_emotion_level, as 1001_DFA_ANG_XX")
    actor, sentence, emotion, level = fields
    return Row(
        key=key,
        corpus="crema-d",
        speaker=actor,
        label=decode(path, "emotion", _EMOTIONS, emotion),
        text=decode(path, "sentence", SENTENCES, sentence),
        extra={"sentence": sentence, "intensity": decode(path, "level", _LEVELS, level)},
    )


def _without_pointers(paths: Iterable[Path]) -> tuple[list[Path], int]:
    """Return the files without those that Git LFS left in place of recordings, and the number of these."""
    whole, pointers = [], 0
    for path in paths:
        if path.is_file() and 0 < path.stat().st_size < 1024 and path.read_bytes().startswith(_POINTER):
            pointers += 1
        else:
            whole.append(path)
    return whole, pointers


def _with_people(rows: tuple[Row, ...], folder: Path) -> tuple[tuple[Row, ...], tuple[str, ...]]:
    """Return the rows with what the owner tells of the actors, and a note where he does not."""
    path = _find(folder, "VideoDemographics.csv", (".",))
    if path is None:
        return rows, ("there is no VideoDemographics.csv: nobody says who is female and who is male",)
    people = {}
    for line in _read_table(path, "ActorID", "Age", "Sex", "Race", "Ethnicity"):
        told = {"gender": line["Sex"], "age": line["Age"], "race": line["Race"], "ethnicity": line["Ethnicity"]}
        people[line["ActorID"]] = {name: value.strip().lower() for name, value in told.items()}
    told_rows = (replace(row, extra={**row.extra, **people.get(row.speaker or "", {})}) for row in rows)
    return tuple(told_rows), ()


def _read_votes(folder: Path, labels: LabelSource) -> Mapping[str, str]:
    """Return the raters' majority for each clip, as ``A``, or ``A:N`` where they were divided."""
    path = _find(folder, "summaryTable.csv", _RESULTS)
    if path is None:
        raise CorpusError(
            f"{labels} labels come from processedResults/summaryTable.csv, which is neither in {folder} nor above; "
            "take it from the owner's repository, or use the intended labels"
        )
    column = _COLUMNS[labels]
    return {line["FileName"]: line[column].strip() for line in _read_table(path, "FileName", column)}


def _with_votes(rows: tuple[Row, ...], votes: Mapping[str, str]) -> tuple[tuple[Row, ...], tuple[ClipError, ...]]:
    """Return the rows with the raters' word for their label, and those of which they have none."""
    good, broken = [], []
    for row in rows:
        vote = votes.get(row.key, "")
        if vote in _VOTES:
            good.append(replace(row, label=_VOTES[vote], extra={**row.extra, "intended": row.label or ""}))
            continue
        divided = [_VOTES.get(letter, letter) for letter in vote.split(":")]
        reason = f"its raters are divided between {' and '.join(divided)}" if vote else "it has no rating"
        broken.append(ClipError(row.key, row.video or row.audio, reason))
    return tuple(good), tuple(broken)


def _find(folder: Path, name: str, places: Iterable[str]) -> Path | None:
    candidates = (base / place / name for base in (folder, folder.resolve().parent) for place in places)
    return next((path for path in candidates if path.is_file()), None)


def _read_table(path: Path, *columns: str) -> list[dict[str, str]]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, restval="")
            absent = [column for column in columns if column not in (reader.fieldnames or ())]
            if absent:
                raise CorpusError(f"{path} has no column {', '.join(absent)}; take the owner's file")
            return list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise CorpusError(f"{path} cannot be read: {reason}; take the owner's file") from error
