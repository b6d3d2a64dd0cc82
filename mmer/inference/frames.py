"""Answers about every step of a clip, read in windows or, by a causal model, piece after piece."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray

from mmer.batch import Clip, Layout, Tokens
from mmer.data.clip import PreparedClip
from mmer.data.cut import cut_at, place_window
from mmer.errors import ConfigError
from mmer.model import EmotionModel


@dataclass(frozen=True, slots=True)
class FramePredictions:
    """Answers about the steps of a clip, of a model whose head is ``frame``.

    Args:
        key: The file as it was named.
        labels: The names of the emotions.
        times: The middle of each step, in seconds; a step at which nothing could be read is left out.
        probabilities: A probability for each label at each step, [n c]; not calibrated, for that is of whole clips.
        modalities: What the answers rest on.
        seconds: Length of the clip.
    """

    key: str
    labels: tuple[str, ...]
    times: tuple[float, ...]
    probabilities: NDArray[np.float64]
    modalities: tuple[str, ...]
    seconds: float

    @property
    def steps(self) -> Iterator[tuple[float, str, list[float]]]:
        """The time of each step, its likeliest emotion, and the probability of every label."""
        for time, row in zip(self.times, self.probabilities, strict=True):
            yield time, self.labels[int(row.argmax())], row.tolist()


@dataclass(frozen=True, slots=True)
class _Piece:
    """The answers about a part of a clip."""

    clip: Clip
    times: NDArray[np.float64]
    probabilities: NDArray[np.float64]


def predict_frames(
    model: EmotionModel, layout: Layout, prepared: PreparedClip, key: str, *, device: torch.device
) -> FramePredictions:
    """Recognise the emotion at every step of a prepared clip.

    A causal model reads the clip once from its beginning, in steps as long as in a whole window, and goes on from what
    it has read. Of a clip shorter than a window these are fewer and longer steps than ``forward`` spreads over it. Any
    other reads windows that overlap, each up to the middle of what it shares with the next.

    Args:
        model: The model.
        layout: The shape of its batches.
        prepared: The clip.
        key: Its key.
        device: Where the model runs.

    Raises:
        ConfigError: The model answers for whole clips alone.
    """
    if model.config.head != "frame":
        raise ConfigError(
            "the checkpoint answers for whole clips, not for their frames; train one with --model.config.head=frame"
        )
    read = _follow if model.config.causal else _look
    with torch.inference_mode():
        pieces = list(read(model, layout, prepared, key, device))
    return FramePredictions(
        key,
        model.config.label_set.names,
        tuple(np.concatenate([piece.times for piece in pieces]).tolist()),
        np.concatenate([piece.probabilities for piece in pieces]),
        tuple(name for name in model.config.reads if any(piece.clip.has(name) for piece in pieces)),
        prepared.seconds,
    )


def _look(
    model: EmotionModel, layout: Layout, prepared: PreparedClip, key: str, device: torch.device
) -> Iterator[_Piece]:
    """Yield the answers of windows that cover the clip."""
    config = model.config.clip
    views = max(1, math.ceil(prepared.seconds / config.seconds - 1e-6))
    places = [place_window(prepared.seconds, config.seconds, view=view, views=views) for view in range(views)]
    shared = ((first + length + second) / 2 for (first, length), (second, _) in pairwise(places))
    borders = [-math.inf, *shared, math.inf]
    for (start, length), (left, right) in zip(places, pairwise(borders), strict=True):
        window = cut_at(prepared, config, key, model.tokenizer, start=start, length=length)
        frames = model(layout.collate([window]).to(device)).frames
        assert frames is not None, "the head gives them"
        count = model.config.clock or max(1.0, float(frames.count()[0]))  # so many steps span the window
        piece = _answers(window, frames, start, length / count)
        kept = (piece.times >= left) & (piece.times < right)
        yield replace(piece, times=piece.times[kept], probabilities=piece.probabilities[kept])


def _follow(
    model: EmotionModel, layout: Layout, prepared: PreparedClip, key: str, device: torch.device
) -> Iterator[_Piece]:
    """Yield the answers of pieces that come one after another, each with what is kept of those before."""
    config, clock, past = model.config.clip, model.config.clock, None
    step = config.seconds / clock
    count = max(1, math.floor(prepared.seconds / step + 1e-6))
    for first in range(0, count, clock):
        steps = min(clock, count - first)
        shape = replace(layout, frames=config.frames * steps // clock, samples=layout.samples * steps // clock)
        part = replace(config, seconds=steps * step, frames=shape.frames)
        piece = cut_at(prepared, part, key, model.tokenizer, start=first * step, length=part.seconds)
        answers, past = model.advance(shape.collate([piece]).to(device), steps, past)
        yield _answers(piece, answers, first * step, step)


def _answers(clip: Clip, frames: Tokens, start: float, step: float) -> _Piece:
    """Return the answers at the steps that are real."""
    real = frames.mask[0].cpu().numpy()
    times = start + (np.arange(len(real)) + 0.5) * step
    return _Piece(clip, times[real], frames.x[0].double().softmax(dim=1).cpu().numpy()[real])
