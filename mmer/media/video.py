"""Video files to upright frames with their times, converted only as far as they are looked at."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import cached_property

import cv2
import numpy as np
from av.container import InputContainer
from av.sidedata.sidedata import SideDataContainer
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream
from numpy.typing import NDArray

from mmer.media.container import Source, duration, open_media, start, video_stream

Image = NDArray[np.uint8]
"""RGB pixels, [h w 3]."""

Grey = NDArray[np.uint8]
"""Brightness, [h w]."""

_PLANAR = ("yuv420p", "yuvj420p")  # what nearly every camera writes: parts of it are cut before they are converted
_LUMA_FIRST = (*_PLANAR, "yuv422p", "yuvj422p", "yuv444p", "yuvj444p", "nv12", "gray")


class Frame:
    """One frame of a video as it is to be shown, turned and mirrored as its file says; converted when it is asked for.

    Args:
        time: Seconds from the start of the file.
        picture: The frame as it was decoded.
        converter: What turns its colours into RGB; frames of one video share it, for it keeps its tables.
    """

    def __init__(self, time: float, picture: VideoFrame, converter: VideoReformatter | None = None) -> None:
        self.time = time
        self._picture = picture
        self._converter = converter or VideoReformatter()
        self._turns, self._mirrored = _display(picture)

    @property
    def height(self) -> int:
        """Height of the upright picture, in pixels."""
        return self._picture.width if self._turns % 2 else self._picture.height

    @property
    def width(self) -> int:
        """Width of the upright picture, in pixels."""
        return self._picture.height if self._turns % 2 else self._picture.width

    @cached_property
    def image(self) -> Image:
        """The whole picture."""
        rgb = self._converter.reformat(self._picture, format="rgb24", threads=1)
        return self._upright(rgb.to_ndarray().astype(np.uint8, copy=False))

    def part(self, left: int, top: int, right: int, bottom: int, halvings: int = 0) -> Image:
        """Return a part of the picture; the rest is not converted.

        Args:
            left: First column, from 0.
            top: First row, from 0.
            right: Column behind the last one.
            bottom: Row below the last one.
            halvings: How often to halve its sides. This costs least where the part begins and ends at multiples of
                2 ** (halvings + 1).
        """
        width, height = self._picture.width, self._picture.height
        planar = self._picture.format.name in _PLANAR and width % 2 == 0 == height % 2
        if not planar or "image" in self.__dict__:
            return _halve_often(self.image[top:bottom, left:right], halvings)
        match self._turns:
            case 1:
                left, top, right, bottom = width - bottom, left, width - top, right
            case 2:
                left, top, right, bottom = width - right, height - bottom, width - left, height - top
            case 3:
                left, top, right, bottom = top, height - right, bottom, height - left
        if self._mirrored:
            left, right = width - right, width - left
        step = 2 << halvings
        if left % step or top % step or right % step or bottom % step:
            return _halve_often(self._upright(self._convert(left, top, right, bottom)), halvings)
        return self._upright(self._convert(left, top, right, bottom, halvings))

    def grey(self, longest: int) -> Grey:
        """Return the picture's brightness, reduced so that its longer side has at most so many pixels."""
        if self._picture.format.name not in _LUMA_FIRST:
            return shrink(cv2.cvtColor(self.image, cv2.COLOR_RGB2GRAY), longest)
        return self._upright(shrink(_plane(self._picture, 0), longest))

    def _convert(self, left: int, top: int, right: int, bottom: int, halvings: int = 0) -> Image:
        """Convert a part of the stored picture; it is cut at even places, for two pixels share a colour."""
        x, y, end, foot = left - left % 2, top - top % 2, right + right % 2, bottom + bottom % 2
        piece = VideoFrame((end - x) >> halvings, (foot - y) >> halvings, self._picture.format.name)
        piece.colorspace, piece.color_range = self._picture.colorspace, self._picture.color_range
        for index, step in enumerate((1, 2, 2)):
            rows, columns = slice(y // step, foot // step), slice(x // step, end // step)
            # each plane is halved by itself: a third of the work in RGB, and colours as fine as a JPEG keeps them
            _plane(piece, index)[:] = _halve_often(_plane(self._picture, index)[rows, columns], halvings)
        # its own threads would wait for each other longer than they work
        pixels = self._converter.reformat(piece, format="rgb24", threads=1).to_ndarray().astype(np.uint8, copy=False)
        return pixels[top - y : bottom - y, left - x : right - x] if halvings == 0 else pixels

    def _upright(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        if not self._turns and not self._mirrored:
            return pixels
        return np.ascontiguousarray(np.rot90(pixels[:, ::-1] if self._mirrored else pixels, self._turns))


def read_video(source: Source, threads: int = 1) -> Iterator[Frame]:
    """Decode a file's frames in order, one at a time, so that memory does not grow with the clip.

    Args:
        source: The file.
        threads: Threads that decode; one wastes no time where several clips are read at once, 0 takes all cores.

    Raises:
        ClipError: The file has no video, is broken or truncated, or lasts too long.
    """
    with open_media(source) as container:
        stream = video_stream(container)
        if stream is None:
            raise source.error("it has no video stream")
        end = 0.0
        for frame in _decode(container, stream, threads):
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


def shrink(pixels: NDArray[np.uint8], longest: int) -> NDArray[np.uint8]:
    """Shrink a picture so that its longer side has at most so many pixels."""
    while max(pixels.shape[:2]) >= 2 * longest:
        pixels = _halve(pixels)
    scale = longest / max(pixels.shape[:2])
    if scale >= 1:
        return pixels
    height, width = (max(1, round(scale * side)) for side in pixels.shape[:2])
    shrunk: NDArray[np.uint8] = cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA)
    return shrunk


def _halve(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Average blocks of 2x2 pixels, many times as fast as a reduction by any other factor; odd edges are dropped."""
    height, width = (max(1, side // 2) for side in pixels.shape[:2])
    halved: NDArray[np.uint8] = cv2.resize(
        pixels[: 2 * height, : 2 * width], (width, height), interpolation=cv2.INTER_AREA
    )
    return halved


def _halve_often(pixels: NDArray[np.uint8], times: int) -> NDArray[np.uint8]:
    for _ in range(times):
        pixels = _halve(pixels)
    return pixels


def _decode(container: InputContainer, stream: VideoStream, threads: int) -> Iterator[Frame]:
    stream.codec_context.thread_count = threads
    stream.thread_type = "AUTO"
    step = 1 / float(stream.average_rate or 25)
    zero, time, converter = start(container), -step, VideoReformatter()
    for picture in container.decode(stream):
        # some encoders leave frames without a time stamp: those follow at the average rate
        time = time + step if picture.time is None else float(picture.time) - zero
        yield Frame(time, picture, converter)


def _display(picture: VideoFrame) -> tuple[int, bool]:
    """Return how often a picture is turned to the left to be shown, and whether its sides are exchanged before."""
    try:  # not ``picture.side_data``, which the picture keeps: the two would hold each other in memory
        matrix = SideDataContainer(picture).get("DISPLAYMATRIX")  # type: ignore[call-arg]
    except ValueError:  # PyAV fails over kinds of data that it does not know, as the EXIF of a photo
        return round(picture.rotation / 90) % 4, False
    if matrix is None:
        return 0, False
    a, b, _, c, d = np.frombuffer(bytes(matrix), np.int32)[:5].tolist()
    if a * d == b * c:  # some programs write zeros
        return 0, False
    mirrored = a * d < b * c
    return (round(-2 * math.atan2(b, a) / math.pi) + 2 * mirrored) % 4, mirrored


def _plane(picture: VideoFrame, index: int) -> NDArray[np.uint8]:
    """Return a plane of a decoded frame without copying it."""
    plane = picture.planes[index]
    rows: NDArray[np.uint8] = np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)
    return rows[: plane.height, : plane.width]


def _claimed_end(container: InputContainer, stream: VideoStream) -> float:
    if stream.duration is not None and stream.time_base is not None:
        return float(stream.duration * stream.time_base)
    return 0.0 if container.streams.audio else duration(container)
