"""A prepared clip: what stands between raw files and training.

It is one ``.npz`` file, uncompressed and written under a temporary name, so that it exists whole or not at all:

- ``about``: JSON in bytes: sample rate, source, picture size, words;
- ``frames``: of every video frame the time, the bytes and CRC-32 of its face's JPEG, and its place in the picture;
- ``jpeg``: the JPEGs one after the other; training reads 16 of a hundred and leaves the rest on the disk;
- ``audio``: the waveform;
- ``features.NAME``: precomputed streams.

``docs/containers.md`` says why it is JPEG.
"""

from __future__ import annotations

import io
import json
import mmap
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO, cast
from zipfile import ZIP_STORED, BadZipFile, ZipFile
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from mmer.atomic import replacing
from mmer.errors import ClipError
from mmer.media.jpeg import decode_jpeg

_REACH = 0.5  # seconds that a face stands for
_ABOUT = ("sample_rate", "source", "height", "width", "text")
_FRAME = np.dtype([("time", "<f8"), ("size", "<i8"), ("sum", "<u4"), ("box", "<f4", 4)])
_STREAM = "features."
_LOCAL = struct.Struct("<26xHH")  # of a file in a zip: the lengths of its name and its extra field, which follow
_HEADER = struct.Struct("<8xH")  # of an array: the length of the description that follows


