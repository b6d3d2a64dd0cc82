"""A folder tree whose folders name the labels: ``label/clip.ext``."""

from __future__ import annotations

from collections import Counter, defaultdict
from pathlib import Path
from typing import Literal, get_args

from mmer.corpora.manifest import Manifest, Row, speaker_name
from mmer.errors import ClipError, ConfigError, CorpusError
from mmer.media.files import AUDIO_SUFFIXES, IMAGE_SUFFIXES, VIDEO_SUFFIXES, list_files

Layout = Literal["label", "label/speaker", "speaker/label"]
"""What the names of the folders say, from the outside in."""

_PICTURES = VIDEO_SUFFIXES + IMAGE_SUFFIXES


def read_folder(path: Path, layout: Layout = "label") -> Manifest:
    """Read a tree of media files; a film and a sound file of the same name are one clip.

    A clip's key is its path below the folder, without the suffix. Deeper folders than the layout names are a part of
    the key alone. Hidden files are passed over, and so are others of unknown suffixes, which are counted.

    Args:
        path: The folder; its name is the corpus's.
        layout: What the names of the folders say.

    Raises:
        CorpusError: There is no such folder, or no media file in it.
        ConfigError: There is no such layout.
    """
    if layout not in get_args(Layout):
        raise ConfigError(f"layout {layout!r} is unknown; choose one of {', '.join(get_args(Layout))}")
    if not path.is_dir():
        raise CorpusError(f"{path} is not a folder; give the one whose folders are the labels: {layout}/clip.mp4")
    clips: dict[str, list[Path]] = defaultdict(list)
    others: Counter[str] = Counter()
    for file in list_files(path):
        if file.suffix.lower() in _PICTURES + AUDIO_SUFFIXES:
            clips[file.relative_to(path).with_suffix("").as_posix()].append(file)
        else:
            others[file.suffix.lower() or "no suffix"] += 1
    if not clips:
        raise CorpusError(f"{path} holds no media files; the suffixes are {' '.join(_PICTURES + AUDIO_SUFFIXES)}")
    corpus, rows, broken = path.resolve().name, [], []
    for key, files in clips.items():
        try:
            rows.append(_row(key, files, layout, corpus))
        except ClipError as error:
            broken.append(error)
    told = ", ".join(f"{suffix} {count:,}" for suffix, count in sorted(others.items()))
    return Manifest(tuple(rows), tuple(broken), (f"passed over, for they are no media files: {told}",) if told else ())


def _row(key: str, files: list[Path], layout: Layout, corpus: str) -> Row:
    names, folders = layout.split("/"), key.split("/")[:-1]
    if len(folders) < len(names):
        raise ClipError(key, files[0], f"it does not lie in a folder {layout}, so nobody knows its label; move it")
    said = dict(zip(names, folders, strict=False))  # deeper folders say nothing
    return Row(
        key=key,
        corpus=corpus,
        speaker=speaker_name(said["speaker"]) if "speaker" in said else None,
        label=said["label"],
        video=_only(key, files, _PICTURES),
        audio=_only(key, files, AUDIO_SUFFIXES),
    )


def _only(key: str, files: list[Path], suffixes: tuple[str, ...]) -> Path | None:
    """Return the one file of a clip that has one of the suffixes."""
    found = [file for file in files if file.suffix.lower() in suffixes]
    if len(found) > 1:
        raise ClipError(key, found[0], f"the same clip is also at {found[1]}; keep one")
    return found[0] if found else None
