"""A video to its face: found, followed, cut out and compressed in one pass."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from mmer.config import PrepareConfig
from mmer.media.container import Source
from mmer.media.faces.boxes import Box, Boxes, FaceStatistics, measure_faces
from mmer.media.faces.cut import centre_box, cut, is_blank
from mmer.media.faces.detectors import FaceDetector
from mmer.media.faces.follow import Follower
from mmer.media.faces.look import Search
from mmer.media.jpeg import encode_jpeg
from mmer.media.video import Frame, read_video

Jpeg = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class FaceClip:
    """The face of a video, frame by frame.

    Args:
        times: Seconds of every frame, [n].
        boxes: Its place in every frame.
        sizes: Bytes of every frame's JPEG, [n]; 0 where no face was found.
        jpeg: The JPEGs one after the other.
        height: Height of the upright video, in pixels.
        width: Its width.
    """

    times: NDArray[np.float64]
    boxes: Boxes
    sizes: NDArray[np.int64]
    jpeg: Jpeg
    height: int
    width: int

    @property
    def statistics(self) -> FaceStatistics:
        """How well the face was found."""
        return measure_faces(self.boxes, self.height)


def read_faces(source: Source, config: PrepareConfig, detect: FaceDetector | None, threads: int = 1) -> FaceClip:
    """Cut the main face out of a video.

    Args:
        source: The file.
        config: How to find it and to store it.
        detect: What ``build_detector`` made of the settings; None takes the middle of every frame that is not black.
        threads: Threads that decode; 0 takes all cores.

    Raises:
        ClipError: The file has no video, is broken or truncated, lasts too long, or shows no face.
    """
    notes = _Notes()
    frames = notes.taken(read_video(source, threads))
    found = _middles(frames, config) if detect is None else _follow(frames, config, detect)
    if not notes.times:
        raise source.error("its video stream holds no frames")
    if not found:
        faces = "clips that are faces already want prepare --detector none"
        advice = "every frame is black" if detect is None else faces
        raise source.error(f"no face in any of {len(notes.times)} frames; {advice}")
    return _join(notes, found)


class _Notes:
    """The times and the extent of a video's frames, taken down as they pass."""

    def __init__(self) -> None:
        self.times: list[float] = []
        self.height = self.width = 0

    def taken(self, frames: Iterable[Frame]) -> Iterator[Frame]:
        for frame in frames:
            if not self.times:
                self.height, self.width = frame.height, frame.width
            self.times.append(frame.time)
            yield frame


_Found = dict[int, tuple[Box, Jpeg]]


def _follow(frames: Iterable[Frame], config: PrepareConfig, detect: FaceDetector) -> _Found:
    look = Search(detect, config.detect_size, config.align)

    def make(frame: Frame, box: Box) -> Jpeg:
        upright = box if config.align else replace(box, roll=None)
        return encode_jpeg(cut(frame, upright, config.margin, config.size), config.quality)

    return Follower(look, config.detect_every, make).follow(frames)


def _middles(frames: Iterable[Frame], config: PrepareConfig) -> _Found:
    """Take the middle of every frame: for clips that are faces already."""
    found = {}
    for index, frame in enumerate(frames):
        if not is_blank(frame.image):
            box = centre_box(frame)
            found[index] = (box, encode_jpeg(cut(frame, box, 0.0, config.size), config.quality))
    return found


def _join(notes: _Notes, found: _Found) -> FaceClip:
    count = len(notes.times)
    boxes, sizes = np.full((count, 4), np.nan, np.float32), np.zeros(count, np.int64)
    for index, (box, data) in found.items():
        boxes[index], sizes[index] = (box.x, box.y, box.side, box.roll or 0.0), len(data)
    jpeg = np.concatenate([found[index][1] for index in sorted(found)])
    return FaceClip(np.array(notes.times), boxes, sizes, jpeg, notes.height, notes.width)
