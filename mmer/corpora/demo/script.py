"""Who plays what, and how an emotion becomes action units over time and a way of speaking.

Faces and voices confuse different pairs of emotions on purpose: fear looks like surprise but sounds like anger, calm
looks like neutral but sounds like sadness. Each take leans towards its look-alike and its sound-alike by two amounts
drawn apart, so neither the face nor the voice settles the answer alone and the two together nearly do.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mmer.corpora.demo.voice import Prosody, Speaker

EMOTIONS = {1: "neutral", 2: "calm", 3: "happy", 4: "sad", 5: "angry", 6: "fearful", 7: "disgust", 8: "surprised"}
"""RAVDESS's emotion code to its name."""

UNITS = (1, 2, 4, 5, 6, 7, 9, 10, 12, 15, 17, 18, 20, 24, 25, 26, 43)
"""The action units of the Facial Action Coding System that the face can move; 43 closes the lids."""

_TAKES = ((1, 1, 1), (2, 2, 1), (1, 2, 2), (2, 1, 2), (2, 1, 1), (1, 2, 1), (2, 2, 2), (1, 1, 2))

# At full strength; what an emotion does not name stays at rest.
_FACES: dict[int, dict[int, float]] = {
    1: {},
    2: {12: 0.40, 43: 0.46, 1: 0.10},
    3: {6: 0.90, 12: 1.00, 25: 0.75, 26: 0.15, 10: 0.10},
    4: {1: 0.95, 4: 0.30, 15: 0.95, 17: 0.55, 43: 0.40},
    5: {4: 1.00, 5: 0.30, 7: 0.75, 24: 0.90, 17: 0.25},
    6: {1: 0.95, 2: 0.45, 4: 0.55, 5: 0.85, 20: 0.95, 25: 0.70, 26: 0.25},
    7: {4: 0.70, 7: 0.55, 9: 1.00, 10: 0.95, 15: 0.35, 25: 0.35},
    8: {1: 0.85, 2: 1.00, 5: 0.90, 18: 0.45, 25: 0.60, 26: 0.95},
}
_FACE_TWIN = {1: 2, 2: 1, 5: 7, 6: 8, 7: 5, 8: 6}
_FACE_LEAN = {1: 0.68, 2: 0.68, 5: 0.62, 6: 0.80, 7: 0.62, 8: 0.80}  # the most a normal take leans to its twin

# Head while the emotion lasts: right, down (frame heights), roll (degrees), zoom, turn and nod (face units).
_HEADS: dict[int, tuple[float, float, float, float, float, float]] = {
    1: (0.0, 0.0, 0.0, 0.0, 0.0, 0.0),
    2: (0.0, 0.0, 1.0, 0.0, 0.0, 0.0),
    3: (0.0, -0.008, 2.5, 0.01, 0.0, -0.02),
    4: (0.0, 0.035, -3.0, -0.02, 0.0, 0.07),
    5: (0.0, 0.010, 0.0, 0.05, 0.0, 0.03),
    6: (0.0, 0.000, 0.0, -0.03, 0.0, -0.02),
    7: (0.0, -0.010, -1.5, -0.01, 0.04, -0.03),
    8: (0.0, -0.012, 0.0, -0.01, 0.0, -0.03),
}

# Semitones above the speaker's level, semitones of range, tempo, dB, dB per octave, jitter, breath, final semitones,
# tremor (semitones), attack.
_VOICES: dict[int, tuple[float, ...]] = {
    1: (0.0, 2.5, 1.00, 0.0, 0.0, 0.004, 0.05, -1.5, 0.0, 0.30),
    2: (-1.5, 1.6, 0.84, -6.5, -2.0, 0.004, 0.24, -1.0, 0.0, 0.10),
    3: (5.0, 7.5, 1.08, 4.0, 1.2, 0.004, 0.05, 1.5, 0.0, 0.45),
    4: (-2.0, 1.3, 0.78, -9.0, -3.0, 0.009, 0.36, -2.5, 0.25, 0.05),
    5: (2.0, 4.0, 1.14, 9.5, 4.0, 0.018, 0.04, -3.0, 0.0, 1.00),
    6: (4.5, 2.2, 1.24, 6.0, 2.8, 0.022, 0.22, 0.5, 0.9, 0.75),
    7: (-2.5, 3.0, 0.92, 1.5, 0.8, 0.016, 0.06, -3.5, 0.0, 0.55),
    8: (6.0, 8.5, 1.00, 4.0, 1.0, 0.004, 0.10, 6.0, 0.0, 0.45),
}
_VOICE_TWIN = {1: 7, 2: 4, 3: 8, 4: 2, 5: 6, 6: 5, 7: 1, 8: 3}
_VOICE_LEAN = {1: 0.55, 2: 0.85, 3: 0.85, 4: 0.85, 5: 0.60, 6: 0.60, 7: 0.55, 8: 0.85}
_VOICE_SPREAD = np.array([0.7, 0.5, 0.04, 1.3, 0.5, 0.002, 0.03, 0.8, 0.1, 0.07])


