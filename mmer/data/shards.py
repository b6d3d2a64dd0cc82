"""A prepared corpus as shards: a few large files instead of many small ones, for object stores and shared disks.

A folder of shards holds what a prepared folder says of itself, ``prepare.json``, ``manifest.csv`` and ``skipped.csv``,
byte for byte, and instead of its clips:

- ``shard-00000.tar``, ...: the clips' own ``.npz`` files, sorted by corpus and speaker; no shard has two speakers;
- ``clips.csv``: of every clip its shard, and where its bytes lie in it;
- ``shards.json``: the shards and the tables with their checksums. It is written last: without it nothing is finished.

A clip is read where it lies, so the tar files are never unpacked or searched. Others may: they are WebDataset's.
"""

from __future__ import annotations

import csv
import json
import mmap
import re
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmer.atomic import replacing
from mmer.config import ShardConfig, from_plain, to_plain
from mmer.corpora.manifest import Row, read_rows
from mmer.data.clip import PreparedClip
from mmer.data.mirror import Mirror, Shard, cache_folder
from mmer.data.store import PLACES, PreparedCorpus, is_stored, is_url, read_settings
from mmer.errors import CheckpointError, ClipError, CorpusError

FORMAT = 1
"""Version of a folder of shards; a folder of another version is refused."""

INDEX = "shards.json"
TABLES = (PLACES, "manifest.csv", "prepare.json", "skipped.csv")
"""What lies beside the shards; ``skipped.csv`` only where the prepared folder has one."""

_NEEDED = {PLACES, "manifest.csv", "prepare.json"}
_CHECKSUM = re.compile(r"[0-9a-f]{64}")
_OPEN = 16  # shards that a process keeps mapped; one that made room on the disk is gone when nobody maps it


@dataclass(frozen=True, slots=True)
class Index:
    """What ``shards.json`` says.

    Args:
        shards: The shards, as ``clips.csv`` numbers them.
        tables: The checksums of the other files, by name.
    """

    shards: tuple[Shard, ...]
    tables: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Place:
    """Where a clip lies.

    Args:
        shard: The number of its shard.
        offset: Where in it the clip's file begins.
        bytes: How long it is.
    """

    shard: int
    offset: int
    bytes: int


@dataclass(frozen=True, slots=True)
class ShardedCorpus(PreparedCorpus):
    """A folder of shards, or the local copy of one.

    Args:
        index: Its shards.
        places: Where each clip lies, by key.
        mirror: What fetches shards that are not here; None where they lie in the folder itself.
    """

    index: Index
    places: Mapping[str, Place]
    mirror: Mirror | None = None

    @property
    def name(self) -> str:
        """What the user calls it: its folder, or its URL."""
        return str(self.root) if self.mirror is None else self.mirror.url


def open_corpus(root: str | Path, config: ShardConfig = ShardConfig()) -> PreparedCorpus:  # noqa: B008 - frozen
    """Open a prepared folder, a folder of shards, or the URL of one.

    Args:
        root: The folder or the URL.
        config: How shards are read.

    Raises:
        CorpusError: It was not prepared, is not finished, is damaged, or cannot be fetched.
        ConfigError: What fetches from object stores is not installed, or the cache cannot be written to.
    """
    mirror = None
    if is_url(root):
        mirror = Mirror(str(root), cache_folder(config.cache), round(config.cache_gb * 1e9))
        mirror.fetch_tables(INDEX, lambda path: dict(read_index(path).tables))
    folder = Path(root) if mirror is None else mirror.folder
    return _open_shards(folder, mirror) if (folder / PLACES).is_file() else PreparedCorpus.open(folder)


def _open_shards(folder: Path, mirror: Mirror | None) -> ShardedCorpus:
    if not (folder / INDEX).is_file():
        raise CorpusError(f"{folder} holds shards that are not finished; run its mmer shards command again")
    settings = read_settings(folder)
    if settings is None or not (folder / "manifest.csv").is_file():
        raise CorpusError(f"{folder} holds shards without prepare.json and manifest.csv; write them again")
    rows = tuple(row for _, row in read_rows(folder / "manifest.csv", corpus=""))
    places, index = read_places(folder / PLACES), read_index(folder / INDEX)
    if lost := next((row.key for row in rows if is_stored(row) and row.key not in places), None):
        raise CorpusError(f"{folder / PLACES} does not know where clip {lost} lies; write the shards again")
    ends = [shard.bytes for shard in index.shards]
    if lost := next((key for key, place in places.items() if not _lies_in(ends, place)), None):
        raise CorpusError(f"{folder / PLACES} and {INDEX} do not fit at clip {lost}; write the shards again")
    return ShardedCorpus(folder, rows, settings.config, index, places, mirror)


def _lies_in(ends: Sequence[int], place: Place) -> bool:
    inside = place.offset >= 0 and place.bytes >= 0 and 0 <= place.shard < len(ends)
    return inside and place.offset + place.bytes <= ends[place.shard]


