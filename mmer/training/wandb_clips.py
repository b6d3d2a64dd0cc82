"""Validation clips for people to look at and listen to, as a table of Weights & Biases."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mmer.corpora.manifest import Row
from mmer.data.clip import PreparedClip
from mmer.data.dataset import ClipDataset
from mmer.evaluation.infer import predict_rows
from mmer.media.write import write_clip
from mmer.model import EmotionModel
from mmer.training.data import EmotionDataModule

FRAMES = 6
"""Pictures that the table shows of a clip, side by side."""


def spread(rows: Sequence[Row], count: int) -> list[Row]:
    """Return so many rows at most, of each label as many as can be; always the same, in their order."""
    seen = Counter[str | None]()
    turns = []
    for row in rows:
        turns.append(seen[row.label])
        seen[row.label] += 1
    chosen = sorted(range(len(rows)), key=lambda index: (turns[index], index))[:count]
    return [rows[index] for index in sorted(chosen)]


def clip_table(model: EmotionModel, data: EmotionDataModule, rows: Sequence[Row], device: Any, folder: Path) -> Any:
    """Return a table of clips: what a model reads of them, what is true, and what it answers.

    Args:
        model: The model.
        data: Whose clips they are.
        rows: The clips.
        device: Where the model answers, a clip at a time.
        folder: Where sounds are written, to be read when the table is logged.
    """
    import wandb

    reads = model.config.reads
    answers = predict_rows(model, data.corpus, rows, device=device, batch_size=1, progress=False)["+".join(reads)]
    dataset = ClipDataset(data.corpus, rows, model.config, tokenizer=model.tokenizer)
    shown = [
        name for name, modality in (("frames", "video"), ("audio", "audio"), ("text", "text")) if modality in reads
    ]
    names = answers.names
    table = wandb.Table(
        columns=["key", "speaker", "label", "predicted", "correct", *shown, *(f"p({name})" for name in names)]
    )
    for index, row in enumerate(rows):
        label, predicted = int(answers.label[index]), int(answers.predicted[index])
        clip = dataset.read(index)
        media = {"frames": _picture(clip), "audio": _sound(clip, folder / f"{index}.wav"), "text": clip.text}
        table.add_data(
            row.key,
            row.speaker,
            names[label],
            names[predicted],
            label == predicted,
            *(media[name] for name in shown),
            *answers.probabilities[index].tolist(),
        )
    return table


def frame_strip(clip: PreparedClip, count: int = FRAMES) -> NDArray[np.uint8] | None:
    """Return some frames of a clip side by side, spread over all of it, [h w 3] in RGB; None without a face.

    Raises:
        ClipError: A frame is damaged.
    """
    if not len(clip.times):
        return None
    first, last = float(clip.times[0]), float(clip.times[-1])
    frames = clip.frames_at(first + (last - first) * (np.arange(count) + 0.5) / count)
    return None if frames is None else np.concatenate(list(frames), axis=1)


def _picture(clip: PreparedClip) -> Any:
    import wandb

    strip = frame_strip(clip)
    return None if strip is None else wandb.Image(Image.fromarray(strip), file_type="jpg")


def _sound(clip: PreparedClip, path: Path) -> Any:
    """Return the whole sound of a clip, by way of a file; from samples, wandb would want one more library."""
    import wandb

    if clip.audio is None or not len(clip.audio):
        return None
    write_clip(path, None, samples=clip.audio, sample_rate=clip.sample_rate, audio_codec="pcm_s16le")
    return wandb.Audio(str(path))
