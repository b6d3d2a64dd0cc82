"""Video files to upright RGB frames with their times."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from numpy.typing import NDArray

from mmer.media.container import Source, duration, open_media, start, video_stream

Image = NDArray[np.uint8]
"""RGB pixels, [h w 3]."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame of a video.

    Args:
        time: Seconds from the start of the file.
        image: The pixels, upright whatever the rotation flag says.
    """

    time: float
    image: Image


def read_video(source: Source) -> Iterator[Frame]:
    """Decode a file's frames in order, one at a time, so that memory does not grow with the clip.

    Raises:
        ClipError: The file has no video, is broken or truncated, or lasts too long.
    """
    with open_media(source) as container:
        stream = video_stream(container)
        if stream is None:
            raise source.error("it has no video stream")
        end = 0.0
        for frame in _decode(container, stream):
            end = frame.time
            source.check_length(end)
            yield frame
        source.check_end(end, _claimed_end(container, stream))


def has_video(source: Source) -> bool:
    """Tell whether a file has a video stream.

    Raises:
        ClipError: The file cannot be opened.
    """
    with open_media(source) as container:
        return video_stream(container) is not None


def _decode(container: InputContainer, stream: VideoStream) -> Iterator[Frame]:
    stream.thread_type = "AUTO"
    step = 1 / float(stream.average_rate or 25)
    zero, time = start(container), -step
    for frame in container.decode(stream):
        # some encoders leave frames without a time stamp: those follow at the average rate
        time = time + step if frame.time is None else float(frame.time) - zero
        yield Frame(time, _upright(frame))


def _upright(frame: VideoFrame) -> Image:
    """Return RGB pixels turned by the frame's display matrix; its angle is counter-clockwise, as is ``rot90``."""
    image = frame.to_ndarray(format="rgb24").astype(np.uint8, copy=False)
    turns = round(frame.rotation / 90) % 4
    return np.ascontiguousarray(np.rot90(image, turns)) if turns else image


def _claimed_end(container: InputContainer, stream: VideoStream) -> float:
    if stream.duration is not None and stream.time_base is not None:
        return float(stream.duration * stream.time_base)
    return 0.0 if container.streams.audio else duration(container)
