"""Speak one of two sentences by source-filter synthesis.

A glottal wave runs through vowel formants that glide from phone to phone; breath and fricatives are filtered noise.
Pitch, tempo, loudness, spectral tilt, jitter, breath and tremor come from the emotion and the speaker.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

SAMPLE_RATE = 48_000
"""Samples per second (Hz) of every voice."""

_WINDOW, _HOP = 1024, 256  # 21 ms and 5 ms: formants stand still within a window
_LEAD, _TAIL = 0.22, 0.28  # seconds of silence around the sentence
_SPEECH = 1.72  # seconds of either sentence at tempo 1
_REFERENCE = 0.055  # the root mean square of neutral speech


@dataclass(frozen=True, slots=True)
class Prosody:
    """How a sentence is spoken.

    Attributes:
        level: Pitch above the speaker's own, in semitones.
        span: Pitch movement within the sentence, in semitones.
        tempo: Speed as a factor.
        energy: Loudness in dB above neutral.
        tilt: Brightness in dB per octave above neutral.
        jitter: Irregularity of the pitch from cycle to cycle, as a share of it.
        breath: Breath noise relative to the voice, 0..1.
        final: Pitch movement on the last syllable, in semitones.
        tremor: Depth of a 6.5 Hz tremor, in semitones.
        attack: How hard syllables start, 0..1.
    """

    level: float
    span: float
    tempo: float
    energy: float
    tilt: float
    jitter: float
    breath: float
    final: float
    tremor: float
    attack: float


@dataclass(frozen=True, slots=True)
class Speaker:
    """A voice at rest.

    Attributes:
        pitch: Mean fundamental frequency in Hz.
        tract: Formants relative to an average man's, as a factor.
        tilt: Brightness in dB per octave.
        breath: Breath noise that is always there, 0..1.
        tempo: Speed as a factor.
        level: Recording level in dB.
    """

    pitch: float
    tract: float
    tilt: float
    breath: float
    tempo: float
    level: float


@dataclass(frozen=True, slots=True)
class Speech:
    """A spoken sentence.

    Attributes:
        samples: Mono waveform [s] at :data:`SAMPLE_RATE` in [-1, 1].
        opening: How far the mouth is open in each video frame [t], 0..1.
        rounding: How far the lips are rounded in each video frame [t], 0..1.
    """

    samples: NDArray[np.float32]
    opening: NDArray[np.float64]
    rounding: NDArray[np.float64]


# Phone: relative length, voicing, noise, noise centre (Hz), F1, F2, F3 (Hz), mouth opening, lip rounding.
_PHONES: dict[str, tuple[float, ...]] = {
    "_": (0.4, 0.00, 0.00, 2000, 500, 1500, 2500, 0.00, 0.0),
    "k": (0.7, 0.00, 0.35, 2300, 350, 1900, 2500, 0.25, 0.0),
    "t": (0.7, 0.00, 0.40, 4500, 350, 1750, 2600, 0.20, 0.0),
    "d": (0.6, 0.30, 0.15, 4000, 320, 1700, 2600, 0.20, 0.0),
    "b": (0.6, 0.30, 0.05, 900, 280, 900, 2300, 0.00, 0.1),
    "g": (0.6, 0.30, 0.10, 2000, 300, 1700, 2300, 0.25, 0.0),
    "s": (0.9, 0.00, 0.55, 6500, 350, 1700, 2600, 0.15, 0.0),
    "z": (0.7, 0.45, 0.30, 6000, 320, 1650, 2550, 0.15, 0.0),
    "dh": (0.5, 0.55, 0.12, 5000, 320, 1350, 2500, 0.20, 0.0),
    "ng": (0.8, 0.60, 0.00, 2000, 300, 1900, 2700, 0.25, 0.0),
    "l": (0.6, 0.75, 0.00, 2000, 380, 1100, 2600, 0.35, 0.1),
    "r": (0.8, 0.80, 0.00, 2000, 450, 1250, 1650, 0.35, 0.4),
    "i": (1.1, 0.95, 0.00, 2000, 390, 2000, 2600, 0.40, 0.0),
    "a": (1.5, 1.00, 0.00, 2000, 730, 1150, 2450, 1.00, 0.0),
    "o": (1.5, 1.00, 0.00, 2000, 590, 880, 2450, 0.85, 0.8),
    "e": (0.7, 0.90, 0.00, 2000, 520, 1500, 2450, 0.45, 0.0),
}
_SENTENCES = {
    1: "k i d z _ a r t o k i ng _ b a i dh e d o r",
    2: "d o g z _ a r s i t i ng _ b a i dh e d o r",
}
"""Kids are talking by the door; dogs are sitting by the door."""
_BANDWIDTHS = np.array([80.0, 110.0, 160.0, 250.0])


def speak(statement: int, prosody: Prosody, speaker: Speaker, rng: np.random.Generator, fps: int) -> Speech:
    """Speak a sentence with background noise, as long as a whole number of video frames.

    Args:
        statement: 1 or 2, RAVDESS's two sentences.
        prosody: How it is spoken.
        speaker: Who speaks.
        rng: Draws rhythm, pitch contour, irregularities and noise.
        fps: Video frames per second.
    """
    times, phones = _time_phones(statement, prosody, speaker, rng)
    frames = int(np.ceil((times[-1] + _TAIL) * fps))
    length = frames * SAMPLE_RATE // fps
    track = _glide(phones, times, np.arange(0, length + _HOP, _HOP) / SAMPLE_RATE)
    pitch = _pitch(times, prosody, speaker, rng, length)
    voice = _filter(_glottal(pitch, prosody, rng), rng.standard_normal(length), track, prosody, speaker)
    voice *= _syllable_gain(phones, times, prosody, rng, length)
    samples = _level(voice, prosody, speaker)
    samples += _background(rng, length, samples)
    mouth = _glide(phones, times, (np.arange(frames) + 0.5) / fps, width=0.05)
    return Speech(np.clip(samples, -0.99, 0.99).astype(np.float32), mouth[:, 7], mouth[:, 8])


def _time_phones(
    statement: int, prosody: Prosody, speaker: Speaker, rng: np.random.Generator
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the phones' boundaries in seconds [p + 1] and their table rows [p 9]."""
    phones = np.array([_PHONES[name] for name in _SENTENCES[statement].split()])
    lengths = phones[:, 0] * rng.lognormal(0.0, 0.10, len(phones))
    lengths[-3:] *= 1.25  # the last syllable of a sentence is drawn out
    lengths *= _SPEECH / (prosody.tempo * speaker.tempo) / lengths.sum()
    return _LEAD + np.concatenate([[0.0], np.cumsum(lengths)]), phones


