"""Fetch corpora from their owners: resumable, checked against the owner's own checksums, whole or not at all.

The list of files, their sizes and their checksums are read from the owner's repository when the download starts, so
none is written down here. A file in the making is ``NAME.CHECKSUM.part``: the checksum in its name ties it to one
version of the file, and a later run goes on where it stops.
"""

from __future__ import annotations

import hashlib
import shutil
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO
from urllib.parse import urljoin

import requests
from filelock import FileLock, Timeout
from tqdm import tqdm

from mmer import __version__
from mmer.errors import CorpusError

RAVDESS_RECORD = "https://zenodo.org/api/records/1188976"
"""RAVDESS at Zenodo, as its owners published it."""
TESS_RECORD = "https://borealisdata.ca/api/datasets/:persistentId/?persistentId=doi:10.5683/SP2/E8H2MF"
"""TESS at Borealis, as its owners published it."""

_AGENT = f"mmer/{__version__}"
_WEB = ("http://", "https://")
_ACTORS = range(1, 25)
_NO_SONGS = 18
_CHUNK = 1 << 16
_PATIENCE = (10.0, 60.0)  # seconds to connect, and of silence
_PASSING = (416, 429, 500, 502, 503, 504)  # answers that may be better in a moment
_RETRIES = 5  # in a row without one new byte
_PAUSE = 1.0  # seconds, doubled each time
_LONGEST_PAUSE = 120.0


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A file as its owner's repository describes it.

    Args:
        name: Where it lies below the folder of the download.
        size: In bytes.
        checksum: Algorithm and hexadecimal digest, as ``md5:d41d8c...``.
        url: Where it is fetched from.
    """

    name: str
    size: int
    checksum: str
    url: str

    def is_whole(self, path: Path) -> bool:
        """Return whether a local file is this one, to the bit."""
        if not path.is_file() or path.stat().st_size != self.size:
            return False
        algorithm, _, digest = self.checksum.partition(":")
        with path.open("rb") as file:
            found = hashlib.file_digest(file, lambda: hashlib.new(algorithm, usedforsecurity=False))
        return found.hexdigest() == digest


def list_ravdess(
    actors: Collection[int] = _ACTORS,
    modalities: Collection[str] = ("video", "audio"),
    channels: Sequence[str] = ("speech",),
    record: str = RAVDESS_RECORD,
) -> list[RemoteFile]:
    """List RAVDESS's zip files: one of video for each actor and channel, one of audio for each channel.

    Args:
        actors: 1 to 24; the audio files hold them all, whatever is asked. Actor 18 has no songs.
        modalities: ``video``, which has sound too, and ``audio``, the studio recordings.
        channels: ``speech``, ``song``.
        record: URL of the record at Zenodo, or of a JSON file of the same shape at a mirror.

    Raises:
        CorpusError: An actor does not exist, the record cannot be read, or a file is not in it.
    """
    unknown = sorted(set(actors) - set(_ACTORS))
    if unknown:
        raise CorpusError(f"RAVDESS has no actor {unknown[0]}; its actors are 1 to 24")
    names = []
    for channel in channels:
        if "video" in modalities:
            singing = [actor for actor in sorted(actors) if channel == "speech" or actor != _NO_SONGS]
            names += [f"Video_{channel.title()}_Actor_{actor:02d}.zip" for actor in singing]
        if "audio" in modalities:
            names.append(f"Audio_{channel.title()}_Actors_01-24.zip")
    files = {file.name: file for file in _read_record(record, _from_zenodo)}
    absent = [name for name in names if name not in files]
    if absent:
        raise CorpusError(f"{record} lists no {absent[0]}; is it the record of RAVDESS?")
    return [files[name] for name in names]


def list_tess(record: str = TESS_RECORD) -> list[RemoteFile]:
    """List all files of TESS.

    Args:
        record: URL of the data set in Dataverse's native API, or of a JSON file of the same shape at a mirror.

    Raises:
        CorpusError: The record cannot be read.
    """
    return _read_record(record, _from_dataverse)


def download(files: Sequence[RemoteFile], folder: Path, progress: bool = True) -> list[RemoteFile]:
    """Bring files to a folder and return those that had to be fetched; what is there already is only checked.

    Raises:
        CorpusError: The disk is too small, the server cannot be reached or refuses, a file is not what its owner
            published, or another download is writing to the folder. What was fetched of an unfinished file stays for
            the next run; no file has its own name before it is whole.
    """
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(folder / ".download.lock", timeout=0):
            missing = [file for file in files if not file.is_whole(folder / file.name)]
            _sweep(files, missing, folder)
            _check_space(missing, folder)
            _bring_all(missing, folder, progress and bool(missing))
    except Timeout as error:
        raise CorpusError(f"another download is writing to {folder}; wait for it, or give another folder") from error
    return missing


def readable(size: int) -> str:
    """Return a number of bytes as people read it."""
    return f"{size / 1e9:.2f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB"


def _sweep(files: Iterable[RemoteFile], missing: Iterable[RemoteFile], folder: Path) -> None:
    """Remove parts of other versions of the files, which nothing can go on from."""
    names, parts = {folder / file.name for file in files}, {_part(file, folder) for file in missing}
    for old in folder.rglob("*.part"):
        if old.with_suffix("").with_suffix("") in names and old not in parts:
            old.unlink()


def _bring_all(files: Sequence[RemoteFile], folder: Path, progress: bool) -> None:
    begun, total = sum(_size(_part(file, folder)) for file in files), sum(file.size for file in files)
    with (
        requests.Session() as session,
        tqdm(total=total, initial=begun, unit="B", unit_scale=True, disable=not progress) as bar,
    ):
        session.headers.update({"User-Agent": _AGENT, "Accept-Encoding": "identity"})
        for file in files:
            bar.set_description(file.name)
            _bring(session, file, folder, bar)


def _bring(session: requests.Session, file: RemoteFile, folder: Path, bar: tqdm[Any]) -> None:
    """Fetch one file; a wrong checksum is given one more chance, from the first byte."""
    path, part = folder / file.name, _part(file, folder)
    path.parent.mkdir(parents=True, exist_ok=True)
    for _ in range(2):
        _fetch(session, file, part, bar)
        if file.is_whole(part):
            part.replace(path)
            return
        bar.update(-_size(part))
        part.unlink()
    raise CorpusError(
        f"{file.name} came twice with another checksum than its owner's, {file.checksum}, and was thrown away; "
        "try again later, or another source with --from"
    )


def _fetch(session: requests.Session, file: RemoteFile, part: Path, bar: tqdm[Any]) -> None:
    """Fetch what a part still lacks, through cut connections and busy servers."""
    part.touch()
    furthest, failures = _size(part), 0
    while _size(part) < file.size:
        fault: requests.RequestException = requests.ConnectionError()  # an answer that ends too early says nothing
        try:
            _append(session, file, part, bar)
        except requests.RequestException as error:
            fault = error
        if _size(part) >= file.size:
            return
        failures = 1 if _size(part) > furthest else failures + 1
        furthest = max(furthest, _size(part))
        if failures > _RETRIES:
            kept = f"{readable(_size(part))} of {readable(file.size)} are kept"
            raise CorpusError(f"{file.name}: {_reason(file.url, fault)}; {kept}, the same command goes on from there")
        time.sleep(_pause(fault, failures))


def _append(session: requests.Session, file: RemoteFile, part: Path, bar: tqdm[Any]) -> None:
    """Add to a part what one request brings; a server that does not know ranges begins anew."""
    start = _size(part)
    headers = {"Range": f"bytes={start}-"} if start else {}
    with session.get(file.url, headers=headers, stream=True, timeout=_PATIENCE) as response, part.open("ab") as out:
        if response.status_code == 416:  # the server's file ends before our part does
            _begin_anew(out, bar)
        _check_answer(response, file)
        if start and not response.headers.get("Content-Range", "").startswith(f"bytes {start}-"):
            _begin_anew(out, bar)
        for chunk in response.iter_content(_CHUNK):
            out.write(chunk)
            bar.update(len(chunk))
            if out.tell() > file.size:  # some other file; the checksum will say so
                return


def _begin_anew(out: BinaryIO, bar: tqdm[Any]) -> None:
    bar.update(-out.tell())
    out.seek(0)
    out.truncate()


def _check_answer(response: requests.Response, file: RemoteFile) -> None:
    """Raise what another try may mend as the request's own error, all else as ours."""
    if response.status_code in _PASSING:
        response.raise_for_status()
    if response.status_code >= 400:
        raise CorpusError(f"{file.url}: the server answers {_status(response)}; try another source with --from")
    partial = response.headers.get("Content-Range")  # bytes 100-199/200
    offered = response.headers.get("Content-Length", "") if partial is None else partial.rpartition("/")[2]
    if offered.isdecimal() and int(offered) != file.size:
        raise CorpusError(
            f"{file.url}: the server offers {offered} bytes and the owner's record says {file.size}; "
            "try again later, or another source with --from"
        )


