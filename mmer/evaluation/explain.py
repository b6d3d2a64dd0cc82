"""Why a model answered so: how much each modality, each moment and each part of the face mattered."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice, pairwise

import numpy as np
import torch
from jaxtyping import UInt8
from numpy.typing import NDArray
from torch import Tensor

from mmer.batch import Clip, Layout
from mmer.calibration import Calibration, calibrated
from mmer.config import ClipConfig
from mmer.data.clip import PreparedClip
from mmer.data.cut import place_window, windows
from mmer.evaluation.explanation import Explanation
from mmer.model import EmotionModel

_FRAMES = 6  # that an explanation keeps, to be drawn

_BATCH = 16  # variants of a clip that are answered at once


def explain_prepared(
    model: EmotionModel,
    layout: Layout,
    prepared: PreparedClip,
    key: str,
    *,
    label: str | None = None,
    calibration: Calibration | None = None,
    device: torch.device,
) -> Explanation:
    """Explain the answer about a prepared clip by the window that says it most clearly.

    Args:
        model: The model.
        layout: The shape of its batches.
        prepared: The clip.
        key: Its key.
        label: Its true class, where it is known.
        calibration: How the model's probabilities are corrected.
        device: Where the model runs.
    """
    model, config = model.to(device).eval(), model.config.clip
    views = windows(prepared, config, key, model.tokenizer)
    answers = _answer(model, layout, views, None, device)
    whole = calibrated(answers.mean(axis=0, keepdims=True), calibration)
    predicted = int(whole.argmax())
    best = int(answers[:, predicted].argmax())
    start, seconds = place_window(prepared.seconds, config.seconds, view=best, views=len(views))
    return explain_clip(
        model,
        layout,
        views[best],
        label=label,
        calibration=calibration,
        device=device,
        seconds=seconds,
        start=start,
        explained=model.config.label_set.names[predicted],
    )


def explain_clip(
    model: EmotionModel,
    layout: Layout,
    clip: Clip,
    *,
    label: str | None = None,
    calibration: Calibration | None = None,
    device: torch.device,
    seconds: float | None = None,
    start: float = 0.0,
    explained: str | None = None,
    moments: int = 8,
    grid: int = 5,
) -> Explanation:
    """Explain the answer about one window by hiding its parts, and by the attention of the fusion's query.

    Occlusion asks the model itself and needs to know nothing of its inside (Zeiler and Fergus 2014, arXiv:1311.2901). A
    hidden modality is missing, as in training with modality dropout. A hidden moment or a hidden part of the face is
    still there and says nothing: its samples are silent, its pixels have the mean colour of the window, precomputed
    steps their mean. No model has seen a window with a hole in its mask, and what it makes of one explains nothing.
    Words are hidden as a whole.

    Args:
        model: The model.
        layout: The shape of its batches.
        clip: The window.
        label: Its true class; None takes the clip's own, where it has one.
        calibration: How the model's probabilities are corrected.
        device: Where the model runs.
        seconds: Length of the window; None takes that of its sound, or of the model's window.
        start: Where it begins in the clip, in seconds.
        explained: The class that is explained; None takes the likeliest.
        moments: Into how many equal parts the window is cut.
        grid: Into how many rows and columns the face is cut.
    """
    model, names, config = model.to(device).eval(), model.config.label_set.names, model.config.clip
    seconds = _length(clip, config) if seconds is None else seconds
    present = [name for name in model.config.reads if clip.has(name)]
    samples = round(seconds * config.sample_rate)
    spans = {name: parts for name in present if (parts := list(_moments(clip, name, samples, moments)))}
    variants = [
        clip,
        *(clip.without(name) for name in present),
        *(variant for parts in spans.values() for variant in parts),
        *_face_parts(clip, grid),
    ]
    answers = _answer(model, layout, variants, calibration, device)
    predicted = int(answers[0].argmax()) if explained is None else names.index(explained)
    lost = iter((answers[0, predicted] - answers[1:, predicted]).tolist())
    return Explanation(
        key=clip.key,
        label=names[clip.label] if label is None and clip.label is not None else label,
        probabilities=dict(zip(names, answers[0].tolist(), strict=True)),
        modalities={name: next(lost) for name in present},
        seconds=seconds,
        moments={name: np.array(list(islice(lost, len(parts)))) for name, parts in spans.items()},
        face=None if clip.video is None else np.array(list(lost)).reshape(grid, grid),
        attention=_attention(model, layout, clip, device),
        frames=None if clip.video is None else _some_frames(clip.video),
        audio=None if clip.audio is None else clip.audio.numpy(),
        sample_rate=config.sample_rate,
        start=start,
        explained=explained,
    )


def _answer(
    model: EmotionModel,
    layout: Layout,
    clips: Sequence[Clip],
    calibration: Calibration | None,
    device: torch.device,
) -> NDArray[np.float64]:
    """Return the probabilities of some windows, [n c]."""
    batches = (clips[i : i + _BATCH] for i in range(0, len(clips), _BATCH))
    with torch.inference_mode():
        logits = torch.cat([model(layout.collate(batch).to(device)).logits.double().cpu() for batch in batches])
    probabilities: NDArray[np.float64] = logits.softmax(dim=1).numpy()
    return calibrated(probabilities, calibration)


def _attention(model: EmotionModel, layout: Layout, clip: Clip, device: torch.device) -> dict[str, NDArray[np.float64]]:
    """Return the attention that each stream's real tokens got; a stream that the clip lacks has none."""
    with torch.inference_mode():
        tokens = model.encode(layout.collate([clip]).to(device))
        shares = model.attention(tokens)
    return {
        name: share[0, tokens[name].mask[0]].double().cpu().numpy()
        for name, share in shares.items()
        if tokens[name].mask.any()
    }