def _glide(
    phones: NDArray[np.float64], times: NDArray[np.float64], at: NDArray[np.float64], width: float = 0.03
) -> NDArray[np.float64]:
    """Return the phones' values at the given times [t 9], gliding over about ``width`` seconds at each boundary."""
    silence = np.array(_PHONES["_"])
    rows = np.vstack([silence, phones, silence])
    steps = np.diff(rows, axis=0)  # one step at each boundary
    share = 1 / (1 + np.exp(np.clip(-(at[:, None] - times[None]) * 4 / width, -50, 50)))
    return np.asarray(rows[0] + share @ steps)


def _pitch(
    times: NDArray[np.float64], prosody: Prosody, speaker: Speaker, rng: np.random.Generator, length: int
) -> NDArray[np.float64]:
    """Return the fundamental frequency in Hz of every sample [s]."""
    start, end = times[0], times[-1]
    knots = np.linspace(start, end, 8)  # about one accent for each syllable
    accents = prosody.span * 0.5 * np.array([0.7, -0.6, 0.9, -0.8, 0.8, -0.9, 0.6, -0.5])
    accents = accents * rng.uniform(0.6, 1.3, 8) - 0.35 * prosody.span * np.linspace(-0.5, 0.5, 8)
    accents[-1] += prosody.final
    coarse = np.arange(0, length + 240, 240) / SAMPLE_RATE  # 5 ms
    contour = prosody.level + np.interp(coarse, knots, accents)
    contour = np.convolve(np.pad(contour, 10, mode="edge"), np.hanning(23)[1:-1] / np.hanning(23).sum(), "valid")
    contour += prosody.tremor * np.sin(2 * np.pi * 6.5 * coarse + rng.uniform(0, 6))
    contour += 12 * np.log2(1 + prosody.jitter * rng.standard_normal(len(coarse)).clip(-3, 3))
    semitones = np.interp(np.arange(length) / SAMPLE_RATE, coarse, contour)
    return np.asarray(speaker.pitch * 2 ** (semitones / 12))


def _glottal(pitch: NDArray[np.float64], prosody: Prosody, rng: np.random.Generator) -> NDArray[np.float64]:
    """Return a band-limited glottal wave [s]: one period in a table, read at the pitch, with shimmer."""
    harmonics = np.arange(1, int(9000 / pitch.max()) + 1)
    phase = np.linspace(0, 1, 2049)
    table = (np.cos(2 * np.pi * phase[:, None] * harmonics - 0.6 * harmonics**0.5) / harmonics).sum(axis=1)
    cycles = np.cumsum(pitch) / SAMPLE_RATE
    wave = np.interp(cycles % 1.0, phase, table)
    shimmer = rng.standard_normal(int(cycles[-1]) + 2).clip(-2.5, 2.5)
    return np.asarray(wave * (1 + 6 * prosody.jitter * shimmer[cycles.astype(int)]))


