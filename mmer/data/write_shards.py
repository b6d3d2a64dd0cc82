"""A prepared folder written as shards; what a shard is stands in :mod:`mmer.data.shards`."""

from __future__ import annotations

import shutil
import tarfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from tqdm import tqdm

from mmer.atomic import replacing
from mmer.corpora.manifest import Row, reading_order
from mmer.data.alone import alone, is_taken
from mmer.data.clip import PreparedClip
from mmer.data.mirror import Shard
from mmer.data.shards import (
    INDEX,
    TABLES,
    Index,
    Place,
    is_whole,
    read_index,
    read_places,
    shard_name,
    write_index,
    write_places,
)
from mmer.data.store import PLACES, PreparedCorpus, clip_path, is_stored
from mmer.errors import ClipError, CorpusError
from mmer.media.files import file_hash

_BLOCK = 512  # bytes to whose multiple every part of a tar file is filled up
_END = bytes(2 * _BLOCK)


@dataclass(frozen=True, slots=True)
class Written:
    """What was written.

    Args:
        clips: How many clips there are, with those of words alone.
        shards: The shards.
        kept: How many of them were there already.
    """

    clips: int
    shards: tuple[Shard, ...]
    kept: int


@dataclass(frozen=True, slots=True)
class _Member:
    """A clip in a shard: its key, its file, and where that will begin."""

    key: str
    path: Path
    offset: int
    size: int

    @property
    def end(self) -> int:
        """Where the next one may begin."""
        return self.offset + self.size + -self.size % _BLOCK


def write_shards(root: Path, output: Path, shard_bytes: int = 64_000_000, *, progress: bool = True) -> Written:
    """Write a prepared folder as shards.

    The same clips make the same bytes. A writer that was killed goes on where it stopped: a shard appears whole or not
    at all, and is written again if a clip of it is newer. So is a finished folder's that is missing or cut off.

    Args:
        root: The prepared folder.
        output: The folder of shards: new, unfinished, or finished with the same clips.
        shard_bytes: How long a shard may become; one clip may be longer.
        progress: Whether to show a progress bar on standard error.

    Raises:
        CorpusError: The folder was not prepared, or the output holds something else, or another process writes to it.
        ClipError: A prepared clip is missing or damaged.
    """
    corpus = PreparedCorpus.open(root)
    plan = list(_plan(corpus, shard_bytes))
    places = {each.key: Place(number, each.offset, each.size) for number, shard in enumerate(plan) for each in shard}
    _check_output(root, output)
    with alone(output, "writing to"):
        before = _begin(root, output, places)
        if before is not None and all(is_whole(output, shard) for shard in before.shards):
            return Written(len(corpus.rows), before.shards, len(before.shards))
        return _write(corpus, output, plan, before, progress)


def _plan(corpus: PreparedCorpus, shard_bytes: int) -> Iterator[list[_Member]]:
    """Yield the clips of each shard: a speaker's clips side by side, and of one part of the owner's split."""

    def owner(row: Row) -> tuple[object, ...]:
        return row.corpus, reading_order(row.speaker or ""), row.extra.get("split", "")

    stored = sorted(filter(is_stored, corpus.rows), key=owner)
    for _, rows in groupby(stored, owner):
        shard: list[_Member] = []
        for row in rows:
            path = clip_path(corpus.root, row.key)
            size = _size(path, row.key)
            start = (shard[-1].end if shard else 0) + len(_header(path.name, size))
            if shard and start + size > shard_bytes:
                yield shard
                shard, start = [], len(_header(path.name, size))
            shard.append(_Member(row.key, path, start, size))
        yield shard


def _size(path: Path, key: str) -> int:
    try:
        return path.stat().st_size
    except OSError as error:
        raise ClipError(key, path, f"the prepared clip is missing ({error.strerror}); prepare again") from error


def _header(name: str, size: int) -> bytes:
    """Return what stands before a clip: the same for the same clip, whoever writes it and whenever."""
    info = tarfile.TarInfo(name)
    info.size = size
    return info.tobuf(tarfile.GNU_FORMAT, "utf-8", "surrogateescape")


