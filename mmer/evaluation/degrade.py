"""Clips made worse: how much noise, darkness and loss a model bears."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b

import cv2
import numpy as np
import torch
from jaxtyping import Bool, UInt8
from numpy.random import Generator
from numpy.typing import NDArray
from torch import Tensor

from mmer.batch import Batch
from mmer.config import Modality
from mmer.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Degradation:
    """One way of making clips worse, at several levels.

    What is drawn at random depends on the clip, on which of its windows it is, and on the kind alone: neither on the
    clips beside it nor on the level, so that a higher level is the same harm and more of it.

    Args:
        kind: What is done, as ``audio_noise``.
        modality: What it is done to; nothing else of a clip changes.
        unit: What the level counts.
        levels: The levels that are measured, from the least harm to the most.
        harm: Does it to a batch in the machine's own memory, at a level; the batch that is given stays as it is.
    """

    kind: str
    modality: Modality
    unit: str
    levels: tuple[float, ...]
    harm: Callable[[Batch, float], Batch]


def add_noise(batch: Batch, level: float) -> Batch:
    """Add white noise to the sound, ``level`` dB below the power of each window; digital silence stays silent."""
    audio, mask = batch.read("audio")
    noisy = audio.clone()
    for sound, real, generator in zip(noisy, mask, _generators(batch, "audio_noise"), strict=True):
        own = sound[real]
        if len(own):
            noise = torch.from_numpy(generator.standard_normal(len(own), np.float32))
            sound[real] = own + noise * own.square().mean().sqrt() * 10 ** (-level / 20)
    return replace(batch, audio=noisy)


def blacken_face(batch: Batch, level: float) -> Batch:
    """Blacken a share of the frames, one stretch at a random place; at 1 the face is there and cannot be seen."""
    video, mask = batch.read("video")
    steps = video.shape[1]
    count, dark = int(level * steps), torch.zeros(mask.shape, dtype=torch.bool)
    for row, generator in zip(dark, _generators(batch, "face_black"), strict=True):
        start = int(generator.random() * (steps - count + 1))
        row[start : start + count] = True
    return replace(batch, video=video.masked_fill(dark[:, :, None, None, None], 0))


def blur_face(batch: Batch, level: float) -> Batch:
    """Blur every frame by a Gaussian whose sigma is a share of the frame's side."""
    video, _ = batch.read("video")
    sigma = level * video.shape[-1]
    pixels: NDArray[np.uint8] = np.ascontiguousarray(video.permute(0, 1, 3, 4, 2).numpy())
    blurred = [[cv2.GaussianBlur(frame, (0, 0), sigma) for frame in clip] for clip in pixels]
    return replace(batch, video=torch.from_numpy(np.array(blurred)).permute(0, 1, 4, 2, 3))


def cover_face(batch: Batch, level: float) -> Batch:
    """Cover a share of the picture by a black square, at the same random place in all frames of a clip."""
    video, _ = batch.read("video")
    covered, size = video.clone(), video.shape[-1]
    side = round(level**0.5 * size)
    for clip, generator in zip(covered, _generators(batch, "face_occluded"), strict=True):
        top, left = (generator.random(2) * (size - side + 1)).astype(int)
        clip[:, :, top : top + side, left : left + side] = 0
    return replace(batch, video=covered)


def drop_frames(batch: Batch, level: float) -> Batch:
    """Lose a share of the frames at random: the last one that came stands still, before the first the first.

    A player does the same; and encoders read a fixed number of frames, so that a missing one must be some picture.
    """
    video, mask = batch.read("video")
    places = [
        _last_seen(_chosen(torch.ones_like(row), level, generator))
        for row, generator in zip(mask, _generators(batch, "frames_dropped"), strict=True)
    ]
    frozen: UInt8[Tensor, "b t 3 h w"] = torch.stack([clip[i] for clip, i in zip(video, places, strict=True)])
    return replace(batch, video=frozen)


def lose_words(batch: Batch, level: float) -> Batch:
    """Lose a share of a text's tokens at random, as if nobody had heard them."""
    _, mask = batch.read("text")
    generators = _generators(batch, "words_missing")
    lost = [_chosen(row, level, generator) for row, generator in zip(mask, generators, strict=True)]
    return replace(batch, text_mask=mask & ~torch.stack(lost))


DEGRADATIONS = (
    Degradation("audio_noise", "audio", "dB SNR", (20.0, 10.0, 5.0, 0.0, -5.0), add_noise),
    Degradation("face_black", "video", "share of the frames", (0.25, 0.5, 0.75, 1.0), blacken_face),
    Degradation("face_blur", "video", "sigma as a share of the side", (0.01, 0.02, 0.04, 0.08), blur_face),
    Degradation("face_occluded", "video", "share of the picture", (0.1, 0.25, 0.5, 0.75), cover_face),
    Degradation("frames_dropped", "video", "share of the frames", (0.25, 0.5, 0.75, 0.9), drop_frames),
    Degradation("words_missing", "text", "share of the words", (0.1, 0.25, 0.5, 0.75), lose_words),
)
"""All that can be measured, in the order of the reports."""


def choose_degradations(kinds: Sequence[str], modalities: Sequence[str]) -> list[Degradation]:
    """Return the degradations of some kinds; ``all`` stands for all those of what a model reads.

    Raises:
        ConfigError: A kind is unknown, or is one of a modality that the model does not read.
    """
    known = {degradation.kind: degradation for degradation in DEGRADATIONS}
    possible = [each.kind for each in DEGRADATIONS if each.modality in modalities]
    for kind in kinds:
        if kind != "all" and kind not in known:
            raise ConfigError(f"degradation {kind!r} is unknown; choose all or some of {', '.join(known)}")
        if kind != "all" and kind not in possible:
            raise ConfigError(
                f"degradation {kind} is one of {known[kind].modality} and the model reads {', '.join(modalities)}; "
                f"choose all or some of {', '.join(possible)}"
            )
    return [known[kind] for kind in possible if kind in kinds or "all" in kinds]


def _generators(batch: Batch, kind: str) -> Iterator[Generator]:
    """Yield what draws for each window of a batch: of the same clip, window and kind always the same numbers."""
    seen: Counter[str] = Counter()
    for key in batch.key:
        name = f"{kind}\n{seen[key]}\n{key}".encode()
        seen[key] += 1
        yield np.random.default_rng(int.from_bytes(blake2b(name, digest_size=16).digest()))


def _chosen(places: Bool[Tensor, " n"], share: float, generator: Generator) -> Bool[Tensor, " n"]:
    """Choose a share of the places that are True, rounded down, so that one is left of any share below 1."""
    real = torch.nonzero(places)[:, 0]
    order = torch.from_numpy(generator.permutation(len(real)))
    chosen = torch.zeros_like(places)
    chosen[real[order[: int(share * len(real))]]] = True
    return chosen


def _last_seen(lost: Bool[Tensor, " t"]) -> Tensor:
    """Return for each frame which one is shown: itself, or the last before it that was not lost."""
    kept = torch.nonzero(~lost)[:, 0]
    before = torch.searchsorted(kept, torch.arange(len(lost)), right=True) - 1
    return kept[before.clamp(min=0)]