def _filter(
    wave: NDArray[np.float64],
    noise: NDArray[np.float64],
    track: NDArray[np.float64],
    prosody: Prosody,
    speaker: Speaker,
) -> NDArray[np.float64]:
    """Shape the glottal wave and the noise [s] by the phones' spectra over time."""
    hertz = np.arange(_WINDOW // 2 + 1, dtype=np.float64) * (SAMPLE_RATE / _WINDOW)
    octaves = np.log2(np.maximum(hertz, 150.0) / 500.0)
    tilt = 10 ** ((prosody.tilt + speaker.tilt) * octaves / 20) * (hertz > 60)
    formants = _formant_gain(hertz, track[:, 4:7] * speaker.tract, speaker) * tilt
    breath = min(prosody.breath + speaker.breath, 0.6)
    voiced = track[:, 1:2]
    centre = track[:, 3:4] * speaker.tract**0.5
    fricative = track[:, 2:3] * np.exp(-(((hertz - centre) / (0.35 * centre)) ** 2)) * 10 ** (prosody.tilt * 0.1)
    spectra = _stft(wave) * (voiced * formants * (1 - 0.7 * breath))
    spectra += _stft(noise) * (0.35 * breath * voiced * formants + 0.30 * fricative)
    return _overlap_add(spectra, len(wave))


def _formant_gain(hertz: NDArray[np.float64], centres: NDArray[np.float64], speaker: Speaker) -> NDArray[np.float64]:
    """Return the vocal tract's gain [t f]: a sum of resonances, the fourth one fixed."""
    fourth = np.full((len(centres), 1), 3500.0 * speaker.tract)
    peaks = np.concatenate([centres, fourth], axis=1)[:, :, None]
    resonances = 1 / (1 + ((hertz - peaks) / _BANDWIDTHS[:, None]) ** 2) ** 0.75
    weights = np.array([1.0, 0.75, 0.5, 0.3])[:, None]
    return np.asarray((weights * resonances).sum(axis=1) + 0.015)


def _stft(wave: NDArray[np.float64]) -> NDArray[np.complex128]:
    """Return windowed spectra [t f], one each hop."""
    padded = np.pad(wave, (_WINDOW // 2, _WINDOW))
    windows = np.lib.stride_tricks.sliding_window_view(padded, _WINDOW)[: len(wave) + _HOP : _HOP]
    return np.asarray(np.fft.rfft(windows * np.hanning(_WINDOW + 1)[:-1], axis=1))


def _overlap_add(spectra: NDArray[np.complex128], length: int) -> NDArray[np.float64]:
    """Turn spectra [t f] back into a waveform [length]."""
    pieces = np.fft.irfft(spectra, n=_WINDOW, axis=1) * 0.5  # four Hann windows add up to 2
    blocks = pieces.reshape(len(pieces), _WINDOW // _HOP, _HOP)
    sums = np.zeros((len(pieces) + _WINDOW // _HOP - 1, _HOP))
    for shift in range(_WINDOW // _HOP):
        sums[shift : shift + len(pieces)] += blocks[:, shift]
    return sums.reshape(-1)[_WINDOW // 2 : _WINDOW // 2 + length]


def _syllable_gain(
    phones: NDArray[np.float64], times: NDArray[np.float64], prosody: Prosody, rng: np.random.Generator, length: int
) -> NDArray[np.float64]:
    """Return a gain [s]: hard attacks stress the start of every vowel, soft ones leave it flat."""
    at = np.arange(0, length + 240, 240) / SAMPLE_RATE
    gain = np.ones(len(at))
    for index in np.flatnonzero(phones[:, 1] >= 0.9):
        age = np.clip((at - times[index]) / (times[index + 1] - times[index]), 0, 4)
        gain += prosody.attack * rng.uniform(0.8, 1.6) * (age > 0) * np.exp(-((age - 0.3) ** 2) / 0.15)
    gain *= 1 - 0.25 * np.clip((at - times[0]) / (times[-1] - times[0]), 0, 1)
    return np.interp(np.arange(length) / SAMPLE_RATE, at, gain)


def _level(voice: NDArray[np.float64], prosody: Prosody, speaker: Speaker) -> NDArray[np.float64]:
    """Set the loudness: the root mean square of the whole clip, then a soft limiter."""
    rms = float(np.sqrt(np.mean(voice**2)))
    scaled = voice * (_REFERENCE / rms) * 10 ** ((prosody.energy + speaker.level) / 20)
    return np.asarray(np.tanh(scaled))


def _background(rng: np.random.Generator, length: int, samples: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return room noise [s], 20 to 30 dB below the voice, darker in some takes than in others."""
    spectrum = np.fft.rfft(rng.standard_normal(length))
    hertz = np.fft.rfftfreq(length, 1 / SAMPLE_RATE)
    noise = np.fft.irfft(spectrum / np.maximum(hertz, 40.0) ** rng.uniform(0.3, 0.9), n=length)
    ratio = 10 ** (-rng.uniform(20.0, 30.0) / 20)
    return np.asarray(noise * (ratio * np.sqrt(np.mean(samples**2) / np.mean(noise**2))))