def _read_record(url: str, read: Callable[[Any, str], list[RemoteFile]]) -> list[RemoteFile]:
    """Read a repository's description of its files."""
    if not url.startswith(_WEB):
        raise CorpusError(f"{url} is not an address that begins with http:// or https://")
    try:
        response = requests.get(url, timeout=_PATIENCE, headers={"User-Agent": _AGENT})
        response.raise_for_status()
    except requests.RequestException as error:
        raise CorpusError(f"{_reason(url, error)}, so the list of files cannot be read from {url}") from error
    try:
        files = read(response.json(), response.url)
        for file in files:
            _check(file)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise CorpusError(f"{url} does not list files with their sizes and checksums; give --from a record") from error
    return files


def _from_zenodo(record: Any, url: str) -> list[RemoteFile]:
    return [
        RemoteFile(file["key"], int(file["size"]), file["checksum"].lower(), urljoin(url, file["links"]["self"]))
        for file in record["files"]
    ]


def _from_dataverse(record: Any, url: str) -> list[RemoteFile]:
    files = []
    for entry in record["data"]["latestVersion"]["files"]:
        file = entry["dataFile"]
        if file.get("tabularData"):  # a table that Dataverse converted: its checksum is of a file that it does not send
            continue
        algorithm = file["checksum"]["type"].lower().replace("-", "")
        name = str(PurePosixPath(entry.get("directoryLabel", ""), file["filename"]))
        address = urljoin(url, f"/api/access/datafile/{file['id']}")
        files.append(
            RemoteFile(name, int(file["filesize"]), f"{algorithm}:{file['checksum']['value'].lower()}", address)
        )
    return files


