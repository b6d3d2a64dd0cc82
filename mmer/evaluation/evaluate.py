"""A checkpoint and a prepared folder to a folder of results."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mmer.atomic import replacing
from mmer.checkpoint import Card, checkpoint_hash, read_checkpoint
from mmer.corpora.manifest import DEMO_CORPUS, Row
from mmer.corpora.splits import Part, reading_order
from mmer.data.dataset import usable_rows
from mmer.data.store import PreparedCorpus, changes
from mmer.errors import CorpusError, SplitError
from mmer.evaluation.metrics import summarise
from mmer.evaluation.predictions import Predictions, predict_rows
from mmer.evaluation.report import write_report

FORMAT = 1
"""Version of metrics.json."""


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What was measured.

    Args:
        metrics: The content of metrics.json.
        predictions: The answers from all modalities together.
    """

    metrics: dict[str, Any]
    predictions: Predictions

    def write(self, output: Path) -> None:
        """Write metrics.json, predictions.csv, confusion.png and index.html into a folder."""
        output.mkdir(parents=True, exist_ok=True)
        self.predictions.write(output / "predictions.csv")
        write_report(output, self.metrics)
        with replacing(output / "metrics.json") as temporary:
            temporary.write_text(json.dumps(self.metrics, indent=2) + "\n", encoding="utf-8")


def evaluate_checkpoint(
    checkpoint: Path,
    root: Path | None = None,
    part: Part = "test",
    *,
    device: torch.device,
    batch_size: int = 16,
    workers: int = 0,
    progress: bool = True,
) -> Evaluation:
    """Score a checkpoint on speakers that it has never seen.

    Args:
        checkpoint: The checkpoint.
        root: The prepared folder; None takes the one it was trained on.
        part: Which part of its split to score.
        device: Where the model runs.
        batch_size: Clips in a batch.
        workers: Processes that read clips.
        progress: Whether to show a progress bar on standard error.

    Raises:
        CheckpointError: The checkpoint cannot be read.
        CorpusError: The folder was not prepared, or not as the checkpoint's clips were.
        SplitError: The part is empty.
        ClipError: A prepared clip is missing or damaged.
    """
    model, card = read_checkpoint(checkpoint)
    corpus = PreparedCorpus.open(root or Path(card.root))
    differences = changes(card.prepare, replace(corpus.config, max_seconds=card.prepare.max_seconds))
    if differences and "video" in card.model.modalities:  # the rate of the sound is checked with the layout
        raise CorpusError(f"{corpus.root} is not prepared as the checkpoint's clips were: {differences}; prepare it so")
    protocol, chosen = _choose(corpus.rows, part, card)
    rows = usable_rows(chosen, card.model)
    if not rows:
        raise SplitError(f"{protocol}: the {part} part has no clip that the model can use; name another --data.part")
    answers = predict_rows(
        model, corpus, rows, device=device, batch_size=batch_size, workers=workers, progress=progress
    )
    every = answers["+".join(card.model.modalities)]
    metrics = {
        "format": FORMAT,
        "checkpoint": {"path": str(checkpoint), "sha256": checkpoint_hash(checkpoint), "epoch": card.epoch},
        "corpus": _describe_corpus(corpus, rows, len(chosen)),
        "protocol": protocol,
        "part": part,
        "speakers": {**card.speakers, "scored": sorted({row.speaker or "" for row in rows}, key=reading_order)},
        "seed": card.seed,
        "versions": card.versions,
        "labels": list(every.names),
        "chance": 1 / len(every.names),
        "majority": float(np.bincount(every.label).max() / len(every)),
        **summarise(every),
        "modalities": {name: _headline(found) for name, found in answers.items() if len(found)},
    }
    return Evaluation(metrics, every)


def _choose(rows: Sequence[Row], part: Part, card: Card) -> tuple[str, list[Row]]:
    """Return the rows to score and the protocol in words.

    The card says whose clips a part is, so that nobody who was trained on can be scored as a test. A corpus that the
    checkpoint has never seen is a test as a whole.
    """
    if part == "test" and not {row.corpus for row in rows} & set(card.corpora):
        return "all of a corpus that was not trained on", list(rows)
    speakers = set(card.speakers.get(part, ()))
    return card.protocol, [row for row in rows if row.speaker in speakers]


def _describe_corpus(corpus: PreparedCorpus, rows: Sequence[Row], of_part: int) -> dict[str, Any]:
    names = sorted({row.corpus for row in rows})
    return {
        "root": str(corpus.root),
        "names": names,
        "synthetic": DEMO_CORPUS in names,
        "left_out_by_prepare": corpus.skipped(),
        "left_out_by_labels_or_modality": of_part - len(rows),
    }


def _headline(predictions: Predictions) -> dict[str, Any]:
    scores = summarise(predictions)
    return {name: scores[name] for name in ("n", "accuracy", "uar", "macro_f1", "interval")}