@dataclass(frozen=True, slots=True)
class PreparedClip:
    """A clip as models read it.

    Args:
        times: Time of every video frame, in seconds, [n]; empty without video.
        sizes: Bytes of every frame's JPEG, [n]; 0 where no face was found.
        jpeg: The JPEGs one after the other.
        audio: Mono waveform, [s], or None without sound.
        sample_rate: Its rate, in Hz.
        source: What the clip was made of: the checksums of its files.
        boxes: Where each frame's face lies in the upright picture, [n 4]: its centre x and y and its side in pixels,
            its roll in radians; not finite where there is no face, and empty where nobody kept them.
        height: Height of that picture, in pixels; 0 where it is unknown.
        width: Its width.
        text: The words, or None where nobody knows them.
        features: Precomputed streams by name, each [t f].
        unheard: Samples of a sound that was not read, for it belongs to the clip's length.
        sums: CRC-32 of every frame's JPEG, [n], where the frames lie in a file; empty where they need no check.
        key: The clip's key, for errors.
        path: The file that it was read from, or None.
    """

    times: NDArray[np.float64]
    sizes: NDArray[np.int64]
    jpeg: NDArray[np.uint8]
    audio: NDArray[np.float32] | None
    sample_rate: int
    source: str = ""
    boxes: NDArray[np.float32] = field(default_factory=lambda: np.zeros((0, 4), np.float32))
    height: int = 0
    width: int = 0
    text: str | None = None
    features: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)
    unheard: int = 0
    sums: NDArray[np.uint32] = field(default_factory=lambda: np.zeros(0, np.uint32))
    key: str = ""
    path: Path | None = None

    @classmethod
    def empty(cls, sample_rate: int = 16_000, text: str | None = None) -> PreparedClip:
        """Return a clip without video and sound, as a row of text alone has no file."""
        return cls(np.zeros(0), np.zeros(0, np.int64), np.zeros(0, np.uint8), None, sample_rate, text=text)

    @property
    def has_video(self) -> bool:
        """Whether any frame shows a face."""
        return bool(self.sizes.any())

    @property
    def seconds(self) -> float:
        """Duration of what lasts longer, the frames or the sound."""
        count = len(self.times)
        frames = float(self.times[-1] - self.times[0]) * count / (count - 1) if count > 1 else 0.0
        sound = self.unheard if self.audio is None else len(self.audio)
        return max(frames, sound / self.sample_rate)

    @property
    def face_share(self) -> float:
        """Share of the frames that show a face; 0 without video."""
        return float(np.count_nonzero(self.sizes) / max(len(self.sizes), 1))

    def frames_at(self, times: NDArray[np.float64], out: NDArray[np.uint8] | None = None) -> NDArray[np.uint8] | None:
        """Return the frames nearest to some times among those that show a face, [t h w 3].

        None says that at more than half of the times the picture shows no face, and none for ``_REACH`` around: a
        frozen face would pretend that it is not missing.

        Args:
            times: The times, in seconds.
            out: Where to decode the frames, [t h w 3], instead of into a new array.

        Raises:
            ClipError: A frame is damaged, or of another size than ``out``.
        """
        faces = np.flatnonzero(self.sizes)
        if not len(faces):
            return None
        distance = np.abs(self.times[faces, None] - times)
        shown = self.sizes[np.abs(self.times[:, None] - times).argmin(axis=0)] > 0
        if np.mean(shown | (distance.min(axis=0) <= _REACH)) < 0.5:
            return None
        chosen, places = np.unique(faces[distance.argmin(axis=0)], return_inverse=True)
        images = self._decode(chosen, None if out is None else out[: len(chosen)])
        return images if len(chosen) == len(times) else np.take(images, places, axis=0, out=out)  # which buffers

    def _decode(self, chosen: NDArray[np.intp], images: NDArray[np.uint8] | None) -> NDArray[np.uint8]:
        """Return some frames, in order, [t h w 3]; what was read from a file is checked."""
        ends = np.cumsum(self.sizes)
        try:
            for place, i in enumerate(chosen.tolist()):
                data = self.jpeg[ends[i] - self.sizes[i] : ends[i]]
                if len(self.sums) and crc32(data.data) != self.sums[i]:
                    raise ValueError(f"the checksum of frame {i} is wrong")
                image = decode_jpeg(data)
                if images is None:  # one array to fill: sixteen new ones at a time cost more than the decoding
                    images = np.empty((len(chosen), *image.shape), np.uint8)
                images[place] = image
        except ValueError as error:
            raise _unreadable(self.key, self.path, error) from error
        assert images is not None, "a time has a nearest frame"
        return images

    def save(self, path: Path) -> None:
        """Write the clip; the file appears whole or not at all."""
        about = {name: getattr(self, name) for name in _ABOUT}
        arrays: dict[str, Any] = {
            "about": np.frombuffer(json.dumps(about).encode(), np.uint8),
            "frames": self._table(),
            "jpeg": self.jpeg,
        }
        if self.audio is not None:
            arrays["audio"] = self.audio
        arrays |= {f"{_STREAM}{name}": np.ascontiguousarray(self.features[name]) for name in sorted(self.features)}
        with replacing(path) as temporary, temporary.open("wb") as file:
            np.savez(file, **arrays)

    def _table(self) -> NDArray[Any]:
        table = np.zeros(len(self.times), _FRAME)
        ends = np.cumsum(self.sizes)
        table["time"], table["size"] = self.times, self.sizes
        table["sum"] = [crc32(self.jpeg[end - size : end].data) for end, size in zip(ends, self.sizes, strict=True)]
        table["box"] = self.boxes if len(self.boxes) else np.nan
        return table

    @classmethod
    def load(cls, path: Path, key: str, modalities: Sequence[str] | None = None) -> PreparedClip:
        """Read a clip, or as much of it as a model reads.

        Args:
            path: Its file.
            key: Its key, for errors.
            modalities: What to read: ``video``, ``audio``, ``text`` and feature streams by their names; what the clip
                lacks is passed over. The frames stay on the disk and are read and checked as they are asked for. None
                reads everything, and checks every byte.

        Raises:
            ClipError: The file is missing or damaged.
        """
        try:
            with path.open("rb") as file:
                stored = _Stored(file)
            return cls._of(stored, key, path, modalities)
        except (OSError, ValueError, KeyError, struct.error, BadZipFile) as error:
            raise _unreadable(key, path, error) from error

    @classmethod
    def read(cls, data: memoryview, key: str, path: Path, modalities: Sequence[str] | None = None) -> PreparedClip:
        """Read a clip of a shard, as :meth:`load` reads a file of its own.

        Args:
            data: The bytes of its file; frames stay where they are and are read as they are asked for.
            key: Its key, for errors.
            path: The shard, for errors.
            modalities: What to read; None reads everything, and checks every byte.

        Raises:
            ClipError: The bytes are damaged.
        """
        try:
            with _View(data) as file:
                stored = _Stored(file, data)
            return cls._of(stored, key, path, modalities)
        except (ValueError, KeyError, struct.error, BadZipFile) as error:
            raise _unreadable(key, path, error) from error

    @classmethod
    def _of(cls, stored: _Stored, key: str, path: Path, modalities: Sequence[str] | None) -> PreparedClip:
        streams = [name.removeprefix(_STREAM) for name in stored.names if name.startswith(_STREAM)]
        wanted = {"video", "audio", "text", *streams} if modalities is None else set(modalities)
        about, table = json.loads(stored.read("about").tobytes()), stored.read("frames")
        video: dict[str, Any] = {"sizes": np.zeros(len(table), np.int64), "jpeg": np.zeros(0, np.uint8)}
        if "video" in wanted:
            jpeg = stored.read("jpeg") if modalities is None else stored.view("jpeg")
            video = {"sizes": table["size"].copy(), "jpeg": jpeg, "sums": table["sum"], "boxes": table["box"]}
        found = {name: stored.read(f"{_STREAM}{name}") for name in streams if name in wanted}
        spans = bool(found) and "audio" in stored.names and "audio" not in wanted
        return cls(
            **{**about, "text": about["text"] if "text" in wanted else None},
            **video,
            times=table["time"].copy(),
            audio=stored.read("audio") if "audio" in wanted and "audio" in stored.names else None,
            features=found,
            unheard=stored.shape("audio")[0] if spans else 0,  # features span the whole clip
            key=key,
            path=path,
        )


