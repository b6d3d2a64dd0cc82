"""One writer to a folder at a time, and never into somebody else's."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from mmer.errors import CorpusError


@contextmanager
def alone(folder: Path, doing: str) -> Iterator[None]:
    """Make a folder and keep other writers out of it; a killed one keeps nobody out.

    Args:
        folder: The folder.
        doing: What another process does there that is in it already, for the error.

    Raises:
        CorpusError: Another process writes to it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / ".lock", blocking=False)
    try:
        lock.acquire()
    except Timeout:
        raise CorpusError(f"another process is {doing} {folder}; wait for it, or use another folder") from None
    try:
        yield
    finally:
        lock.release()


def is_taken(folder: Path) -> bool:
    """Tell whether there is anything where a new folder should be; hidden files do not count."""
    return folder.exists() and (not folder.is_dir() or any(not path.name.startswith(".") for path in folder.iterdir()))
