"""Files wherever they lie: in a folder, inside a zip archive, or as a row of FER2013's table.

A path that goes on behind an archive's name is a file in it, as ``Video_Speech_Actor_01.zip/Actor_01/x.mp4``, so the
owner's archives are read where they are. ``fer2013.csv/17`` is the face in row 17 of that table. Whatever is wrong is
an :class:`OSError` whose ``strerror`` says it on one line.
"""

from __future__ import annotations

import errno
import hashlib
import os
import zipfile
import zlib
from collections.abc import Mapping
from functools import lru_cache
from io import BytesIO
from pathlib import Path
from typing import BinaryIO, NamedTuple, NoReturn

from mmer.media.pixels import SIDE, read_row

VIDEO_SUFFIXES = (".mp4", ".avi", ".mov", ".mkv", ".webm", ".flv", ".m4v", ".mpg", ".mpeg", ".wmv", ".3gp", ".mts")
"""Suffixes of files with a picture that moves."""

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff")
"""Suffixes of pictures: videos of one frame."""

AUDIO_SUFFIXES = (".wav", ".flac", ".mp3", ".m4a", ".ogg", ".opus", ".aac", ".aif", ".aiff", ".wma")
"""Suffixes of files with sound alone."""

_CHUNK = 1 << 20  # bytes hashed at once


def open_binary(path: Path) -> BinaryIO:
    """Open a file for reading, seekable.

    A file in an archive is unpacked into memory, its checksum compared; a row of FER2013's table is a BMP picture.

    Raises:
        OSError: The file or its archive is missing, encrypted or damaged.
    """
    archive = _archive_of(path)
    if archive is None:
        return path.open("rb")
    name = _name_in(archive, path)
    return BytesIO(_read_face(archive, name) if _is_table(archive) else _read_member(archive, name))


def exists(path: Path) -> bool:
    """Tell whether there is such a file or folder; a damaged archive holds nothing."""
    archive = _archive_of(path)
    if archive is None:
        return path.exists()
    try:
        file_size(path)
    except OSError:
        return False
    return True


def file_size(path: Path) -> int:
    """Return the size of a file, in bytes; of one in an archive, the unpacked size.

    Raises:
        OSError: There is no such file.
    """
    archive = _archive_of(path)
    if archive is None:
        return path.stat().st_size
    name = _name_in(archive, path)
    return len(_read_face(archive, name)) if _is_table(archive) else _member(archive, name).file_size


def file_hash(path: Path) -> str:
    """Return the SHA-256 of a file's content, in hex: the same wherever the file lies and whenever it was written.

    Raises:
        OSError: The file cannot be read.
    """
    digest = hashlib.sha256()
    with open_binary(path) as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def is_packed(path: Path) -> bool:
    """Tell whether a path goes through an archive or a table, so that only :func:`open_binary` can open it."""
    return _archive_of(path) is not None


def list_files(folder: Path) -> list[Path]:
    """Return all files below a folder in the order of their names, without hidden ones, as file managers leave them.

    Links to folders are followed, and every folder is entered once, so that a link to its own parent does no harm.

    Raises:
        OSError: A folder cannot be read, or a name cannot be written down: to pass over it would lose clips.
    """
    found: list[str] = []
    entered: set[tuple[int, int]] = set()
    for place, folders, names in os.walk(folder, onerror=_raise, followlinks=True):
        state = os.stat(place)  # noqa: PTH116  # strings are tenfold faster than paths here
        if (state.st_dev, state.st_ino) in entered:
            folders.clear()
            continue
        entered.add((state.st_dev, state.st_ino))
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        found += [os.path.join(place, name) for name in names if not name.startswith(".")]  # noqa: PTH118
    strange = next((path for path in found if not _is_text(path)), None)
    if strange is not None:
        raise OSError(errno.EILSEQ, "its name is not UTF-8, so that no table can name it; rename it", strange)
    return sorted(map(Path, found))


