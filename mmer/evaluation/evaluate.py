"""A checkpoint and a prepared folder to a folder of results."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from mmer.atomic import replacing
from mmer.checkpoint import Card, checkpoint_hash, read_checkpoint
from mmer.corpora.leaks import find_marked, name_copies, one_spelling, same_sounds
from mmer.corpora.manifest import DEMO_CORPUS, Row, listed, person_name, reading_order
from mmer.corpora.splits import Part
from mmer.data.dataset import usable_rows
from mmer.data.store import PreparedCorpus, changes
from mmer.errors import CorpusError, SplitError
from mmer.evaluation.infer import predict_rows
from mmer.evaluation.metrics import summarise
from mmer.evaluation.predictions import Predictions
from mmer.evaluation.report.page import write_report

FORMAT = 2
"""Version of metrics.json."""

_NAMED = 5  # how many names a note gives


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
    if differences := changes(card.prepare, corpus.config, card.model.modalities):
        raise CorpusError(f"{corpus.root} is not prepared as the checkpoint's clips were: {differences}; prepare it so")
    chosen = _choose(corpus.rows, part, card)
    rows = usable_rows(chosen.rows, card.model)
    if not rows:
        also = f" ({'; '.join(chosen.notes)})" if chosen.notes else ""
        raise SplitError(
            f"{chosen.protocol}: the {part} part has no clip that the model can use{also}; name another --data.part"
        )
    rows = _named(rows, card)
    answers = predict_rows(
        model, corpus, rows, device=device, batch_size=batch_size, workers=workers, progress=progress
    )
    every = replace(answers["+".join(card.model.modalities)], leaky=bool(card.leaks))
    metrics = {
        "format": FORMAT,
        "checkpoint": {"path": str(checkpoint), "sha256": checkpoint_hash(checkpoint), "epoch": card.epoch},
        "corpus": {
            **_describe_corpus(corpus, rows),
            "left_out_by_labels_or_modality": len(chosen.rows) - len(rows),
            "left_out_as_another_corpus": chosen.strangers,
        },
        "protocol": chosen.protocol,
        "leaks": card.leaks,
        "notes": [*card.notes, *chosen.notes],
        "part": part,
        "speakers": {
            **card.speakers,
            "scored": sorted({row.speaker for row in rows if row.speaker}, key=reading_order),
        },
        "seed": card.seed,
        "versions": card.versions,
        "labels": list(every.names),
        "chance": 1 / len(every.names),
        "majority": float(np.bincount(every.label).max() / len(every)),
        **summarise(every),
        "modalities": {name: _headline(found) for name, found in answers.items() if len(found)},
    }
    return Evaluation(metrics, every)


class _Chosen(NamedTuple):
    """What to score.

    The rows, the protocol in words, how many clips are of another corpus than the checkpoint's, and what else is to be
    known of them.
    """

    rows: list[Row]
    protocol: str
    strangers: int
    notes: list[str]


def _choose(rows: Sequence[Row], part: Part, card: Card) -> _Chosen:
    """Choose what to score.

    The card says whose clips a part is, or which, so that nobody who was trained on can be scored as a test. A folder
    of corpora that the checkpoint has never seen is a test as a whole, but for the clips that only have other names
    there.
    """
    own = {one_spelling(name) for name in card.corpora}
    if part == "test" and all(one_spelling(row.corpus) not in own for row in rows):
        unseen, notes = _unseen(rows, card, files=True)
        return _Chosen(unseen, "all of a corpus that was not trained on", 0, [*notes, *_namesakes(unseen, card)])
    strangers, chosen, notes = sum(row.corpus not in card.corpora for row in rows), card.dealt.rows(rows, part), []
    if part == "test" and not card.leaks:
        chosen, notes = _unseen(chosen, card, files=False)
    return _Chosen(chosen, card.protocol, strangers, notes)


def _unseen(rows: Sequence[Row], card: Card, *, files: bool) -> tuple[list[Row], list[str]]:
    """Return the rows without those that the checkpoint was trained on, whatever they were called, and say so."""
    seen = {row.key for row in find_marked(rows, card.marks, files=files)}
    rest = [row for row in rows if row.key not in seen]
    notes = []
    if seen:
        named = listed(seen, _NAMED)
        notes.append(
            f"{len(seen)} clips are left out, for the checkpoint has learned from them or their takes: {named}"
        )
    if copies := same_sounds(rest):
        notes.append(f"{len(copies)} sounds are scored under several keys: {name_copies(copies)}")
    return rest, notes


def _namesakes(rows: Sequence[Row], card: Card) -> list[str]:
    """Say which speakers of another corpus are called as some who were learned from."""
    people = [*card.speakers.get("train", ()), *card.speakers.get("validation", ())]
    learned = {one_spelling(name.rpartition(":")[2] if len(card.corpora) > 1 else name) for name in people}
    same = {row.speaker for row in rows if row.speaker and one_spelling(row.speaker) in learned}
    if not same:
        return []
    return [
        f"speakers {listed(same, _NAMED)} are called as speakers whom the checkpoint has learned from; if they are the "
        "same people, the scores are too high"
    ]


def _named(rows: Sequence[Row], card: Card) -> list[Row]:
    """Name people as the card does; of several corpora that it does not know, say whose they are."""
    found = {row.corpus for row in rows}
    corpora = card.corpora if found <= set(card.corpora) else found
    return [replace(row, speaker=person_name(row, corpora)) for row in rows]


def _describe_corpus(corpus: PreparedCorpus, rows: Sequence[Row]) -> dict[str, Any]:
    names = sorted({row.corpus for row in rows})
    return {
        "root": str(corpus.root),
        "names": names,
        "synthetic": DEMO_CORPUS in names,
        "left_out_by_prepare": corpus.skipped(),
    }


def _headline(predictions: Predictions) -> dict[str, Any]:
    scores = summarise(predictions)
    return {name: scores[name] for name in ("n", "accuracy", "uar", "macro_f1", "interval")}
