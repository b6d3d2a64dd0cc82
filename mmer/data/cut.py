"""The model's window, cut out of a prepared clip."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mmer.batch import Clip
from mmer.config import ClipConfig
from mmer.data.clip import PreparedClip
from mmer.data.transforms import play_faster
from mmer.tokenizer import Tokenizer


def windows(prepared: PreparedClip, config: ClipConfig, key: str, tokenizer: Tokenizer | None = None) -> list[Clip]:
    """Cut a clip into as many windows as fit it best, spread evenly; one is the middle.

    An answer about a clip is the mean over these, in evaluation and in prediction alike.
    """
    views = max(1, round(prepared.seconds / config.seconds))
    return [cut(prepared, config, key, tokenizer, view=view, views=views) for view in range(views)]


def cut(
    prepared: PreparedClip,
    config: ClipConfig,
    key: str,
    tokenizer: Tokenizer | None = None,
    *,
    shift: float = 0.0,
    view: int = 0,
    views: int = 1,
    speed: float = 1.0,
    out: Tensor | None = None,
) -> Clip:
    """Cut the model's window out of a clip.

    Args:
        prepared: The clip.
        config: The window.
        key: The clip's key.
        tokenizer: What makes token ids of its words, which belong to every window; None reads no words.
        shift: How far to move the window, as a share of its length; it stays inside the clip.
        view: Which of several windows, spread evenly over the clip; one window takes the middle.
        views: How many windows there are.
        speed: How much faster the clip is played, a whole number of hundredths; frames and sound stay together.
        out: Where to decode the frames, [t 3 h w] in memory pixel after pixel.
    """
    start, length = place_window(prepared.seconds, config.seconds * speed, shift=shift, view=view, views=views)
    return cut_at(prepared, config, key, tokenizer, start=start, length=length, speed=speed, out=out)


def cut_at(
    prepared: PreparedClip,
    config: ClipConfig,
    key: str,
    tokenizer: Tokenizer | None = None,
    *,
    start: float,
    length: float,
    speed: float = 1.0,
    out: Tensor | None = None,
) -> Clip:
    """Cut a window out of a clip at a place, in seconds; see :func:`cut`."""
    return Clip(
        key=key,
        video=_video(prepared, config, start, length, out),
        audio=_audio(prepared, config, start, speed) if prepared.audio is not None else None,
        text=_text(prepared, config, tokenizer),
        features={
            name: torch.from_numpy(_steps_in(values, prepared.seconds, start, length))
            for name, values in prepared.features.items()
        },
        span=min(length / (config.seconds * speed), 1.0) if length > 0 else 1.0,
    )


def place_window(
    seconds: float, wanted: float, *, shift: float = 0.0, view: int = 0, views: int = 1
) -> tuple[float, float]:
    """Return where a window begins in a clip, and its length, in seconds; it is no longer than the clip.

    Args:
        seconds: Length of the clip.
        wanted: Length that the window should have.
        shift: How far to move it, as a share of its length; it stays inside the clip.
        view: Which of several windows, spread evenly over the clip; one window takes the middle.
        views: How many windows there are.
    """
    length = min(wanted, seconds)
    slack = seconds - length
    start = slack * (0.5 if views == 1 else view / (views - 1)) + shift * length
    return min(max(start, 0.0), slack), length


def _video(
    prepared: PreparedClip, config: ClipConfig, start: float, length: float, out: Tensor | None
) -> Tensor | None:
    """Take the frames nearest to the middles of equal parts of the window; repeats fill a clip of too few."""
    middles = (np.arange(config.frames) + 0.5) / config.frames
    pixels = None if out is None else out.permute(0, 2, 3, 1).numpy()
    frames = prepared.frames_at(start + middles * length, pixels)
    if frames is None:
        return None
    return torch.from_numpy(frames).permute(0, 3, 1, 2) if out is None else out


def _audio(prepared: PreparedClip, config: ClipConfig, start: float, speed: float) -> Tensor | None:
    assert prepared.audio is not None
    first, rate = round(start * prepared.sample_rate), prepared.sample_rate
    samples = torch.from_numpy(prepared.audio[first : first + round(config.seconds * speed * rate)].copy())
    if not len(samples):
        return None
    return samples if speed == 1 else play_faster(samples, speed)[: round(config.seconds * rate)]


def _text(prepared: PreparedClip, config: ClipConfig, tokenizer: Tokenizer | None) -> Tensor | None:
    if tokenizer is None or prepared.text is None:
        return None
    ids = tokenizer.encode(prepared.text, config.tokens)
    return ids if len(ids) else None


def _steps_in(values: NDArray[np.float32], seconds: float, start: float, length: float) -> NDArray[np.float32]:
    """Return the steps of a precomputed stream whose middles lie in the window, or the one that is nearest to its own.

    Steps span the clip evenly. A single one is of the whole clip, as are all where nobody knows how long that is.
    """
    if len(values) == 1 or seconds == 0:
        return values
    middles = (np.arange(len(values)) + 0.5) * (seconds / len(values))
    inside = (middles >= start) & (middles < start + length)
    return values[inside] if inside.any() else values[[np.abs(middles - start - length / 2).argmin()]]
