"""Corpora whose file names say everything: files of one clip become one row, and what is missing is told."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from mmer.corpora.manifest import Manifest, Row
from mmer.errors import ClipError, CorpusError
from mmer.media.files import file_hash, file_size, is_packed, list_archive, list_files

_MOST_NAMES = 10
"""How many missing speakers a note names."""


def find_files(folder: Path, suffixes: Collection[str]) -> list[Path]:
    """Return the files below a folder with one of some suffixes, in order, without hidden ones.

    Raises:
        CorpusError: The folder is missing.
    """
    if not folder.is_dir():
        raise CorpusError(f"{folder} is not a folder; give the one that holds the corpus")
    return [path for path in list_files(folder) if path.suffix.lower() in suffixes]


def find_media(path: Path, suffixes: Collection[str]) -> tuple[list[Path], list[ClipError]]:
    """Return the files with one of some suffixes below a folder and in the zip archives there, or in one archive.

    Returns:
        The files, those in archives behind the others, and the archives that are broken.

    Raises:
        CorpusError: There is no such path, or no such file in what can be read.
    """
    if not (path.is_dir() or (_is_archive(path) and path.is_file())):
        raise CorpusError(f"{path} is no folder and no zip archive; give the one that holds the corpus")
    files = find_files(path, (*suffixes, ".zip")) if path.is_dir() else [path]
    found = [file for file in files if not _is_archive(file)]
    broken: list[ClipError] = []
    for archive in filter(_is_archive, files):
        try:
            found += [file for file in list_archive(archive) if file.suffix.lower() in suffixes]
        except OSError as error:
            broken.append(ClipError(archive.name, archive, error.strerror or str(error)))
    if not found and broken:
        raise CorpusError(f"{broken[0].path} cannot be read: {broken[0].reason}")
    if not found:
        raise CorpusError(f"{path} holds no file with one of the suffixes {' '.join(suffixes)}")
    return found, broken


def _is_archive(path: Path) -> bool:
    return path.suffix.lower() == ".zip"


def read_named(
    paths: Iterable[Path],
    parse: Callable[[Path], Row],
    video: Sequence[str] = (),
    audio: Sequence[str] = (),
    broken: Iterable[ClipError] = (),
) -> Manifest:
    """Make one row of all files whose names say the same key; a name that says none is left out.

    Args:
        paths: The files.
        parse: What a file's name says: a row without files. It raises a ClipError for a name that is not the corpus's.
        video: Suffixes of the files with a face, the preferred first.
        audio: Suffixes of the files with a voice, the preferred first.
        broken: What was found broken on the way to the files.
    """
    rows: dict[str, Row] = {}
    files: dict[str, list[Path]] = defaultdict(list)
    faults = list(broken)
    for path in paths:
        try:
            row = parse(path)
        except ClipError as error:
            faults.append(error)
            continue
        rows[row.key] = row
        files[row.key].append(path)
    good, copies = [], 0
    for key in sorted(rows):
        try:
            chosen = [choose(key, files[key], suffixes) for suffixes in (video, audio)]
        except ClipError as error:
            faults.append(error)
            continue
        good.append(replace(rows[key], video=chosen[0][0], audio=chosen[1][0]))
        copies += chosen[0][1] + chosen[1][1]
    return Manifest(tuple(good), tuple(faults), tell_copies(copies))


def decode(path: Path, name: str, codes: Mapping[str, str], code: str) -> str:
    """Return what a code in a file's name stands for.

    Raises:
        ClipError: It stands for nothing.
    """
    if code not in codes:
        raise ClipError(path.stem, path, f"{name} {code!r} is unknown; the codes are {', '.join(codes)}")
    return codes[code]


def tell_copies(copies: int) -> tuple[str, ...]:
    """Say how many files were passed over because others hold the same."""
    return (f"passed over as second copies of other files: {copies:,}",) if copies else ()


def with_tally(manifest: Manifest, clips: int, speakers: Sequence[str]) -> Manifest:
    """Return a manifest whose first note says how many of the corpus's clips are here."""
    return replace(manifest, notes=(tally(manifest.rows, clips, speakers), *manifest.notes))


def tally(rows: Collection[Row], clips: int, speakers: Sequence[str]) -> str:
    """Say how many of a corpus's clips are here, and which speakers are missing."""
    count, here = len(rows), {row.speaker for row in rows}
    if count == clips:
        return f"complete: {clips:,} clips"
    if count > clips:
        return f"{count:,} clips, {count - clips:,} more than the {clips:,} that are known"
    absent = [speaker for speaker in speakers if speaker not in here]
    more = f" and {len(absent) - _MOST_NAMES} more" if len(absent) > _MOST_NAMES else ""
    missing = f"; missing speakers: {', '.join(absent[:_MOST_NAMES])}{more}" if absent else ""
    return f"{count:,} of {clips:,} clips{missing}"


def choose(key: str, paths: Collection[Path], suffixes: Sequence[str]) -> tuple[Path | None, int]:
    """Return a clip's file of the first suffix that it has, and how many copies of that there are.

    Archives that hold the corpus twice, one folder in the other, are common, and so are archives that were unpacked
    where they lie: an unpacked file goes before those in archives.

    Raises:
        ClipError: There are two files of that suffix with other bytes.
    """
    for suffix in suffixes:
        found = [path for path in paths if path.suffix.lower() == suffix]
        if len(found) > 1:
            unpacked = [path for path in found if not is_packed(path)] or found
            for other in unpacked[1:]:
                if not _same(unpacked[0], other):
                    raise ClipError(key, unpacked[0], f"another recording of the same name is at {other}; keep one")
            return unpacked[0], len(found) - 1
        if found:
            return found[0], 0
    return None, 0


def _same(first: Path, second: Path) -> bool:
    try:
        return file_size(first) == file_size(second) and file_hash(first) == file_hash(second)
    except OSError:  # a link to nowhere, say: nobody knows what it was
        return False
