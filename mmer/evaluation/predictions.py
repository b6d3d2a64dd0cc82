"""What a model answered for each clip of a test."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader
from tqdm import tqdm

from mmer.atomic import replacing
from mmer.batch import Batch
from mmer.config import Modality
from mmer.corpora.manifest import Row
from mmer.data.dataset import ClipDataset, Windows, make_layout
from mmer.data.store import PreparedCorpus
from mmer.model import EmotionModel


@dataclass(frozen=True, slots=True)
class Predictions:
    """Answers for N clips.

    Args:
        names: The class names.
        key: The clips' keys.
        speaker: Their speakers.
        label: Their true classes, [n].
        probabilities: The model's answers, [n c].
    """

    names: tuple[str, ...]
    key: tuple[str, ...]
    speaker: tuple[str, ...]
    label: NDArray[np.int64]
    probabilities: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.key)

    @property
    def predicted(self) -> NDArray[np.int64]:
        """The likeliest classes, [n]."""
        likeliest: NDArray[np.int64] = self.probabilities.argmax(axis=1)
        return likeliest

    def where(self, keep: NDArray[np.bool_]) -> Predictions:
        """Return some of the clips."""
        chosen = np.flatnonzero(keep)
        return Predictions(
            self.names,
            tuple(self.key[i] for i in chosen),
            tuple(self.speaker[i] for i in chosen),
            self.label[keep],
            self.probabilities[keep],
        )

    def write(self, path: Path, *, leaky: bool = False) -> None:
        """Write a CSV table: key, speaker, label, predicted, and a probability for each class name.

        Args:
            path: The file.
            leaky: Whether they come of a leaky split; a last column ``leaky`` then says ``yes`` of each.
        """
        with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(["key", "speaker", "label", "predicted", *self.names, *["leaky"] * leaky])
            for i, predicted in enumerate(self.predicted):
                cells = [self.key[i], self.speaker[i], self.names[self.label[i]], self.names[predicted]]
                writer.writerow([*cells, *(f"{p:.6f}" for p in self.probabilities[i]), *["yes"] * leaky])


def predict_rows(
    model: EmotionModel,
    corpus: PreparedCorpus,
    rows: Sequence[Row],
    *,
    device: torch.device,
    batch_size: int = 16,
    workers: int = 0,
    progress: bool = True,
) -> dict[str, Predictions]:
    """Let a model answer for some clips of a prepared folder, once with all it reads and once with each modality alone.

    Args:
        model: The model.
        corpus: The prepared folder.
        rows: The clips.
        device: Where the model runs.
        batch_size: Clips in a batch.
        workers: Processes that read clips.
        progress: Whether to show a progress bar on standard error.

    Returns:
        The answers by what was read, as ``video+audio``, ``video`` and ``audio``; the first holds every clip, those of
        one modality the clips that have it.

    Raises:
        ClipError: A prepared clip is missing or damaged.
    """
    dataset = ClipDataset(corpus, rows, model.config)
    layout = make_layout(model.config, corpus.config)
    loader = DataLoader(Windows(dataset), batch_size=batch_size, num_workers=workers, collate_fn=list)
    model = model.to(device).eval()
    answers: dict[str, list[torch.Tensor]] = {}
    with torch.inference_mode():
        for clips in tqdm(loader, desc="evaluate", unit="batch", disable=not progress):
            batch = layout.collate([window for clip in clips for window in clip])
            counts = [len(clip) for clip in clips]
            for name, variant in _variants(batch.to(device), model.config.modalities):
                each = model(variant).logits.double().softmax(dim=1).cpu()
                answers.setdefault(name, []).append(torch.stack([x.mean(dim=0) for x in each.split(counts)]))
    every = {name: _gather(model, rows, dataset, torch.cat(parts)) for name, parts in answers.items()}
    return {
        name: found if "+" in name else found.where(np.array([getattr(row, name) is not None for row in rows]))
        for name, found in every.items()
    }


def _variants(batch: Batch, modalities: Sequence[Modality]) -> Iterator[tuple[str, Batch]]:
    """Yield the batch as it is and, where the model reads several modalities, with each alone."""
    yield "+".join(modalities), batch
    for kept in modalities if len(modalities) > 1 else ():
        alone = batch
        for other in modalities:
            alone = alone if other == kept else alone.without(other)
        yield kept, alone


def _gather(model: EmotionModel, rows: Sequence[Row], dataset: ClipDataset, probabilities: torch.Tensor) -> Predictions:
    labels = np.array(dataset.labels, np.int64)
    names = model.config.label_set.names
    return Predictions(
        names, tuple(r.key for r in rows), tuple(r.speaker or "" for r in rows), labels, probabilities.numpy()
    )
