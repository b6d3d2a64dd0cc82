"""What classical systems read: a vector for each clip, of its sound and of the streams that were prepared with it."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import version
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from mmer.atomic import replacing
from mmer.baselines.descriptors import CLIP, DescriptorSet, describe_clip, describe_steps
from mmer.corpora.manifest import Row
from mmer.data.clip import PreparedClip
from mmer.data.pool import run_all
from mmer.data.store import PreparedCorpus, clip_path
from mmer.errors import ConfigError

VOICE = "voice"
"""The input that is counted here: the descriptors of the sound."""

_FORMAT = f"1, librosa {version('librosa')}"  # of the cache; another way of counting is another format
_SUFFIX = ".voice.npz"

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Table:
    """A vector for each of N clips.

    Args:
        names: What the numbers are called.
        values: The vectors, [n d]; where a clip lacks an input its numbers there are NaN.
        inputs: The place of each input's numbers.
    """

    names: tuple[str, ...]
    values: Array
    inputs: Mapping[str, slice] = field(default_factory=dict)

    @classmethod
    def of(cls, parts: Mapping[str, Table]) -> Table:
        """Put the tables of several inputs side by side."""
        ends = np.cumsum([len(part.names) for part in parts.values()]).tolist()
        places = {
            name: slice(end - len(part.names), end) for (name, part), end in zip(parts.items(), ends, strict=True)
        }
        names = tuple(name for part in parts.values() for name in part.names)
        return cls(names, np.concatenate([part.values for part in parts.values()], axis=1), places)

    def has(self, name: str) -> NDArray[np.bool_]:
        """Tell which clips have an input, [n]."""
        return np.asarray(np.isfinite(self.values[:, self.inputs[name]]).any(axis=1))


def read_inputs(
    corpus: PreparedCorpus,
    rows: Sequence[Row],
    inputs: Sequence[str],
    *,
    cache: Path | None = None,
    workers: int = 1,
    progress: bool = True,
) -> Table:
    """Read what some clips have.

    Args:
        corpus: The prepared folder.
        rows: The clips.
        inputs: What to read: ``voice``, the descriptors of the sound, and prepared streams by their names, each
            averaged over its steps.
        cache: Where the descriptors of sounds are kept; None keeps them beside the folder, for all that read it.
        workers: How many processes describe sounds.
        progress: Whether to show a progress bar on standard error.

    Raises:
        ConfigError: The folder has no such stream.
        ClipError: A prepared clip is missing or damaged.
    """
    known = (VOICE, *corpus.config.features)
    for name in inputs:
        if name not in known:
            raise ConfigError(f"{corpus.root} has no stream {name!r}; read some of: {', '.join(known)}")
    return Table.of(
        {
            name: _voices(corpus, rows, cache or cache_path(corpus.root), workers, progress)
            if name == VOICE
            else _averages(corpus, rows, name)
            for name in dict.fromkeys(inputs)
        }
    )


def cache_path(root: Path) -> Path:
    """Return where the descriptors of a prepared folder's sounds are kept: beside it, so that it stays as it is."""
    whole = root.absolute()
    return whole.with_name(f"{whole.name}{_SUFFIX}")


def write_steps(
    path: Path,
    corpus: PreparedCorpus,
    which: DescriptorSet,
    *,
    workers: int = 1,
    progress: bool = True,
) -> int:
    """Write the short-term descriptors of every clip that has a sound, as ``mmer prepare --features`` reads them.

    Args:
        path: The ``.npz`` file, with an array [t d] for each clip; it appears whole or not at all.
        corpus: The prepared folder.
        which: Which descriptors.
        workers: How many processes count.
        progress: Whether to show a progress bar on standard error.

    Returns:
        How many clips were described.

    Raises:
        ClipError: A prepared clip is missing or damaged.
        ConfigError: No clip has a sound.
    """
    rows = [row for row in corpus.rows if row.audio is not None]
    if not rows:
        raise ConfigError(f"no clip of {corpus.root} has a sound to describe")
    tasks = ((row.key, clip_path(corpus.root, row.key)) for row in rows)
    results = run_all(partial(_steps_of, which=which), tasks, workers)
    with (
        replacing(path) as temporary,
        zipfile.ZipFile(temporary, "w") as archive,
        tqdm(results, total=len(rows), desc="describe", unit="clip", disable=not progress) as bar,
    ):
        for key, steps in bar:
            with archive.open(f"{key}.npy", "w") as file:  # not savez, to which a key may be an argument's name
                np.lib.format.write_array(file, steps, allow_pickle=False)
    return len(rows)