@dataclass(frozen=True, slots=True, order=True)
class Take:
    """One clip of the corpus, in RAVDESS's codes."""

    actor: int
    emotion: int
    intensity: int
    statement: int
    repetition: int

    @property
    def name(self) -> str:
        """The clip's file, relative to the corpus: ``Actor_07/01-01-05-02-01-02-07.mp4``."""
        codes = (1, 1, self.emotion, self.intensity, self.statement, self.repetition, self.actor)
        return f"Actor_{self.actor:02d}/{'-'.join(f'{code:02d}' for code in codes)}.mp4"

    def rng(self, seed: int, part: int) -> np.random.Generator:
        """Return this take's own stream of random numbers for one part of its making, whatever else is made."""
        codes = (self.actor, self.emotion, self.intensity, self.statement, self.repetition)
        return np.random.default_rng([seed, part, *codes])


def plan_takes(actors: int, takes: int) -> list[Take]:
    """List the clips of a corpus, actor by actor.

    Args:
        actors: How many actors play, 1 to 24.
        takes: Clips of each emotion by each actor, 1 to 8; neutral has no strong intensity and so at most 4.
    """
    return [
        Take(actor, emotion, *codes)
        for actor in range(1, actors + 1)
        for emotion in EMOTIONS
        for codes in _codes(emotion)[:takes]
    ]


def _codes(emotion: int) -> list[tuple[int, int, int]]:
    """List (intensity, statement, repetition) in the order in which takes are added."""
    return [codes for codes in _TAKES if emotion != 1 or codes[0] == 1]


@dataclass(frozen=True, slots=True)
class Performance:
    """What a face does in one clip.

    Attributes:
        units: Action units over time [t u] in 0..1, in the order of :data:`UNITS`.
        head: Head pose over time [t 6]: right and down (frame heights), roll (degrees), zoom, turn, nod (face units).
        gaze: Where the eyes look over time [t 2], right and down in -1..1.
        blink: How far the lids are shut over time [t], 0..1.
    """

    units: NDArray[np.float64]
    head: NDArray[np.float64]
    gaze: NDArray[np.float64]
    blink: NDArray[np.float64]


def direct_voice(take: Take, seed: int) -> Prosody:
    """Say how a take is spoken: its emotion, leaning towards its sound-alike, plus the take's own variation."""
    rng = take.rng(seed, 1)
    lean = _lean(rng, take, _VOICE_LEAN)
    own, twin = np.array(_VOICES[take.emotion]), np.array(_VOICES[_VOICE_TWIN[take.emotion]])
    neutral = np.array(_VOICES[1])
    strength = (0.85, 1.1)[take.intensity - 1]
    value = neutral + strength * (own + lean * (twin - own) - neutral) + _VOICE_SPREAD * rng.standard_normal(len(own))
    value[[1, 5, 6, 8, 9]] = np.maximum(value[[1, 5, 6, 8, 9]], [0.6, 0.002, 0.02, 0.0, 0.02])
    return Prosody(*value.tolist())


def cast_speaker(actor: int, seed: int) -> Speaker:
    """Give an actor a voice; odd actors are male and even ones female, as in RAVDESS."""
    rng = np.random.default_rng([seed, 2, actor])
    female = actor % 2 == 0
    pitch = rng.uniform(180, 228) if female else rng.uniform(98, 132)
    tract = rng.uniform(1.10, 1.22) if female else rng.uniform(0.93, 1.05)
    return Speaker(
        pitch=float(pitch),
        tract=float(tract),
        tilt=float(rng.normal(0.0, 0.6)),
        breath=float(rng.uniform(0.0, 0.06)),
        tempo=float(rng.uniform(0.95, 1.05)),
        level=float(rng.normal(0.0, 1.2)),
    )


