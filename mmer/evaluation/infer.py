"""Models that answer for the clips of a prepared folder."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch.utils.data import DataLoader
from tqdm import tqdm

from mmer.batch import Batch
from mmer.config import Modality
from mmer.corpora.manifest import Row
from mmer.data.dataset import ClipDataset, Windows, make_layout
from mmer.data.store import PreparedCorpus
from mmer.evaluation.predictions import GROUPS, Predictions
from mmer.model import EmotionModel


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
        names,
        tuple(row.key for row in rows),
        tuple(row.speaker or "" for row in rows),
        labels,
        probabilities.numpy(),
        groups=_groups(rows),
    )


def _groups(rows: Sequence[Row]) -> dict[str, tuple[str, ...]]:
    """Return by what else the clips can be told apart, as far as the rows say it."""
    found = {"corpus": tuple(row.corpus for row in rows)}
    found |= {name: tuple(row.extra.get(name, "") for row in rows) for name in GROUPS if name != "corpus"}
    return {name: values for name, values in found.items() if any(values)}