def read_index(path: Path) -> Index:
    """Read which shards there are.

    Raises:
        CorpusError: The file is damaged, or of another version.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        found = data.pop("format", None)
        if found != FORMAT:
            raise CorpusError(f"{path.parent} has shards of format {found} and this version reads {FORMAT}")
        index = from_plain(Index, data)
        _check_index(index)
    except (ValueError, TypeError, AttributeError, CheckpointError) as error:
        raise CorpusError(f"{path} is damaged ({error}); write the shards again") from error
    return index


def _check_index(index: Index) -> None:
    """Refuse names and checksums that are none: one that was fetched could name any file of this machine.

    Raises:
        ValueError: One is none.
    """
    if not _NEEDED <= index.tables.keys() <= set(TABLES):
        raise ValueError(f"its tables are {', '.join(index.tables)}")
    for number, shard in enumerate(index.shards):
        if shard.name != shard_name(number):
            raise ValueError(f"shard {number} is called {shard.name!r}")
    if not all(_CHECKSUM.fullmatch(each) for each in (*index.tables.values(), *(s.sha256 for s in index.shards))):
        raise ValueError("a checksum is no SHA-256")


def shard_name(number: int) -> str:
    """Return what a shard is called."""
    return f"shard-{number:05d}.tar"


def is_whole(folder: Path, shard: Shard) -> bool:
    """Tell whether a folder has a shard, and of the length that its index says."""
    try:
        return (folder / shard.name).stat().st_size == shard.bytes
    except OSError:
        return False


def write_index(path: Path, index: Index) -> None:
    """Write which shards there are: from then on the folder is finished."""
    with replacing(path) as temporary:
        text = json.dumps({"format": FORMAT, **to_plain(index)}, indent=2)
        temporary.write_text(f"{text}\n", encoding="utf-8")


def read_places(path: Path) -> dict[str, Place]:
    """Read where clips lie.

    Raises:
        CorpusError: The table is damaged.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            lines = csv.reader(file)
            next(lines)
            return {key: Place(int(shard), int(offset), int(size)) for key, shard, offset, size in lines}
    except (ValueError, StopIteration, csv.Error) as error:
        raise CorpusError(f"{path} is damaged ({error}); write the shards again") from error


def write_places(path: Path, places: Mapping[str, Place]) -> None:
    """Write where clips lie, in their order."""
    with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("key", "shard", "offset", "bytes"))
        writer.writerows((key, place.shard, place.offset, place.bytes) for key, place in places.items())


class ShardFiles:
    """The clips of some rows, each read where it lies in its shard.

    Args:
        corpus: The folder of shards.
        rows: The clips.

    Raises:
        CorpusError: Not all of their shards are in the folder, so that it need not be found out in the middle of an
            epoch.
    """

    def __init__(self, corpus: ShardedCorpus, rows: Sequence[Row]) -> None:
        found = [corpus.places.get(row.key) if is_stored(row) else None for row in rows]
        self.shard: NDArray[np.int64] = np.array([-1 if each is None else each.shard for each in found], np.int64)
        self.offset: NDArray[np.int64] = np.array([0 if each is None else each.offset for each in found], np.int64)
        self.size: NDArray[np.int64] = np.array([0 if each is None else each.bytes for each in found], np.int64)
        self.root, self.shards, self.mirror = corpus.root, corpus.index.shards, corpus.mirror
        self.mapped: OrderedDict[int, memoryview] = OrderedDict()
        if self.mirror is None:
            self._check_folder()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "mapped": OrderedDict()}  # another process maps them itself

    def load(self, index: int, key: str, modalities: Sequence[str]) -> PreparedClip:
        """Read a clip, as much of it as a model reads.

        Raises:
            ClipError: Its shard is missing or cannot be fetched, or its bytes are damaged.
        """
        return PreparedClip.read(self.data(index, key), key, self._path(int(self.shard[index])), modalities)

    def data(self, index: int, key: str) -> memoryview:
        """Return the bytes of a clip's file, where they lie.

        Raises:
            ClipError: Its shard is missing, cut off, or cannot be fetched.
        """
        number, start, size = int(self.shard[index]), int(self.offset[index]), int(self.size[index])
        try:
            data = self._map(number)[start : start + size]
        except (OSError, ValueError, CorpusError) as error:
            reason = f"its shard cannot be read ({error})"
            raise ClipError(key, self._path(number), reason) from error
        if len(data) < size:
            raise ClipError(key, self._path(number), "its shard is cut off; delete it, and write or fetch it again")
        return data

    def expect(self, shards: Sequence[int]) -> None:
        """Fetch shards meanwhile, for clips that will be read."""
        if self.mirror is not None:
            for number in shards:
                self.mirror.expect(self.shards[number])

    @property
    def total(self) -> int:
        """Bytes of all shards that the clips lie in."""
        return sum(shard.bytes for shard in self._own())

    @property
    def longest(self) -> int:
        """Bytes of the longest of them."""
        return max((shard.bytes for shard in self._own()), default=0)

    def _own(self) -> list[Shard]:
        return [self.shards[number] for number in np.unique(self.shard[self.shard >= 0])]

    def _check_folder(self) -> None:
        if lost := [shard.name for shard in self._own() if not is_whole(self.root, shard)]:
            raise CorpusError(
                f"{self.root} lacks {len(lost)} shards, or they are cut off, {lost[0]} the first; copy it again, or "
                "run its mmer shards command again"
            )

    def _path(self, number: int) -> Path:
        return self.root / self.shards[number].name if self.mirror is None else self.mirror.path(self.shards[number])

    def _map(self, number: int) -> memoryview:
        """Return the bytes of a shard; those that were used longest ago are closed when nothing of them is in use."""
        if number in self.mapped:
            self.mapped.move_to_end(number)
            return self.mapped[number]
        with self._path(number).open("rb") if self.mirror is None else self.mirror.open(self.shards[number]) as file:
            data = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
        self.mapped[number] = data
        if len(self.mapped) > _OPEN:
            self.mapped.popitem(last=False)
        return data
