"""Sound of any rate, width and channel count to a mono float32 waveform."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain, groupby

import numpy as np
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from av.audio.stream import AudioStream
from av.container import InputContainer
from numpy.typing import NDArray

from mmer.media.container import Source, open_media, start

Waveform = NDArray[np.float32]
"""Mono samples, [s]; full scale is 1."""


def read_audio(source: Source, sample_rate: int) -> Waveform:
    """Decode a file's first audio stream; sample 0 is the start of the file, so that sound and frames share a clock.

    Args:
        source: The file.
        sample_rate: Rate to resample to, in Hz.

    Raises:
        ClipError: The file has no audio, is broken or truncated, lasts too long, or holds samples that are no numbers.
    """
    samples = find_audio(source, sample_rate)
    if samples is None:
        raise source.error("it has no audio stream")
    return samples


def find_audio(source: Source, sample_rate: int) -> Waveform | None:
    """Decode a file's first audio stream as :func:`read_audio` does, or return None where it has none.

    Args:
        source: The file.
        sample_rate: Rate to resample to, in Hz.

    Raises:
        ClipError: The file is broken or truncated, lasts too long, or holds samples that are no numbers.
    """
    with open_media(source) as container:
        if not container.streams.audio:
            return None
        stream = container.streams.audio[0]
        times, chunks = [0.0], [np.zeros(0, np.float32)]
        for time, chunk in _decode(container, stream, sample_rate):
            times.append(time)
            chunks.append(chunk)
            source.check_length(time)
        source.check_end(times[-1] + len(chunks[-1]) / sample_rate, _claimed_end(stream))
    samples = np.concatenate(chunks)
    _check_samples(source, samples)
    return _shift(samples, round(times[:2][-1] * sample_rate))


def _decode(container: InputContainer, stream: AudioStream, sample_rate: int) -> Iterator[tuple[float, Waveform]]:
    """Yield the time of each piece, in seconds, and its samples.

    Channels are averaged here and not by FFmpeg, whose float downmix adds 3 dB to a voice that is on both.
    """
    zero, count, first = start(container), 0, None
    for _, frames in groupby(container.decode(stream), _form):  # joined recordings may change form midway
        resampler = AudioResampler(format="fltp", rate=sample_rate)
        for frame in chain(frames, [None]):  # None flushes what the resampler holds back
            if first is None:
                first = 0.0 if frame is None or frame.time is None else float(frame.time) - zero
            for piece in resampler.resample(frame):
                samples = piece.to_ndarray().mean(axis=0, dtype=np.float32)
                yield first + count / sample_rate, samples
                count += len(samples)


def _form(frame: AudioFrame) -> tuple[str, str, int]:
    return frame.format.name, frame.layout.name, frame.sample_rate


def _claimed_end(stream: AudioStream) -> float:
    if stream.duration is None or stream.time_base is None:
        return 0.0
    return float(stream.duration * stream.time_base)


def _check_samples(source: Source, samples: Waveform) -> None:
    if len(samples) == 0:
        raise source.error("its audio stream holds no samples")
    wrong = int(np.count_nonzero(~np.isfinite(samples)))
    if wrong:
        raise source.error(f"{wrong} of {len(samples)} audio samples are not finite numbers")


def _shift(samples: Waveform, offset: int) -> Waveform:
    """Begin with silence where the sound starts late, and drop what lies before the start of the file."""
    if offset < 0:
        return samples[-offset:]
    return np.concatenate([np.zeros(offset, np.float32), samples])
