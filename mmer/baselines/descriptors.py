"""Descriptors of a sound: short-term over 50 ms, mid-term over 1 s, and one vector of the whole clip.

The scheme is pyAudioAnalysis's (Giannakopoulos 2015, doi:10.1371/journal.pone.0144610); librosa does the counting.
"""

from __future__ import annotations

from typing import Literal

import librosa
import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float32]

DescriptorSet = Literal["mfcc", "voice"]
"""Which descriptors: the 13 MFCC alone, or all that are counted here."""

WINDOW = 0.05
"""Length of a short-term window, in seconds."""

HOP = 0.025
"""From one short-term window to the next, in seconds."""

MID_TERM = 1.0
"""Length of a mid-term window, in seconds; a clip is cut into equal ones of about this length."""

_MELS = 40  # bands, from which the MFCC and the flux come
_MFCC = 13
_CHROMA = 12
_LOWEST_BAND, _BANDS = 200.0, 6  # of the spectral contrast: the lowest band's end in Hz, and octaves above it

SHORT_TERM = (
    *("zero_crossing", "energy", "centroid", "bandwidth", "rolloff", "flatness", "flux"),
    *(f"contrast_{i}" for i in range(_BANDS + 1)),
    *(f"chroma_{i}" for i in range(_CHROMA)),
    *(f"mfcc_{i}" for i in range(_MFCC)),
)
"""The short-term descriptors, in order."""

CLIP = tuple(
    f"{name} {kind}"
    for kind in ("mean", "deviation")
    for name in (*SHORT_TERM, *(f"change of {name}" for name in SHORT_TERM))
)
"""The descriptors of a whole clip, in order."""

TRIM = 25.0
"""Below the loudest window by so many dB lies the silence that is cut off before and behind the voice."""


def describe_steps(samples: NDArray[np.float32], rate: int, which: DescriptorSet = "voice") -> Values:
    """Return the short-term descriptors of a sound, [t d], a step every 25 ms.

    Every window lies inside the sound, so that nothing depends on what would be around it; a sound that is shorter than
    one window is filled up with silence.

    Args:
        samples: The waveform, [s].
        rate: Its rate, in Hz.
        which: Which descriptors.
    """
    window, hop = round(WINDOW * rate), round(HOP * rate)
    y = np.pad(samples, (0, max(0, window - len(samples))))
    magnitude = np.abs(librosa.stft(y, n_fft=window, hop_length=hop, center=False))
    mel = librosa.power_to_db(
        librosa.feature.melspectrogram(S=magnitude**2, sr=rate, n_fft=window, n_mels=_MELS), top_db=None
    )
    mfcc = librosa.feature.mfcc(S=mel, n_mfcc=_MFCC)
    if which == "mfcc":
        return np.ascontiguousarray(mfcc.T, np.float32)
    feature = librosa.feature
    rows = [
        feature.zero_crossing_rate(y, frame_length=window, hop_length=hop, center=False),
        librosa.amplitude_to_db(feature.rms(S=magnitude, frame_length=window), ref=1.0, top_db=None),
        feature.spectral_centroid(S=magnitude, sr=rate, n_fft=window),
        feature.spectral_bandwidth(S=magnitude, sr=rate, n_fft=window),
        feature.spectral_rolloff(S=magnitude, sr=rate, n_fft=window),
        librosa.power_to_db(feature.spectral_flatness(S=magnitude), top_db=None),
        librosa.onset.onset_strength(S=mel, sr=rate, center=False)[None],
        _contrast(magnitude, rate, window),
        feature.chroma_stft(S=magnitude**2, sr=rate, n_fft=window, n_chroma=_CHROMA, tuning=0.0),
        mfcc,
    ]
    return np.ascontiguousarray(np.concatenate(rows).T, np.float32)


def describe_clip(samples: NDArray[np.float32], rate: int) -> Values:
    """Return one vector of a sound, [4 d]: mean and deviation of its mid-term windows, averaged over them.

    The silence before and behind the voice is cut off, and each step is described with its change since the last one.

    Args:
        samples: The waveform, [s].
        rate: Its rate, in Hz.
    """
    voice, _ = librosa.effects.trim(
        samples, top_db=TRIM, frame_length=round(WINDOW * rate), hop_length=round(HOP * rate)
    )
    steps = describe_steps(voice, rate)
    steps = np.concatenate([steps, np.diff(steps, axis=0, prepend=steps[:1])], axis=1)
    windows = np.array_split(steps, max(1, round(len(steps) * HOP / MID_TERM)))
    each = [np.concatenate([window.mean(axis=0), window.std(axis=0)]) for window in windows]
    return np.asarray(np.mean(each, axis=0, dtype=np.float64), np.float32)


def _contrast(magnitude: Values, rate: int, window: int) -> NDArray[np.float64]:
    """Return the spectral contrast, [7 t]; bands above what the rate can hold are zero."""
    bands = max(1, min(_BANDS, int(np.log2(rate / 2 / _LOWEST_BAND))))
    found = librosa.feature.spectral_contrast(S=magnitude, sr=rate, n_fft=window, fmin=_LOWEST_BAND, n_bands=bands)
    return np.asarray(np.pad(found, ((0, _BANDS - bands), (0, 0))), np.float64)
