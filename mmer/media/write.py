"""Arrays to a media file: the demo corpus, the tests' small clips and exported overlays are written here.

A file appears under its name only when it is complete. Its bytes depend on the arrays and the settings alone: one
encoder thread, and no dates or library versions in the file.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.audio.stream import AudioStream
from av.container import OutputContainer
from av.packet import Packet
from av.video.stream import VideoStream
from numpy.typing import NDArray

from mmer.atomic import replacing
from mmer.errors import ConfigError

_CHUNK = 1 << 14  # samples handed to the encoder at once where no frame sets the pace
_ENCODER_OPTIONS = {
    "libx264": {"preset": "veryfast", "crf": "23", "mbtree": "0"},  # mbtree gives other bytes from run to run
    "aac": {"aac_coder": "fast"},
}


def write_clip(
    path: Path,
    frames: Iterable[NDArray[np.uint8]] | None,
    *,
    fps: int = 25,
    samples: NDArray[np.float32] | None = None,
    sample_rate: int = 48_000,
    video_codec: str = "libx264",
    audio_codec: str = "aac",
) -> None:
    """Write frames, a mono waveform or both to one file; the suffix chooses the container.

    The file is written beside its final name and moved there at the end, so a reader never sees half of it.

    Args:
        path: Where the file goes; its folder must exist. ``.mp4`` suits the default codecs, ``.wav`` the pcm ones.
        frames: RGB frames [h w 3], even in both sides, read one by one; None writes sound alone.
        fps: Frames per second.
        samples: Mono waveform [s] in [-1, 1], louder values are clipped; None writes no sound.
        sample_rate: Samples per second (Hz).
        video_codec: FFmpeg's name of the video encoder.
        audio_codec: FFmpeg's name of the audio encoder: aac, pcm_s16le, pcm_s24le, pcm_f32le, ...

    Raises:
        ConfigError: Nothing to write, an array of a wrong shape or type, or a suffix or codec that cannot be written.
    """
    if frames is None and samples is None:
        raise ConfigError(f"{path.name}: neither frames nor samples were given; give at least one of them")
    pictures = None if frames is None else _checked_frames(frames, path.name)
    wave = None if samples is None else _checked_samples(samples, path.name)
    with replacing(path) as part, _open(part, path.name) as container:
        first = None if pictures is None else next(pictures)
        video = None if first is None else _open_video(container, first.shape, fps, video_codec)
        audio = None if wave is None else _open_audio(container, sample_rate, audio_codec)
        for packets in _encode(video, audio, chain([first], pictures or ()), wave):
            container.mux(packets)


def _open(part: Path, name: str) -> OutputContainer:
    """Open the temporary file for writing, without dates or versions in its header."""
    try:
        return av.open(str(part), "w", container_options={"fflags": "+bitexact"})
    except ValueError:
        known = "use .mp4, .mkv, .webm or .wav"
        raise ConfigError(f"{name}: no container has the suffix '{part.suffix}'; {known}") from None


def _checked_frames(frames: Iterable[NDArray[np.uint8]], name: str) -> Iterator[NDArray[np.uint8]]:
    """Yield the frames, refusing what the encoder would garble."""
    size = None
    for frame in frames:
        size = size or frame.shape
        even = frame.ndim == 3 and frame.shape[2] == 3 and frame.shape[0] % 2 == 0 == frame.shape[1] % 2
        if frame.dtype != np.uint8 or not even or frame.shape != size:
            given = f"a {frame.dtype} frame of shape {list(frame.shape)} was given"
            raise ConfigError(f"{name}: {given}; give uint8 frames [h w 3], all of one even height and width")
        yield frame
    if size is None:
        raise ConfigError(f"{name}: an empty sequence of frames was given; give at least one frame, or None")


def _checked_samples(samples: NDArray[np.float32], name: str) -> NDArray[np.float32]:
    """Clip the waveform to [-1, 1] as one row [1 s], refusing other shapes and values that are not finite."""
    if samples.ndim != 1 or samples.dtype != np.float32 or not len(samples) or not np.isfinite(samples).all():
        given = f"{samples.dtype} samples of shape {list(samples.shape)} were given"
        raise ConfigError(f"{name}: {given}; give finite float32 samples [s], at least one")
    return np.clip(samples, -1.0, 1.0)[None]


def _add_stream(container: OutputContainer, codec: str, rate: int) -> VideoStream | AudioStream:
    """Add one single-threaded, bit-exact stream."""
    try:
        stream = container.add_stream(codec, rate=rate, options=dict(_ENCODER_OPTIONS.get(codec, {})))
    except ValueError as error:
        name = container.format.name
        raise ConfigError(f"codec '{codec}' cannot be written to {name} ({error}); choose one that it takes") from None
    assert isinstance(stream, VideoStream | AudioStream)
    stream.codec_context.thread_count = 1
    stream.codec_context.flags |= int(av.codec.context.Flags.bitexact)
    return stream


def _open_video(container: OutputContainer, shape: tuple[int, ...], fps: int, codec: str) -> VideoStream:
    """Add the video stream: yuv420p, frames of ``shape`` [h w 3]."""
    stream = _add_stream(container, codec, fps)
    assert isinstance(stream, VideoStream)
    stream.height, stream.width, stream.pix_fmt = shape[0], shape[1], "yuv420p"
    return stream


def _open_audio(container: OutputContainer, sample_rate: int, codec: str) -> AudioStream:
    """Add the audio stream: mono, in the encoder's own sample format."""
    stream = _add_stream(container, codec, sample_rate)
    assert isinstance(stream, AudioStream)
    formats = stream.codec_context.codec.audio_formats
    stream.codec_context.layout = "mono"
    stream.codec_context.format = formats[0] if formats else "fltp"
    return stream


def _encode_samples(stream: AudioStream, row: NDArray[np.float32], start: int) -> Sequence[Packet[Any]]:
    """Encode one stretch [1 s] of the waveform that begins at sample ``start``."""
    frame = av.AudioFrame.from_ndarray(row, format="fltp", layout="mono")
    frame.sample_rate, frame.pts, frame.time_base = stream.rate, start, Fraction(1, stream.rate)
    return stream.encode(frame)


def _encode(
    video: VideoStream | None,
    audio: AudioStream | None,
    frames: Iterable[NDArray[np.uint8] | None],
    wave: NDArray[np.float32] | None,
) -> Iterator[Sequence[Packet[Any]]]:
    """Yield packets, sound following the picture so that neither waits in memory for the other."""
    done = 0
    for index, image in enumerate(frames):
        if video is None or image is None:
            break
        frame = av.VideoFrame.from_ndarray(image, format="rgb24")
        frame.pts, frame.time_base = index, 1 / Fraction(video.codec_context.framerate)
        yield video.encode(frame)
        if audio is not None and wave is not None:
            due = int((index + 1) * audio.rate * frame.time_base)
            yield _encode_samples(audio, wave[:, done:due], done) if due > done < wave.shape[1] else []
            done = due
    if audio is not None and wave is not None:
        for start in range(done, wave.shape[1], _CHUNK):
            yield _encode_samples(audio, wave[:, start : start + _CHUNK], start)
    for stream in (video, audio):
        yield [] if stream is None else stream.encode(None)
