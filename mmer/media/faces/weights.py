"""The model file of a detector: a path, or a URL that is fetched once and kept."""

from __future__ import annotations

import hashlib
import re
from http.client import HTTPException
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

from mmer.atomic import replacing
from mmer.cache import cached
from mmer.errors import ConfigError

_TIMEOUT = 30  # seconds without an answer
_LARGEST = 1 << 28  # bytes; YuNet has a quarter of a million


def fetch(name: str) -> bytes:
    """Return the bytes of a model file.

    Args:
        name: A path or a URL. ``#sha256=`` and 64 hexadecimal digits behind it say what the file must be; a URL has to
            have them, and is fetched only where the cache folder does not hold the file yet. That is the platform's,
            or what the environment variable ``MMER_CACHE`` names.

    Raises:
        ConfigError: The file is missing, cannot be fetched or kept, or is not what its checksum says.
    """
    place, promised = _split(name)
    if not re.match(r"https?://", place):
        return _checked(_read(Path(place).expanduser()), promised, place)
    if promised is None:
        raise ConfigError(f"detector_model={place} has no checksum; write #sha256= and the file's 64 digits behind it")
    kept = cached("models") / f"{promised}.onnx"
    if kept.is_file() and hashlib.sha256(data := kept.read_bytes()).hexdigest() == promised:
        return data
    data = _checked(_download(place), promised, place)
    try:
        kept.parent.mkdir(parents=True, exist_ok=True)
        with replacing(kept) as temporary:
            temporary.write_bytes(data)
    except OSError as error:
        raise ConfigError(
            f"detector_model={place} cannot be kept in {kept.parent} ({error.strerror}); "
            "set MMER_CACHE to a folder that you may write to"
        ) from error
    return data


def _split(name: str) -> tuple[str, str | None]:
    """Part the name of a file and its promised checksum."""
    place, mark, digits = name.partition("#sha256=")
    if not mark:
        return place, None
    if not re.fullmatch("[0-9a-fA-F]{64}", digits):
        raise ConfigError(f"detector_model={name} has a checksum that is not 64 hexadecimal digits; copy it whole")
    return place, digits.lower()


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(
            f"detector_model={path} cannot be read ({error.strerror}); give the path of YuNet's ONNX file, "
            "or its URL with its checksum, as https://host/yunet.onnx#sha256=0f2e..."
        ) from error


def _download(url: str) -> bytes:
    try:
        with urlopen(url, timeout=_TIMEOUT) as answer:
            data: bytes = answer.read(_LARGEST)
            expected = answer.headers.get("Content-Length")
    except HTTPError as error:
        error.close()
        raise _unfetched(url, error) from error
    except (OSError, HTTPException, ValueError) as error:
        raise _unfetched(url, getattr(error, "reason", error)) from error
    if expected is not None and len(data) < int(expected):
        raise ConfigError(f"detector_model={url} broke off after {len(data)} of {expected} bytes; try again")
    return data


def _unfetched(url: str, reason: object) -> ConfigError:
    return ConfigError(f"detector_model={url} cannot be fetched ({reason}); fetch it elsewhere and give its path")


def _checked(data: bytes, promised: str | None, place: str) -> bytes:
    found = hashlib.sha256(data).hexdigest()
    if promised not in (None, found):
        raise ConfigError(
            f"detector_model={place} has the checksum {found} and not {promised}; it is another file: "
            "correct the checksum or the place"
        )
    return data