def _check(file: RemoteFile) -> None:
    """Refuse a file without a known checksum or a web address, or with a name that leads out of the folder."""
    algorithm, _, digest = file.checksum.partition(":")
    if not digest or hashlib.new(algorithm, usedforsecurity=False).digest_size != len(bytes.fromhex(digest)):
        raise ValueError(f"{file.checksum} is no checksum")
    if not file.url.startswith(_WEB):
        raise ValueError(f"{file.url} is no address on the web")
    path = PurePosixPath(file.name)
    if path.is_absolute() or ".." in path.parts or "\\" in file.name or not path.name:
        raise ValueError(f"{file.name} leads out of the folder")


def _check_space(missing: Iterable[RemoteFile], folder: Path) -> None:
    needed = sum(file.size - _size(_part(file, folder)) for file in missing)
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise CorpusError(
            f"{folder} has {readable(free)} free and {readable(needed)} are needed; free some space, give a folder on "
            "another disk, or fetch less"
        )


def _part(file: RemoteFile, folder: Path) -> Path:
    return folder / f"{file.name}.{file.checksum.partition(':')[2][:8]}.part"


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _pause(error: requests.RequestException, failures: int) -> float:
    """Return how long to wait: what the server asks for, else twice as long each time."""
    asked = "" if error.response is None else error.response.headers.get("Retry-After", "")
    return min(float(asked) if asked.isdecimal() else _PAUSE * 2 ** (failures - 1), _LONGEST_PAUSE)


def _reason(url: str, error: requests.RequestException) -> str:
    host = url.partition("://")[2].partition("/")[0]
    match error:
        case requests.HTTPError(response=requests.Response() as response):
            return f"{host} answers {_status(response)}"
        case requests.Timeout():
            return f"{host} does not answer"
        case requests.exceptions.SSLError():
            return f"{host} cannot prove who it is (TLS)"
        case _:
            return f"there is no connection to {host}, or it was cut"


def _status(response: requests.Response) -> str:
    return f"{response.status_code} {response.reason}".strip()