class _Stored:
    """The arrays of an uncompressed ``.npz`` file, each read alone and where it lies.

    ``numpy.load`` would read all of the frames to give a part of them.

    Args:
        file: The file.
        data: Its bytes, where they are at hand; None maps the file.
    """

    def __init__(self, file: BinaryIO | _View, data: memoryview | None = None) -> None:
        with ZipFile(cast(BinaryIO, file)) as archive:
            self.names = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
        self.data = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)) if data is None else data

    def read(self, name: str) -> NDArray[Any]:
        """Return an array in memory of its own, after a check of all its bytes."""
        data = self._bytes(name)
        if crc32(data) != self.names[name].CRC:
            raise ValueError(f"the checksum of {name!r} is wrong")
        start = _header_length(data)
        shape, dtype = _parse_header(bytes(data[:start]))
        return np.frombuffer(data, dtype, offset=start).reshape(shape).copy()

    def view(self, name: str) -> NDArray[np.uint8]:
        """Return an array of bytes that stays on the disk until it is looked at; nothing is checked."""
        data = self._bytes(name)
        return np.frombuffer(data, np.uint8, offset=_header_length(data))

    def shape(self, name: str) -> tuple[int, ...]:
        """Return the shape of an array, and read no more."""
        data = self._bytes(name)
        return _parse_header(bytes(data[: _header_length(data)]))[0]

    def _bytes(self, name: str) -> memoryview:
        info = self.names[name]
        start = info.header_offset + _LOCAL.size + sum(_LOCAL.unpack_from(self.data, info.header_offset))
        data = self.data[start : start + info.file_size]
        if info.compress_type != ZIP_STORED or len(data) != info.file_size:
            raise ValueError(f"{name!r} is compressed or cut off")
        return data


class _View(io.RawIOBase):
    """Bytes in memory as a file, of which nothing is copied but what is read; ``io.BytesIO`` would copy all.

    Args:
        data: The bytes.
    """

    def __init__(self, data: memoryview) -> None:
        super().__init__()
        self.data, self.place = data, 0

    def seekable(self) -> bool:
        """Tell that any place can be read."""
        return True

    def readable(self) -> bool:
        """Tell that it can be read."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a place."""
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self.place, io.SEEK_END: len(self.data)}[whence]
        if start + offset < 0:
            raise ValueError(f"{start + offset} is before the beginning")
        self.place = start + offset
        return self.place

    def read(self, size: int | None = -1) -> bytes:
        """Read from the place on."""
        end = len(self.data) if size is None or size < 0 else self.place + size
        found = bytes(self.data[self.place : end])
        self.place += len(found)
        return found


def _header_length(data: memoryview) -> int:
    """Return where the values of an array begin in its ``.npy`` file, of version 1 as ``savez`` writes ours."""
    (length,) = _HEADER.unpack_from(data)
    return int(length) + _HEADER.size


@lru_cache(maxsize=1024)  # many clips are as long as others
def _parse_header(header: bytes) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Return the shape and the type of the values that follow a header."""
    file = io.BytesIO(header)
    np.lib.format.read_magic(file)
    shape, fortran, dtype = np.lib.format.read_array_header_1_0(file)
    if fortran:
        raise ValueError("an array is stored by columns")
    return shape, dtype


def _unreadable(key: str, path: Path | None, error: Exception) -> ClipError:
    """Return the error of a prepared clip that is missing or damaged."""
    shard = path is not None and path.suffix == ".tar"
    remedy = "delete the shard, and write or fetch it again" if shard else "delete it and prepare again"
    return ClipError(key, path, f"the prepared clip is unreadable ({error}); {remedy}")
