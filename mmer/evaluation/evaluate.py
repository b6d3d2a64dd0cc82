"""Checkpoints to systems: whom they are scored on, and what they answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from mmer.calibration import calibrated
from mmer.checkpoint import Card, load_checkpoint, read_card, read_checkpoint
from mmer.config import ShardConfig, SplitConfig
from mmer.corpora.manifest import Row
from mmer.corpora.splits import Part
from mmer.data.dataset import ClipDataset, make_layout
from mmer.data.shards import open_corpus
from mmer.data.store import PreparedCorpus, as_root, changes
from mmer.errors import ConfigError, CorpusError
from mmer.evaluation.about import describe_abstention, describe_calibration, describe_checkpoint
from mmer.evaluation.degrade import choose_degradations
from mmer.evaluation.explain import explain_prepared
from mmer.evaluation.explanation import Explanation
from mmer.evaluation.infer import predict_degraded, predict_rows
from mmer.evaluation.predictions import Predictions
from mmer.evaluation.results import system_name
from mmer.evaluation.select import Selection, select_clips
from mmer.evaluation.system import System
from mmer.model import EmotionModel


def evaluate_checkpoint(
    checkpoint: Path,
    root: str | Path | None = None,
    part: Part = "test",
    *,
    shards: ShardConfig = ShardConfig(),  # noqa: B008 - frozen
    name: str | None = None,
    split: SplitConfig | None = None,
    device: torch.device,
    batch_size: int = 16,
    workers: int = 0,
    progress: bool = True,
    degrade: Sequence[str] = (),
    explain: int = 0,
    raw: bool = False,
) -> System:
    """Let a checkpoint answer for speakers that it has never seen.

    Args:
        checkpoint: The checkpoint.
        root: The prepared folder or the shards; None takes the one it was trained on.
        part: Which part of the split to score.
        shards: How shards are read.
        name: What the report calls it; None takes the name of its run.
        split: Another split than the checkpoint's own.
        device: Where the model runs.
        batch_size: Clips in a batch.
        workers: Processes that read clips.
        progress: Whether to show a progress bar on standard error.
        degrade: Kinds of harm under which to score it as well, or ``all``.
        explain: How many answers to explain: the surest wrong ones and the surest right ones, half each.
        raw: Leave the probabilities as the model gives them, although the checkpoint has a calibration.

    Raises:
        CheckpointError: The checkpoint cannot be read.
        CorpusError: The folder was not prepared, or not as the checkpoint's clips were.
        SplitError: The part is empty, or has speakers or clips that the checkpoint knows.
        ConfigError: The clips have labels that the checkpoint does not know, or it cannot be harmed so.
        ClipError: A prepared clip is missing or damaged.
    """
    model, card = read_checkpoint(checkpoint)
    card = replace(card, calibration=None) if raw else card
    degradations = choose_degradations(degrade, card.model.reads)
    corpus = open_corpus(root or as_root(card.root), shards)
    if differences := changes(card.prepare, corpus.config, card.model.reads):
        raise CorpusError(f"{corpus.name} is not prepared as the checkpoint's clips were: {differences}; prepare it so")
    chosen = select_clips(corpus, card, part, split)

    how: dict[str, Any] = {"device": device, "batch_size": batch_size, "workers": workers, "progress": progress}
    answers = predict_rows(model, corpus, chosen.rows, **how)
    harmed = predict_degraded(model, corpus, chosen.rows, degradations, **how) if degradations else []
    raw_answers = answers.pop("+".join(card.model.reads))
    whole = _finish(raw_answers, card, chosen)
    return System(
        name or system_name(checkpoint),
        whole,
        {
            **describe_checkpoint(checkpoint, card, model, corpus, chosen),
            "calibration": describe_calibration(card.calibration, raw_answers),
            "abstention": describe_abstention(card.calibration),
        },
        subsets={kept: _finish(found, card, chosen) for kept, found in answers.items() if len(found)},
        degraded=[replace(each, predictions=_finish(each.predictions, card, chosen)) for each in harmed],
        explanations=_explain(model, card, corpus, chosen.rows, whole, explain, device, progress),
    )


def check_classes(checkpoints: Sequence[Path], tables: Sequence[System]) -> None:
    """Refuse systems of different classes before any of them runs.

    Raises:
        ConfigError: Two of them differ.
        CheckpointError: A checkpoint cannot be read.
    """
    if len(checkpoints) + len(tables) < 2:
        return
    cards = ((str(path), read_card(load_checkpoint(path), f"checkpoint {path}")) for path in checkpoints)
    classes = [(path, card.model.label_set.names) for path, card in cards]
    classes += [(system.about["source"]["path"], system.predictions.names) for system in tables]
    (first, wanted), *others = classes
    for path, found in others:
        if set(found) != set(wanted):
            raise ConfigError(
                f"{first} has the classes {', '.join(wanted)} and {path} has {', '.join(found)}; compare systems "
                "of the same classes, and score others by themselves"
            )


def _finish(answers: Predictions, card: Card, chosen: Selection) -> Predictions:
    """Correct probabilities as the checkpoint says, and mark answers that are too good."""
    corrected = calibrated(answers.probabilities, card.calibration)
    return replace(answers, probabilities=corrected, leaky=bool(chosen.leaks))


def _explain(
    model: EmotionModel,
    card: Card,
    corpus: PreparedCorpus,
    rows: Sequence[Row],
    answers: Predictions,
    most: int,
    device: torch.device,
    progress: bool,
) -> list[Explanation]:
    """Explain the surest wrong answers and the surest right ones, half each."""
    dataset = ClipDataset(corpus, rows, model.config, tokenizer=model.tokenizer)
    layout = make_layout(card.model, card.prepare)
    chosen = surest(answers, most)
    return [
        explain_prepared(
            model,
            layout,
            dataset.read(index),
            rows[index].key,
            label=answers.names[answers.label[index]],
            calibration=card.calibration,
            device=device,
        )
        for index in tqdm(chosen, desc="explain", unit="clip", disable=not (progress and chosen))
    ]


def surest(answers: Predictions, most: int) -> list[int]:
    """Return the places of the surest wrong answers and of the surest right ones, half each as far as there are any."""
    order = np.argsort(-answers.probabilities.max(axis=1), kind="stable")
    right = (answers.predicted == answers.label)[order]
    wrong, good = order[~right].tolist(), order[right].tolist()
    few = min(len(wrong), max(most - most // 2, most - len(good)))
    return [*wrong[:few], *good[: most - few]]
