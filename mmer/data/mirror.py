"""Copies of an object store's files on the local disk: fetched once, checked, and the oldest gone when it is full.

litdata's downloaders fetch them: they know the stores, their credentials and their retries, and what must not be used
in a forked process. Everything else is ours, for which the reasons stand in ``docs/streaming.md``.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from queue import SimpleQueue
from typing import Any, BinaryIO

from filelock import FileLock, Timeout

from mmer.atomic import FULL
from mmer.cache import cached
from mmer.errors import ConfigError, CorpusError
from mmer.media.files import file_hash

SCHEMES = ("s3://", "gs://", "azure://", "hf://", "local:")
"""What a URL may begin with; ``local:`` is a folder that is copied as if it were far away, as one on a network."""

_LIBRARIES = {"gs": "google-cloud-storage", "azure": "azure-storage-blob", "hf": "huggingface_hub"}  # beside litdata
_LOCKS = 64  # files that lock shards: as many as there are shards would only litter the folder
_YOUNG = 60.0  # seconds in which a download may not have its lock yet
_PART = "part-"
_SECRET = re.compile(r"(?!local:)([a-z0-9]+://)(?:[^/]*@|.*\?)")
_OURS = FULL | {errno.EROFS}  # no store says these: it is the disk of the copies


@dataclass(frozen=True, slots=True)
class Shard:
    """A file of clips.

    Args:
        name: Its name in the folder.
        bytes: Its length.
        sha256: Its checksum.
    """

    name: str
    bytes: int
    sha256: str


def cache_folder(folder: str | None) -> Path:
    """Return where copies are kept."""
    return cached("shards") if folder is None else Path(folder)


class Mirror:
    """A folder of copies, which the processes of a machine share.

    Args:
        url: What is copied.
        cache: The folder of all copies; each URL has its own in it.
        limit: How many bytes of shards this one may hold.

    Raises:
        ConfigError: The URL is of no known kind or holds a password, or what fetches is not installed.
    """

    def __init__(self, url: str, cache: Path, limit: int) -> None:
        if found := _SECRET.match(url):
            raise ConfigError(
                f"data.root={found[1]}... says who asks, as USER:PASSWORD@ or ?TOKEN, and would be written into every "
                "checkpoint; leave that to what the store's own tools read, as AWS_PROFILE"
            )
        if not url.rstrip("/").startswith(SCHEMES):
            raise ConfigError(f"data.root={url} cannot be fetched; URLs begin with {', '.join(SCHEMES)}")
        if find_spec("litdata") is None:
            raise ConfigError(f"to read {url} needs litdata: pip install 'mmer[streaming]'")
        library = _LIBRARIES.get(url[: url.index(":")])
        if library is not None and not _is_installed(library):
            raise ConfigError(f"to read {url} needs {library}: pip install {library}")
        self.url = url.rstrip("/")
        self.folder = cache / hashlib.sha256(self.url.encode()).hexdigest()[:16]
        self.limit = limit
        self.expected: tuple[int, SimpleQueue[Shard]] | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "expected": None}  # a thread and its queue stay in their process

    def fetch_tables(self, index: str, tables: Callable[[Path], Mapping[str, str]]) -> None:
        """Fetch what is small and read at once: the index always, the tables that it names where they have changed.

        Args:
            index: The name of the index.
            tables: What reads the tables' checksums in it, by name.

        Raises:
            CorpusError: A file cannot be fetched, or is not what the index says.
            ConfigError: The folder of copies cannot be written to.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._sweep()
            with FileLock(self.folder / ".lock"):
                self._fetch_table(index)
                wanted = tables(self.folder / index)
                for name, checksum in wanted.items():
                    path = self.folder / name
                    if not path.is_file() or file_hash(path) != checksum:
                        self._fetch_table(name, checksum)
                for path in self.folder.glob("*.csv"):
                    if path.name not in wanted:  # of what the URL held before
                        path.unlink()
        except OSError as error:
            raise ConfigError(f"copies of {self.url} cannot be kept: {self._trouble(error)}") from error

    def _fetch_table(self, name: str, checksum: str | None = None) -> None:
        with self._fetched(name, checksum) as temporary:
            temporary.replace(self.folder / name)

    def path(self, shard: Shard) -> Path:
        """Return where a shard's copy is kept; one of another content has another name."""
        return self.folder / f"{shard.sha256[:32]}.tar"

    def open(self, shard: Shard) -> BinaryIO:
        """Open a shard, fetched if need be; what is open can be read though its copy makes room for others meanwhile.

        Raises:
            CorpusError: It cannot be fetched or kept, or is not what the index says.
        """
        try:
            return self._open_copy(shard) or self._fetch_shard(shard)
        except OSError as error:
            raise CorpusError(f"its copy cannot be kept: {self._trouble(error)}") from error

    def _open_copy(self, shard: Shard) -> BinaryIO | None:
        """Open a shard that is here; one that a loss of power has cut off is not."""
        with suppress(FileNotFoundError):
            file = self.path(shard).open("rb")
            if os.fstat(file.fileno()).st_size == shard.bytes:
                os.utime(file.fileno())  # what was opened last is removed last
                return file
            file.close()
        return None

    def _fetch_shard(self, shard: Shard) -> BinaryIO:
        """Fetch a shard; of several processes that want it one does."""
        with FileLock(self.folder / f".lock-{int(shard.sha256[:8], 16) % _LOCKS:02d}"):
            file = self._open_copy(shard)
            if file is None:
                path = self.path(shard)
                with self._fetched(shard.name, shard.sha256) as temporary, FileLock(self.folder / ".room"):
                    temporary.replace(path)
                    self._make_room(path)
                    file = path.open("rb")  # here it is: nobody else makes room meanwhile
            return file

    def expect(self, shard: Shard) -> None:
        """Fetch a shard in the background; what goes wrong is said when it is read."""
        if self.path(shard).exists():
            return
        if self.expected is None or self.expected[0] != os.getpid():  # a fork has the queue and not the thread
            queue = SimpleQueue[Shard]()
            self.expected = os.getpid(), queue
            threading.Thread(target=self._fetch_expected, args=(queue,), daemon=True).start()
        self.expected[1].put(shard)

    def _fetch_expected(self, queue: SimpleQueue[Shard]) -> None:
        while True:
            with suppress(CorpusError):
                self.open(queue.get()).close()

    @contextmanager
    def _fetched(self, name: str, checksum: str | None = None) -> Iterator[Path]:
        """Fetch a file, whole and right; who asked for it moves it to where it belongs."""
        with (
            tempfile.TemporaryDirectory(dir=self.folder, prefix=_PART) as folder,
            FileLock(Path(folder) / ".lock"),  # as long as it lives, nobody sweeps
        ):
            temporary = Path(folder) / "file"  # no name of ours: litdata treats some in ways of its own
            _download(f"{self.url}/{name}", temporary)
            if checksum is not None and file_hash(temporary) != checksum:
                raise CorpusError(
                    f"{self.url}/{name} is not what shards.json promises; copy the whole folder of shards there again"
                )
            yield temporary

    def _make_room(self, newest: Path) -> None:
        """Remove the copies that were opened longest ago, until the rest may stay."""
        found = [(path.stat(), path) for path in self.folder.glob("*.tar")]
        total = sum(stat.st_size for stat, _ in found)
        for stat, path in sorted(found, key=lambda each: each[0].st_mtime):
            if total <= self.limit:
                break
            if path != newest:
                path.unlink(missing_ok=True)
                total -= stat.st_size

    def _sweep(self) -> None:
        """Remove what killed processes have left of downloads."""
        for path in self.folder.glob(f"{_PART}*"):
            with suppress(OSError, Timeout):
                if path.stat().st_mtime < time.time() - _YOUNG:
                    with FileLock(path / ".lock", blocking=False):
                        shutil.rmtree(path)

    def _trouble(self, error: OSError) -> str:
        """Say in one line what keeps copies from being written, and what to do."""
        return (
            f"{error.filename or self.folder}: {error.strerror or error}; name a folder with more room, or that may be "
            "written to, as data.shards.cache, or give less to data.shards.cache_gb"
        )