def _moments(clip: Clip, modality: str, samples: int, count: int) -> Iterator[Clip]:
    """Yield the window, so many samples long, without each of some equal parts of one modality."""
    if modality == "video" and clip.video is not None:
        blank = _mean_colour(clip.video).view(1, 3, 1, 1)
        for first, last in _cuts(len(clip.video), min(count, len(clip.video))):
            video = clip.video.clone()
            video[first:last] = blank
            yield replace(clip, video=video)
    if modality == "audio" and clip.audio is not None:
        for first, last in _cuts(samples, count):
            audio = clip.audio.clone()
            audio[first:last] = 0
            yield replace(clip, audio=audio)
    if (values := clip.features.get(modality)) is not None and len(values) > 1:
        for first, last in _cuts(len(values), min(count, len(values))):
            steps = values.clone()
            steps[first:last] = values.mean(dim=0)
            yield replace(clip, features={**clip.features, modality: steps})


def _face_parts(clip: Clip, grid: int) -> Iterator[Clip]:
    """Yield the window without each cell of a grid over all frames, row by row."""
    if clip.video is None:
        return
    blank = _mean_colour(clip.video).view(1, 3, 1, 1)
    height, width = clip.video.shape[-2:]
    for top, bottom in _cuts(height, grid):
        for left, right in _cuts(width, grid):
            video = clip.video.clone()
            video[:, :, top:bottom, left:right] = blank
            yield replace(clip, video=video)


def _cuts(length: int, parts: int) -> list[tuple[int, int]]:
    """Return where each of some equal parts begins and ends."""
    ends = [round(i * length / parts) for i in range(parts + 1)]
    return list(pairwise(ends))


def _mean_colour(video: UInt8[Tensor, "t 3 h w"]) -> UInt8[Tensor, " 3"]:
    return video.float().mean(dim=(0, 2, 3)).round().to(torch.uint8)


def _some_frames(video: UInt8[Tensor, "t 3 h w"]) -> NDArray[np.uint8]:
    """Return some frames, evenly spread, [f h w 3]."""
    count = min(_FRAMES, len(video))
    chosen = ((torch.arange(count) + 0.5) * len(video) / count).long()
    frames: NDArray[np.uint8] = video[chosen].permute(0, 2, 3, 1).contiguous().numpy()
    return frames


def _length(clip: Clip, config: ClipConfig) -> float:
    return config.seconds if clip.audio is None else len(clip.audio) / config.sample_rate
