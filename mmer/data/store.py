"""A prepared clip and a prepared folder: what stands between raw files and training.

A clip is one ``.npz`` file with its face frames as JPEG, their times and its waveform. It is written under a temporary
name and renamed, so it exists whole or not at all.
"""

from __future__ import annotations

import csv
import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from mmer.atomic import replacing
from mmer.config import Modality, PrepareConfig, from_plain, to_plain
from mmer.corpora.manifest import Row, read_rows
from mmer.errors import ClipError, CorpusError
from mmer.media.jpeg import decode_jpeg

FORMAT = 1
"""Version of the prepared folder; a folder of another version is refused."""

_SETTINGS = "prepare.json"
_REACH = 0.5  # seconds that a face stands for
_LONGEST_NAME = 200  # bytes, so that a temporary name fits a file system's 255
_UNSAFE = re.compile(r'[/\\:*?"<>|%\x00-\x1f]|^\.')


@dataclass(frozen=True, slots=True)
class PreparedClip:
    """A clip as models read it.

    Args:
        times: Time of every video frame, in seconds, [n]; empty without video.
        sizes: Bytes of every frame's JPEG, [n]; 0 where no face was found.
        jpeg: The JPEGs one after the other.
        audio: Mono waveform, [s], or None without sound.
        sample_rate: Its rate, in Hz.
        source: What the clip was made of: names, sizes and times of its files.
    """

    times: NDArray[np.float64]
    sizes: NDArray[np.int64]
    jpeg: NDArray[np.uint8]
    audio: NDArray[np.float32] | None
    sample_rate: int
    source: str = ""

    @property
    def has_video(self) -> bool:
        """Whether any frame shows a face."""
        return bool(self.sizes.any())

    @property
    def seconds(self) -> float:
        """Duration of what lasts longer, the frames or the sound."""
        count = len(self.times)
        frames = float(self.times[-1] - self.times[0]) * count / (count - 1) if count > 1 else 0.0
        sound = 0.0 if self.audio is None else len(self.audio) / self.sample_rate
        return max(frames, sound)

    @property
    def face_share(self) -> float:
        """Share of the frames that show a face; 0 without video."""
        return float(np.count_nonzero(self.sizes) / max(len(self.sizes), 1))

    def frames_at(self, times: NDArray[np.float64]) -> NDArray[np.uint8] | None:
        """Return the frames nearest to some times, in seconds, among those that show a face, [t h w 3].

        None says that at more than half of the times the picture shows no face, and none for ``_REACH`` around: a
        frozen face would pretend that it is not missing.
        """
        faces = np.flatnonzero(self.sizes)
        if not len(faces):
            return None
        distance = np.abs(self.times[faces, None] - times)
        shown = self.sizes[np.abs(self.times[:, None] - times).argmin(axis=0)] > 0
        if np.mean(shown | (distance.min(axis=0) <= _REACH)) < 0.5:
            return None
        ends = np.cumsum(self.sizes)
        nearest = faces[distance.argmin(axis=0)]
        images = {i: decode_jpeg(self.jpeg[ends[i] - self.sizes[i] : ends[i]]) for i in set(nearest.tolist())}
        return np.stack([images[i] for i in nearest.tolist()])

    def save(self, path: Path) -> None:
        """Write the clip; the file appears whole or not at all."""
        arrays: dict[str, Any] = {
            "times": self.times,
            "sizes": self.sizes,
            "jpeg": self.jpeg,
            "sample_rate": np.int64(self.sample_rate),
            "source": np.str_(self.source),
        }
        if self.audio is not None:
            arrays["audio"] = self.audio
        with replacing(path) as temporary, temporary.open("wb") as file:
            np.savez(file, **arrays)

    @classmethod
    def load(cls, path: Path, key: str, modalities: Sequence[Modality] = ("video", "audio")) -> PreparedClip:
        """Read a clip, or as much of it as a model reads.

        Raises:
            ClipError: The file is missing or damaged.
        """
        try:
            with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
                video = "video" in modalities
                sound = "audio" in modalities and "audio" in arrays
                return cls(
                    times=arrays["times"],
                    sizes=arrays["sizes"] if video else np.zeros_like(arrays["sizes"]),
                    jpeg=arrays["jpeg"] if video else np.zeros(0, np.uint8),
                    audio=arrays["audio"] if sound else None,
                    sample_rate=int(arrays["sample_rate"]),
                    source=str(arrays["source"]),
                )
        except (OSError, ValueError, KeyError, EOFError, BadZipFile) as error:
            raise ClipError(
                key, path, f"the prepared clip is unreadable ({error}); delete it and prepare again"
            ) from error


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
            CorpusError: The folder is missing, was not finished, or was made by another version.
        """
        config = read_settings(root)
        manifest = root / "manifest.csv"
        if config is None or not manifest.is_file():
            raise CorpusError(
                f"{root} is not a prepared folder; make it with: mmer prepare ravdess|table SOURCE {root}"
            )
        return cls(root, tuple(row for _, row in read_rows(manifest, corpus="")), config)

    def skipped(self) -> int:
        """Return how many clips the preparation left out."""
        path = self.root / "skipped.csv"
        if not path.is_file():
            return 0
        with path.open(newline="", encoding="utf-8") as file:
            return sum(1 for _ in csv.DictReader(file))


def clip_path(root: Path, key: str) -> Path:
    """Return where a prepared folder keeps a clip.

    Characters that no file name may have are percent-encoded; of a name too long for a file the end becomes a hash.
    """
    name = _UNSAFE.sub(lambda match: f"%{ord(match[0]):02X}", key)
    if len(name.encode()) > _LONGEST_NAME:
        beginning = name.encode()[: _LONGEST_NAME - 33].decode(errors="ignore")
        name = f"{beginning}-{hashlib.sha256(key.encode()).hexdigest()[:32]}"
    return root / "clips" / f"{name}.npz"


def read_settings(root: Path) -> PrepareConfig | None:
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
    found = data.get("format") if isinstance(data, dict) else None
    if found != FORMAT:
        raise CorpusError(f"{root} has format {found} and this version reads {FORMAT}; prepare it again")
    return from_plain(PrepareConfig, data.get("config"))


def changes(before: PrepareConfig, now: PrepareConfig) -> str:
    """Return the settings that differ, as ``size=224 (now 96)``; nothing where none does."""
    old, new = to_plain(before), to_plain(now)
    return ", ".join(f"{name}={old[name]} (now {new[name]})" for name in old if old[name] != new[name])


def write_settings(root: Path, config: PrepareConfig) -> None:
    """Write how a folder is prepared."""
    path = root / _SETTINGS
    with replacing(path) as temporary:
        data = {"format": FORMAT, "config": to_plain(config)}
        temporary.write_text(json.dumps(data, indent=2) + "\n", encoding="utf-8")