def _steps_of(task: tuple[str, Path], which: DescriptorSet) -> tuple[str, NDArray[np.float32]]:
    """Describe the steps of one clip."""
    samples, rate = _sound(*task)
    return task[0], describe_steps(samples, rate, which)


def _vector_of(task: tuple[str, Path]) -> tuple[str, NDArray[np.float32]]:
    """Describe one clip as a whole."""
    return task[0], describe_clip(*_sound(*task))


def _sound(key: str, path: Path) -> tuple[NDArray[np.float32], int]:
    clip = PreparedClip.load(path, key, (VOICE, "audio"))
    assert clip.audio is not None, "the manifest says that it has a sound"
    return clip.audio, clip.sample_rate


def _averages(corpus: PreparedCorpus, rows: Sequence[Row], name: str) -> Table:
    """Return a prepared stream, averaged over its steps."""
    found = [PreparedClip.load(clip_path(corpus.root, row.key), row.key, (name,)).features.get(name) for row in rows]
    width = next((values.shape[1] for values in found if values is not None), 0)
    if not width:
        raise ConfigError(f"no clip of {corpus.root} has the stream {name}; leave it out, or prepare it anew")
    lacking = np.full(width, np.nan)
    each = [lacking if values is None else values.mean(axis=0, dtype=np.float64) for values in found]
    return Table(tuple(f"{name}_{i}" for i in range(width)), np.array(each))


def _voices(corpus: PreparedCorpus, rows: Sequence[Row], cache: Path, workers: int, progress: bool) -> Table:
    """Return the descriptors of the sounds; those that are not yet known are counted and kept."""
    paths = {row.key: clip_path(corpus.root, row.key) for row in rows if row.audio is not None}
    if not paths:
        raise ConfigError(f"no clip of {corpus.root} has a sound; read other streams, with --features NAME")
    marks = {key: _mark(path) for key, path in paths.items()}
    known = _read_cache(cache)
    held = {key: known[key][1] for key, mark in marks.items() if key in known and known[key][0] == mark}
    missing = [(key, path) for key, path in paths.items() if key not in held]
    if missing:
        results = run_all(_vector_of, missing, min(workers, len(missing)))
        try:
            with tqdm(results, total=len(missing), desc="describe", unit="clip", disable=not progress) as bar:
                held |= bar
        finally:
            _write_cache(cache, {**known, **{key: (marks[key], vector) for key, vector in held.items()}})
    lacking = np.full(len(CLIP), np.nan)
    return Table(CLIP, np.array([held.get(row.key, lacking) for row in rows], np.float64))


def _mark(path: Path) -> str:
    """Return by what a clip's file is known again; nothing of one that is not there, which the reading will say."""
    try:
        stat = path.stat()
    except OSError:
        return ""
    return f"{stat.st_size} {stat.st_mtime_ns}"


def _read_cache(path: Path) -> dict[str, tuple[str, NDArray[np.float32]]]:
    """Return the vectors that are kept, with their files' marks; none where there is no cache of this format."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as held:
            if str(held["format"]) != _FORMAT or held["vectors"].shape[1] != len(CLIP):
                return {}
            return dict(_entries(held["keys"].tolist(), held["marks"].tolist(), held["vectors"]))
    except (OSError, ValueError, KeyError, IndexError, EOFError, zipfile.BadZipFile):
        return {}


def _entries(
    keys: Sequence[str], marks: Sequence[str], vectors: NDArray[np.float32]
) -> Iterator[tuple[str, tuple[str, NDArray[np.float32]]]]:
    for key, mark, vector in zip(keys, marks, vectors, strict=True):
        yield key, (mark, vector)


def _write_cache(path: Path, entries: Mapping[str, tuple[str, NDArray[np.float32]]]) -> None:
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.savez(
            file,
            format=np.array(_FORMAT),
            keys=np.array(list(entries)),
            marks=np.array([mark for mark, _ in entries.values()]),
            vectors=np.array([vector for _, vector in entries.values()]).reshape(-1, len(CLIP)),
        )