def _is_text(path: str) -> bool:
    """Tell whether a path is text; of other bytes Python makes lone surrogates."""
    return path.isascii() or not any("\ud800" <= letter <= "\udfff" for letter in path)


def _raise(error: OSError) -> NoReturn:
    raise error


def list_archive(archive: Path) -> list[Path]:
    """Return the paths of all files in a zip archive, without hidden ones, as Macs leave them.

    Raises:
        OSError: It is missing or no whole zip archive.
    """
    return [archive / name for name in _opened(archive).members if not name.rpartition("/")[2].startswith(".")]


def _archive_of(path: Path) -> Path | None:
    """Return the archive or the table that a path goes through; None where it is a plain path."""
    for parent in path.parents:
        if parent.suffix.lower() in (".zip", ".csv") and parent.is_file():
            return parent
    return None


def _name_in(archive: Path, path: Path) -> str:
    return path.relative_to(archive).as_posix()


def _is_table(archive: Path) -> bool:
    return archive.suffix.lower() == ".csv"


class _Archive(NamedTuple):
    """An open archive and its files by their names, whatever way its writer spelt these."""

    file: zipfile.ZipFile
    members: Mapping[str, zipfile.ZipInfo]


def _opened(archive: Path) -> _Archive:
    """Return an archive whose list of contents is read once in every process."""
    state = archive.stat()
    try:
        return _open_archive(archive, state.st_size, state.st_mtime_ns, os.getpid())
    except (zipfile.BadZipFile, NotImplementedError, ValueError) as error:
        raise _damaged(archive, error) from error


@lru_cache(maxsize=8)
def _open_archive(archive: Path, size: int, changed: int, process: int) -> _Archive:
    """Open an archive; a file of another size, time or process (they would share its position) is another one."""
    file = zipfile.ZipFile(archive)
    return _Archive(file, {_plain_name(info.filename): info for info in file.infolist() if not info.is_dir()})


def _plain_name(name: str) -> str:
    r"""Return a name in an archive as part of a path: ``./a/b``, ``/a/b`` and ``a\b`` are no names of their own."""
    return "/".join(part for part in name.replace("\\", "/").split("/") if part not in ("", ".", ".."))


def _member(archive: Path, name: str) -> zipfile.ZipInfo:
    member = _opened(archive).members.get(name)
    if member is None:
        raise FileNotFoundError(errno.ENOENT, f"there is no {name} in the archive {archive.name}")
    return member


def _read_member(archive: Path, name: str) -> bytes:
    member = _member(archive, name)
    if member.flag_bits & 0x1:
        raise OSError(errno.EACCES, f"the archive {archive.name} is encrypted; unpack it with its password")
    try:
        return _opened(archive).file.read(member)
    except (zipfile.BadZipFile, NotImplementedError, zlib.error, EOFError, ValueError) as error:
        raise _damaged(archive, error) from error


def _damaged(archive: Path, error: Exception) -> OSError:
    reason = " ".join(str(error).split()) or type(error).__name__
    return OSError(errno.EIO, f"the archive {archive.name} cannot be unpacked: {reason}; fetch it again")


def _read_face(table: Path, name: str) -> bytes:
    """Return a face of FER2013's table as a file: a BMP, whose bytes depend on the pixels alone."""
    import cv2  # only here: the command line lists corpora without them
    import numpy as np

    try:
        if not name.isdecimal():
            raise IndexError("the rows of a table are numbers")
        pixels = read_row(table, int(name)).image()
    except IndexError as error:
        raise FileNotFoundError(errno.ENOENT, f"there is no row {name} in {table.name}; {error}") from None
    except ValueError as error:
        raise OSError(errno.EINVAL, f"{table.name}: {error}") from error
    done, data = cv2.imencode(".bmp", np.frombuffer(pixels, np.uint8).reshape(SIDE, SIDE))
    assert done, "OpenCV encodes any uint8 image"
    return bytes(data)
