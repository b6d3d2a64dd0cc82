"""Open a media file so that whatever is wrong with it becomes one :class:`~mmer.errors.ClipError`."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import av
import av.logging
from av.container import InputContainer
from av.stream import Disposition
from av.video.stream import VideoStream

from mmer.errors import ClipError
from mmer.media.files import IMAGE_SUFFIXES, is_packed, open_binary

av.logging.set_level(None)  # what matters arrives as an exception; a level of PyAV's deadlocks with decoder threads

_STREAMED_RIFF = 0x7FFF0000  # bytes; larger sizes are written by programs that did not know the size yet
_RIFF_SLACK = 64  # bytes; some programs count the header twice, or a last byte that only pads


@dataclass(frozen=True, slots=True)
class Source:
    """A media file that belongs to a clip.

    Args:
        key: The clip's key, for error messages.
        path: The file.
        max_seconds: Longest duration that is accepted, in seconds.
    """

    key: str
    path: Path
    max_seconds: float = 120.0

    def error(self, reason: str) -> ClipError:
        """Return the error that says what is wrong with this file."""
        return ClipError(self.key, self.path, reason)

    def check_length(self, seconds: float) -> None:
        """Refuse what lasts longer than is accepted."""
        if seconds > self.max_seconds:
            raise self.error(
                f"it lasts {seconds:.0f} s and a clip may last {self.max_seconds:.0f} s; cut it into clips"
            )

    def check_end(self, end: float, expected: float) -> None:
        """Refuse a file that stops well before its header says: it was truncated.

        Headers round and estimate, so a tenth and half a second are forgiven.
        """
        if end < 0.9 * expected - 0.5:
            raise self.error(f"it stops at {end:.1f} s of {expected:.1f} s; the file is truncated")


@contextmanager
def open_media(source: Source) -> Iterator[InputContainer]:
    """Open a file for reading.

    Raises:
        ClipError: The file is missing, empty or no media file, lasts too long, or breaks while it is read.
    """
    try:
        _check_place(source)
        with open_binary(source.path) as file:
            _check_whole(source, file)
            with av.open(_for_ffmpeg(source.path, file), "r") as container:
                if not container.streams:
                    raise source.error("it cannot be read as media: there is no stream in it")
                source.check_length(duration(container))
                yield container
    except (av.FFmpegError, OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise source.error(f"it cannot be read as media: {reason}") from error


def video_stream(container: InputContainer) -> VideoStream | None:
    """Return the first moving picture of a file; the cover of a sound file is none."""
    moving = (s for s in container.streams.video if not s.disposition & Disposition.attached_pic)
    return next(moving, None)


def duration(container: InputContainer) -> float:
    """Return the duration that a file's header claims, in seconds; 0 where it claims none."""
    return (container.duration or 0) / av.time_base


def start(container: InputContainer) -> float:
    """Return the time of a file's first sample of any kind, in seconds: the zero of its clip."""
    return (container.start_time or 0) / av.time_base


def _for_ffmpeg(path: Path, file: BinaryIO) -> str | BinaryIO:
    """Return what FFmpeg opens: a plain file by its name, which is quickest; what is packed as the open file.

    So is a picture, for in its name FFmpeg would take ``%03d`` for the pattern of a series.
    """
    if is_packed(path) or path.suffix.lower() in IMAGE_SUFFIXES:
        return file
    return str(path.absolute())  # absolute, for FFmpeg takes the "12" of "12:30.mp4" for a protocol


def _check_place(source: Source) -> None:
    if is_packed(source.path):
        return  # an archive says itself what it lacks
    if not source.path.exists():
        raise source.error("the file does not exist")
    if not source.path.is_file():
        raise source.error("it is not a file")


def _check_whole(source: Source, file: BinaryIO) -> None:
    """Refuse a file that is empty or shorter than its own headers claim, and go back to its start."""
    size = file.seek(0, os.SEEK_END)
    if size == 0:
        raise source.error("the file is empty (0 bytes)")
    claimed = _claimed_size(file)
    if size < claimed:
        raise source.error(f"it ends after {size} of {claimed} bytes; the file is truncated")
    if not _jpeg_ends(file):
        raise source.error("its picture has no end; the file is truncated")
    file.seek(0)


def _claimed_size(file: BinaryIO) -> int:
    """Return the least size that fits what a file's own headers claim, in bytes; 0 where they claim none.

    FFmpeg reads a truncated wav or avi file, or an mp4 file whose index is cut off, as a shorter one.
    """
    file.seek(0)
    head = file.read(8)
    if head[:4] == b"RIFF":
        claimed = 8 + int.from_bytes(head[4:], "little")
        return 0 if claimed > _STREAMED_RIFF else claimed - _RIFF_SLACK
    return _last_box_end(file) if head[4:] == b"ftyp" else 0


def _jpeg_ends(file: BinaryIO) -> bool:
    """Tell whether a JPEG has its end mark behind its last scan; FFmpeg fills a truncated one with grey."""
    file.seek(0)
    if file.read(3) != b"\xff\xd8\xff":
        return True
    data = file.read()
    return data.rfind(b"\xff\xd9") > data.rfind(b"\xff\xda")


def _last_box_end(file: BinaryIO) -> int:
    """Return where the last of an mp4 file's top-level boxes ends."""
    end = 0
    while True:
        file.seek(end)
        head = file.read(16)
        size = int.from_bytes(head[:4], "big")
        if size == 1:  # the real size follows
            size = int.from_bytes(head[8:], "big")
        if len(head) < 8 or size < 8 or not head[4:8].isalnum():  # the end, a box up to the end, or no box
            return end
        end += size
