"""One preparer to a prepared folder, and one way of preparing it: a cache is never a mixture."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from mmer import __version__
from mmer.config import PrepareConfig
from mmer.data.alone import alone, is_taken
from mmer.data.store import PLACES, Settings, changes, read_settings, write_settings
from mmer.errors import CorpusError
from mmer.media.faces.weights import fetch
from mmer.media.versions import media_versions

_LEFTOVER = re.compile(r"\.(prepare|manifest|skipped|faces)\.\d+\.(json|csv|png)")


@dataclass(frozen=True, slots=True)
class Claim:
    """A prepared folder that this process alone may write to.

    Args:
        root: The folder.
        config: How its clips are prepared.
        versions: With what, by library; several where it was begun with others.
        warnings: What a human should know of that, each one line.
    """

    root: Path
    config: PrepareConfig
    versions: tuple[Mapping[str, str], ...]
    warnings: tuple[str, ...]

    def finish(self, sources: str, counts: Mapping[str, int]) -> None:
        """Write down what the folder was made of and what it holds, and remove what a killed preparer left."""
        write_settings(self.root, self.config, self.versions, sources, counts)
        _sweep(self.root)


@contextmanager
def claim(root: Path, config: PrepareConfig) -> Iterator[Claim]:
    """Make a prepared folder, or go on with one, and keep other preparers out; a killed one keeps nobody out.

    Raises:
        CorpusError: The folder holds other things, was prepared with other settings, or is being prepared.
    """
    _check(root, config)
    with alone(root, "preparing"):
        before = _check(root, config)  # again: it may have changed before the lock was ours
        _sweep(root)
        begun = _begin(root, config, before)
        (root / "clips").mkdir(exist_ok=True)  # after the settings: a folder with clips and no settings is not ours
        yield begun


def _check(root: Path, config: PrepareConfig) -> Settings | None:
    if (root / PLACES).is_file():
        raise CorpusError(f"{root} holds shards; prepare into another folder, and write shards from that: mmer shards")
    before = read_settings(root)
    if before is None:
        if is_taken(root):
            raise CorpusError(f"{root} exists and is not a prepared folder; choose an empty or a new one")
    elif before.config != config:
        raise CorpusError(
            f"{root} was prepared with {changes(before.config, config)}; use the same settings, or another folder"
        )
    return before


def _begin(root: Path, config: PrepareConfig, before: Settings | None) -> Claim:
    """Write the settings and versions before the first clip, so that no clip is without."""
    now = versions(config)
    if before is None:
        write_settings(root, config, [now])
        return Claim(root, config, (now,), ())
    if now in before.versions:
        return Claim(root, config, before.versions, ())
    both = (*before.versions, now)
    write_settings(root, config, both, before.sources, before.counts)
    return Claim(root, config, both, tuple(_differences(before.versions, now)))


def _differences(before: tuple[Mapping[str, str], ...], now: Mapping[str, str]) -> Iterator[str]:
    if before:
        last = before[-1]
        names = sorted(name for name in last.keys() | now.keys() if last.get(name) != now.get(name))
        changed = ", ".join(f"{name} {last.get(name, 'none')} (now {now.get(name, 'none')})" for name in names)
        yield f"the folder was begun with {changed}: its clips may differ slightly; both are in prepare.json"


def versions(config: PrepareConfig) -> dict[str, str]:
    """Return the versions of all that shapes a prepared clip; a network's is the checksum of its file."""
    found = {"mmer": __version__, **media_versions()}
    if config.detector == "dlib":
        found["dlib"] = str(import_module("dlib").__version__)
    if config.detector_model is not None:
        found["detector_model"] = hashlib.sha256(fetch(config.detector_model)).hexdigest()
    if config.transcripts == "whisper":
        found["faster-whisper"] = _package_version("faster-whisper")
    return found


def _package_version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:  # a copy without its package's own record
        return "unknown"


def _sweep(root: Path) -> None:
    """Remove the temporary files of a preparer that was killed; the lock says that no other is at work."""
    for path in root.glob(".*"):
        if _LEFTOVER.fullmatch(path.name):
            path.unlink(missing_ok=True)
    for path in (root / "clips").glob(".*.npz"):
        path.unlink(missing_ok=True)
