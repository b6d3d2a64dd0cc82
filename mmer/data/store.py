"""A prepared folder: which clips it holds, and how they were prepared."""

from __future__ import annotations

import csv
import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mmer.atomic import replacing
from mmer.config import PrepareConfig, from_plain, to_plain
from mmer.corpora.manifest import Row, read_rows
from mmer.errors import CheckpointError, CorpusError

FORMAT = 2
"""Version of the prepared folder; a folder of another version is refused."""

PLACES = "clips.csv"
"""Where each clip lies in a folder of shards, finished or not; a prepared folder has no such file."""

_SETTINGS = "prepare.json"
_LONGEST_NAME = 200  # bytes, so that a temporary name fits a file system's 255
_MATTERS: Mapping[str, tuple[str, ...]] = {
    "video": ("detector", "detector_model", "detect_every", "detect_size", "align", "margin", "size", "quality"),
    "audio": ("sample_rate",),
    "text": ("transcripts", "whisper_model"),
}
_URL = re.compile(r"(?i:[a-z][a-z0-9+]*://)|local:")
_UNSAFE = re.compile(r'[/\\:*?"<>|%\x00-\x1f]|^\.')


@dataclass(frozen=True, slots=True)
class Settings:
    """What a prepared folder says of itself, in its ``prepare.json``.

    Args:
        config: How its clips were prepared.
        versions: With what, by library; several where a preparation went on with others than it began with.
        sources: One checksum over the sources of all of its clips; empty until it is finished.
        counts: How many clips there are of what; empty until it is finished.
    """

    config: PrepareConfig
    versions: tuple[Mapping[str, str], ...] = ()
    sources: str = ""
    counts: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class PreparedCorpus:
    """A prepared folder.

    Args:
        root: The folder.
        rows: Its clips.
        config: How they were prepared.
    """

    root: Path
    rows: tuple[Row, ...]
    config: PrepareConfig

    @classmethod
    def open(cls, root: Path) -> PreparedCorpus:
        """Read a prepared folder's manifest and settings.

        Raises:
            CorpusError: The folder is missing, was not finished, was made by another version, or holds shards.
        """
        if (root / PLACES).is_file():
            raise CorpusError(f"{root} holds shards; give the prepared folder that they were written from")
        settings = read_settings(root)
        manifest = root / "manifest.csv"
        if settings is None or not manifest.is_file():
            raise CorpusError(f"{root} is not a prepared folder; make it with: mmer prepare CORPUS SOURCE {root}")
        return cls(root, tuple(row for _, row in read_rows(manifest, corpus="")), settings.config)

    @property
    def name(self) -> str:
        """What the user calls it."""
        return str(self.root)

    def skipped(self) -> list[str]:
        """Return why the preparation left clips out, a reason for each."""
        path = self.root / "skipped.csv"
        if not path.is_file():
            return []
        with path.open(newline="", encoding="utf-8") as file:
            return [line.get("reason") or "unknown" for line in csv.DictReader(file)]


def is_url(root: str | Path) -> bool:
    """Tell whether a corpus lies in an object store."""
    return isinstance(root, str) and (_URL.match(root) is not None)


def as_root(text: str) -> str | Path:
    """Return where a corpus lies: a folder, or the URL of one."""
    return text if is_url(text) else Path(text)


def is_stored(row: Row) -> bool:
    """Tell whether a prepared clip has a file: words alone have none."""
    return row.video is not None or row.audio is not None or "features" in row.extra


def clip_path(root: Path, key: str) -> Path:
    """Return where a prepared folder keeps a clip.

    Characters that no file name may have are percent-encoded; of a name too long for a file the end becomes a hash.
    """
    name = _UNSAFE.sub(lambda match: f"%{ord(match[0]):02X}", key)
    if len(name.encode()) > _LONGEST_NAME:
        beginning = name.encode()[: _LONGEST_NAME - 33].decode(errors="ignore")
        name = f"{beginning}-{hashlib.sha256(key.encode()).hexdigest()[:32]}"
    return root / "clips" / f"{name}.npz"


def read_settings(root: Path) -> Settings | None:
    """Return how a folder was prepared, or None where it was not.

    Raises:
        CorpusError: It was prepared by another version, or its settings are damaged.
    """
    path = root / _SETTINGS
    if not path.is_file():
        return None
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise CorpusError(f"{path} is damaged ({error}); delete the folder and prepare again") from error
    found = data.pop("format", None) if isinstance(data, dict) else None
    if found != FORMAT:
        raise CorpusError(f"{root} has format {found} and this version reads {FORMAT}; prepare it again")
    try:
        return from_plain(Settings, data)
    except CheckpointError as error:
        raise CorpusError(f"{path} is damaged ({error}); delete the folder and prepare again") from error


def write_settings(
    root: Path,
    config: PrepareConfig,
    versions: Sequence[Mapping[str, str]] = (),
    sources: str = "",
    counts: Mapping[str, int] | None = None,
) -> None:
    """Write how a folder is prepared, as :class:`Settings` holds it."""
    path = root / _SETTINGS
    settings = Settings(config, tuple(versions), sources, counts or {})
    with replacing(path) as temporary:
        data = {"format": FORMAT, **to_plain(settings)}
        temporary.write_text(json.dumps(data, indent=2) + "\n", encoding="utf-8")


def changes(before: PrepareConfig, now: PrepareConfig, modalities: Sequence[str] | None = None) -> str:
    """Return the settings that differ, as ``size=224 (now 96)``; nothing where none does.

    Args:
        before: How clips were prepared.
        now: How others are.
        modalities: Compare only what matters to a model that reads these: ``video``, ``audio``, ``text``, and
            precomputed streams by their names. None compares everything.
    """
    old, new = to_plain(before), to_plain(now)
    names = old if modalities is None else dict.fromkeys(_matters(before, now, modalities))
    return ", ".join(f"{name}={old[name]} (now {new[name]})" for name in names if old[name] != new[name])


def _matters(before: PrepareConfig, now: PrepareConfig, reads: Sequence[str]) -> Iterator[str]:
    """Yield the settings that matter to a model; of precomputed streams those that it reads, and no others."""
    for name in reads:
        if name in _MATTERS:
            yield from _MATTERS[name]
        elif (name in before.features) != (name in now.features):
            yield "features"