def _check_output(root: Path, output: Path) -> None:
    if root.resolve() in (output.resolve(), *output.resolve().parents):
        raise CorpusError(f"{output} is the prepared folder itself, or lies in it; name another one for the shards")
    if is_taken(output) and not (output / PLACES).is_file():
        raise CorpusError(f"{output} exists and holds no shards; choose an empty or a new folder")


def _begin(root: Path, output: Path, places: Mapping[str, Place]) -> Index | None:
    """Claim a folder for some clips, or return its index where it is finished and is to hold just these."""
    finished = read_index(output / INDEX) if (output / INDEX).is_file() else None
    same = (output / PLACES).is_file() and _same(output / PLACES, places)
    if finished is not None:
        if same and all(finished.tables.get(name) == _checksum(root / name) for name in TABLES if name != PLACES):
            _sweep(output)
            return finished
        raise CorpusError(f"{output} holds finished shards of other clips or sizes; delete it, or use another folder")
    if not same:
        for path in output.glob("shard-*.tar"):  # of an unfinished folder that was to hold something else
            path.unlink()
        write_places(output / PLACES, places)
    _sweep(output)
    return None


def _sweep(output: Path) -> None:
    """Remove what a killed writer left; the lock says that no other is at work."""
    for path in output.glob(".shard-*.tar"):
        path.unlink(missing_ok=True)


def _same(path: Path, places: Mapping[str, Place]) -> bool:
    try:
        return list(read_places(path).items()) == list(places.items())
    except CorpusError:
        return False


def _checksum(path: Path) -> str | None:
    return file_hash(path) if path.is_file() else None


def _write(
    corpus: PreparedCorpus, output: Path, plan: Sequence[Sequence[_Member]], before: Index | None, progress: bool
) -> Written:
    """Write what is missing; what a finished folder promised of the rest, it must still be."""
    promised = {} if before is None else {shard.name: shard for shard in before.shards}
    shards, kept = [], 0
    with tqdm(total=sum(map(len, plan)), desc="shards", unit="clip", disable=not progress) as bar:
        for number, members in enumerate(plan):
            path = output / shard_name(number)
            shard = _describe(path) if _is_current(path, members) else None
            if shard is not None and promised.get(shard.name, shard) == shard:
                kept += 1
                bar.update(len(members))
            else:
                _write_shard(path, members, bar)
                shard = _describe(path)
            shards.append(shard)
    for name in TABLES:
        if (corpus.root / name).is_file():
            with replacing(output / name) as temporary:
                shutil.copyfile(corpus.root / name, temporary)
    tables = {name: file_hash(output / name) for name in TABLES if (output / name).is_file()}
    write_index(output / INDEX, Index(tuple(shards), tables))
    return Written(len(corpus.rows), tuple(shards), kept)


def _describe(path: Path) -> Shard:
    return Shard(path.name, path.stat().st_size, file_hash(path))


def _is_current(path: Path, members: Sequence[_Member]) -> bool:
    """Tell whether a shard was written whole after all of its clips: what it holds, ``clips.csv`` says."""
    if not path.is_file() or path.stat().st_size != members[-1].end + len(_END):
        return False
    written = path.stat().st_mtime_ns
    return all(member.path.stat().st_mtime_ns < written for member in members)


def _write_shard(path: Path, members: Iterable[_Member], bar: tqdm[object]) -> None:
    with replacing(path) as temporary, temporary.open("wb") as file:
        for member in members:
            file.write(_header(member.path.name, member.size))
            file.write(_read(member))
            file.write(bytes(-member.size % _BLOCK))
            bar.update()
        file.write(_END)


def _read(member: _Member) -> bytes:
    """Read a clip's file whole and check every byte: a shard is a bad place to find a damaged one."""
    try:
        data = member.path.read_bytes()
    except OSError as error:
        reason = error.strerror or str(error)
        raise ClipError(
            member.key, member.path, f"the prepared clip cannot be read ({reason}); prepare again"
        ) from error
    if len(data) != member.size:
        raise ClipError(member.key, member.path, "the prepared clip has just changed; run the command again")
    PreparedClip.read(memoryview(data), member.key, member.path)
    return data