def _is_installed(package: str) -> bool:
    try:
        version(package)
    except PackageNotFoundError:
        return False
    return True


def _download(url: str, path: Path) -> None:
    """Fetch a file from an object store.

    Raises:
        CorpusError: It cannot be fetched.
        OSError: There is no room for it here.
    """
    scheme = url[: url.index(":")]
    try:
        if scheme == "s3":  # by boto3; as a file litdata would fetch it with what refuses plain HTTP
            with path.open("wb") as file:
                _downloader(scheme, os.getpid()).download_fileobj(url, file)
        else:
            _downloader(scheme, os.getpid()).download_file(url, str(path))
    except Exception as error:  # of any kind: each store has a library of its own
        if isinstance(error, OSError) and error.errno in _OURS:
            raise
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise CorpusError(f"{url} cannot be fetched ({reason}); check the address and who may read it") from error
    if not path.is_file():
        raise CorpusError(f"{url} cannot be fetched (nothing came); check the address and who may read it")


@lru_cache(maxsize=8)
def _downloader(scheme: str, process: int) -> Any:
    """Return what fetches from a kind of store, for one process alone: connections do not survive a fork."""
    from litdata.streaming.downloader import get_downloader

    options = {}
    if scheme == "s3":
        from botocore.config import Config

        options["config"] = Config(retries={"max_attempts": 10, "mode": "standard"})  # litdata's 1,000 try for hours
    return get_downloader(f"{scheme}:" if scheme == "local" else f"{scheme}://", "", [], options)