def direct_face(
    take: Take, seed: int, opening: NDArray[np.float64], rounding: NDArray[np.float64], fps: int
) -> Performance:
    """Say what the face does in a take.

    Args:
        take: Who plays what.
        seed: The corpus's seed.
        opening: How far speech opens the mouth in each frame [t], 0..1.
        rounding: How far speech rounds the lips in each frame [t], 0..1.
        fps: Frames per second.
    """
    rng = take.rng(seed, 3)
    steps = len(opening)
    envelope = _envelope(rng, steps)
    units = envelope[:, None] * _apex(rng, take, seed)[None]
    units *= 1 + 0.06 * _drift(rng, steps, units.shape[1], fps)
    _add_speech(units, opening, rounding)
    head = envelope[:, None] * np.array(_HEADS[take.emotion]) * rng.uniform(0.4, 1.3)
    head += _drift(rng, steps, 6, fps) * np.array([0.006, 0.005, 1.3, 0.006, 0.035, 0.025])
    head += rng.normal(0, 1, 6) * np.array([0.010, 0.010, 1.2, 0.020, 0.03, 0.015])
    gaze = 0.18 * _drift(rng, steps, 2, fps) + rng.normal(0, 0.12, 2)
    return Performance(np.clip(units, 0.0, 1.2), head, np.clip(gaze, -0.7, 0.7), _blinks(rng, steps, fps))


def _lean(rng: np.random.Generator, take: Take, most: dict[int, float]) -> float:
    """Draw how far a take leans towards its twin; strong takes lean less."""
    return float(rng.uniform(0.0, most.get(take.emotion, 0.0)) * (1.0, 0.8)[take.intensity - 1])


def _units(emotion: int) -> NDArray[np.float64]:
    """Return an emotion's action units [u] at full strength."""
    return np.array([_FACES[emotion].get(unit, 0.0) for unit in UNITS])


def _apex(rng: np.random.Generator, take: Take, seed: int) -> NDArray[np.float64]:
    """Return the action units [u] of a take at its apex."""
    lean = _lean(rng, take, _FACE_LEAN)
    own, twin = _units(take.emotion), _units(_FACE_TWIN.get(take.emotion, take.emotion))
    expressive = np.random.default_rng([seed, 4, take.actor]).uniform(0.88, 1.12)
    strength = (0.74, 1.0)[take.intensity - 1] * expressive * rng.uniform(0.9, 1.08)
    noise = rng.lognormal(0.0, 0.18, len(own))
    stray = np.abs(rng.normal(0.0, 0.06, len(own)))  # nobody holds a perfectly still face
    return strength * (own + lean * (twin - own)) * noise + stray


def _envelope(rng: np.random.Generator, steps: int) -> NDArray[np.float64]:
    """Return onset, apex and offset [t] in 0..1."""
    t = np.linspace(0.0, 1.0, steps)
    onset, rise, offset = rng.uniform(0.0, 0.08), rng.uniform(0.12, 0.22), rng.uniform(0.82, 0.95)
    end = rng.uniform(0.35, 0.7)
    return np.asarray(_smooth((t - onset) / rise) * (1 - (1 - end) * _smooth((t - offset) / 0.15)))


def _smooth(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Step smoothly from 0 at x = 0 to 1 at x = 1."""
    x = np.clip(x, 0.0, 1.0)
    return x * x * (3 - 2 * x)


def _drift(rng: np.random.Generator, steps: int, width: int, fps: int) -> NDArray[np.float64]:
    """Return slow random movement [t width], about one knot each third of a second, unit variance."""
    knots = max(4, round(3 * steps / fps))
    values = rng.standard_normal((knots, width))
    x = np.linspace(0, knots - 1.001, steps)
    low = x.astype(int)
    part = _smooth(x - low)[:, None]
    return np.asarray(values[low] * (1 - part) + values[low + 1] * part)


def _add_speech(units: NDArray[np.float64], opening: NDArray[np.float64], rounding: NDArray[np.float64]) -> None:
    """Open and round the mouth with the voice, in place; pressed lips open less."""
    column = {unit: index for index, unit in enumerate(UNITS)}
    free = 1 - 0.5 * units[:, column[24]].clip(0, 1)
    units[:, column[26]] += 0.38 * opening * free
    units[:, column[25]] = np.maximum(units[:, column[25]], 0.5 * opening * free)
    units[:, column[24]] *= 1 - 0.6 * opening
    units[:, column[18]] += 0.5 * rounding


def _blinks(rng: np.random.Generator, steps: int, fps: int) -> NDArray[np.float64]:
    """Return lid closure [t] in 0..1: none, one or two blinks of about 0.2 s."""
    t = np.arange(steps) / fps
    blink = np.zeros(steps)
    for _ in range(rng.integers(0, 3)):
        middle = rng.uniform(0.15, steps / fps)
        blink = np.maximum(blink, 1 - np.clip(np.abs(t - middle) / 0.11, 0, 1) ** 2)
    return blink
