"""Models that answer for the clips of a prepared folder: as they are, with modalities hidden, and made worse."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import combinations

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader
from tqdm import tqdm

from mmer.batch import Batch, Clip, Tokens
from mmer.corpora.manifest import Row
from mmer.data.dataset import ClipDataset, Windows, make_layout, settle_worker
from mmer.data.store import PreparedCorpus
from mmer.evaluation.degrade import Degradation
from mmer.evaluation.predictions import Predictions, group_columns
from mmer.evaluation.system import Degraded
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
    """Let a model answer for some clips of a prepared folder, from all that it reads and from every part of that.

    Each clip is encoded once; then modalities are hidden from the fusion. No random number is drawn, and the model is
    left as it was, so that this may happen in the middle of a training.

    Args:
        model: The model.
        corpus: The prepared folder.
        rows: The clips.
        device: Where the model runs.
        batch_size: Clips in a batch.
        workers: Processes that read clips.
        progress: Whether to show a progress bar on standard error.

    Returns:
        The answers by what was read, as ``video+audio``, ``video`` and ``audio``; the first holds every clip, the
        others the clips that have all of it.

    Raises:
        ClipError: A prepared clip is missing or damaged.
    """
    dataset = ClipDataset(corpus, rows, model.config, tokenizer=model.tokenizer)
    sets = subsets(model.config.reads)
    answers: dict[tuple[str, ...], list[Tensor]] = {kept: [] for kept in sets}
    with _answering(model, device):
        for batch, counts in _batches(model, corpus, dataset, batch_size, workers, "evaluate" if progress else None):
            every = _answer_subsets(model, model.encode(batch.to(device)), sets)
            for kept, logits in zip(sets, every, strict=True):
                answers[kept].append(_mean_over_windows(logits, counts))
    whole = {kept: _gather(model, rows, dataset, parts) for kept, parts in answers.items()}
    return {
        "+".join(kept): found if kept == sets[0] else found.where(_have(rows, kept)) for kept, found in whole.items()
    }


def predict_degraded(
    model: EmotionModel,
    corpus: PreparedCorpus,
    rows: Sequence[Row],
    degradations: Sequence[Degradation],
    *,
    device: torch.device,
    batch_size: int = 16,
    workers: int = 0,
    progress: bool = True,
) -> list[Degraded]:
    """Let a model answer for some clips that are made worse, from all that it reads; see :func:`predict_rows`.

    Returns:
        The answers of each degradation, without harm and at each of its levels, about the clips that have what it
        harms; none of one whose modality no clip has.
    """
    dataset = ClipDataset(corpus, rows, model.config, tokenizer=model.tokenizer)
    answers: dict[tuple[str, float | None], list[Tensor]] = defaultdict(list)
    with _answering(model, device):
        for batch, counts in _batches(model, corpus, dataset, batch_size, workers, "degrade" if progress else None):
            tokens = model.encode(batch.to(device))
            unharmed = _mean_over_windows(model.answer(tokens), counts)
            for each in degradations:
                answers[each.kind, None].append(unharmed)
                for level in each.levels:
                    worse = model.encode(each.harm(batch, level).to(device), each.modality)
                    answers[each.kind, level].append(_mean_over_windows(model.answer({**tokens, **worse}), counts))
    return [
        Degraded(each.kind, level, _gather(model, rows, dataset, answers[each.kind, level]).where(keep), each.unit)
        for each in degradations
        if (keep := _have(rows, (each.modality,))).any()
        for level in (None, *each.levels)
    ]


def subsets(modalities: Sequence[str]) -> list[tuple[str, ...]]:
    """Return every choice of some modalities, all of them first and single ones last."""
    return [kept for count in range(len(modalities), 0, -1) for kept in combinations(modalities, count)]


@contextmanager
def _answering(model: EmotionModel, device: torch.device) -> Iterator[None]:
    """Let a model answer on a device, exactly and always the same; then leave it as it was."""
    modes, home = [(module, module.training) for module in model.modules()], next(model.parameters()).device
    model.to(device).eval()
    try:
        with (
            torch.inference_mode(),
            # by default a GPU's convolutions drop digits, and may differ from run to run
            torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False),
        ):
            yield
    finally:
        model.to(home)
        for module, training in modes:
            module.training = training


def _batches(
    model: EmotionModel,
    corpus: PreparedCorpus,
    dataset: ClipDataset,
    batch_size: int,
    workers: int,
    task: str | None,
) -> Iterator[tuple[Batch, list[int]]]:
    """Yield all windows of some clips together, and how many there are of each clip; with a progress bar for a task."""
    layout = make_layout(model.config, corpus.config)
    cv2.setNumThreads(1)  # before a worker is forked: there, OpenCV would wait for threads that only the parent has
    loader: DataLoader[list[Clip]] = DataLoader(
        Windows(dataset),
        batch_size=batch_size,
        num_workers=workers,
        collate_fn=list,
        worker_init_fn=settle_worker,
        generator=torch.Generator(),  # else each loop would draw a seed from the generator that a training uses
    )
    for clips in tqdm(loader, desc=task, unit="batch", disable=task is None):
        yield layout.collate([window for clip in clips for window in clip]), [len(clip) for clip in clips]


def _answer_subsets(model: EmotionModel, tokens: Mapping[str, Tokens], sets: Sequence[Sequence[str]]) -> Tensor:
    """Return the logits from each set of modalities, [k b c], in one pass: the others' tokens are masked."""
    streams = model.config.streams
    hidden = {}
    for name, stream in tokens.items():
        keep = torch.tensor([streams[name].reads in kept for kept in sets], device=stream.mask.device)
        mask = (keep[:, None, None] & stream.mask).flatten(0, 1)
        hidden[name] = replace(stream.repeat(len(sets)), mask=mask)
    return torch.stack(model.answer(hidden).chunk(len(sets)))


def _mean_over_windows(logits: Tensor, counts: Sequence[int]) -> Tensor:
    """Return the mean probabilities of each clip's windows."""
    each = logits.double().softmax(dim=1).cpu()
    return torch.stack([windows.mean(dim=0) for windows in torch.split(each, list(counts))])


def _have(rows: Sequence[Row], modalities: Sequence[str]) -> NDArray[np.bool_]:
    """Tell which rows have all of some modalities."""
    return np.array([all(row.has(each) for each in modalities) for row in rows])


def _gather(model: EmotionModel, rows: Sequence[Row], dataset: ClipDataset, parts: Sequence[Tensor]) -> Predictions:
    return Predictions(
        model.config.label_set.names,
        tuple(row.key for row in rows),
        tuple(row.speaker or "" for row in rows),
        np.array(dataset.labels, np.int64),
        torch.cat(list(parts)).numpy(),
        groups=group_columns(rows),
    )
