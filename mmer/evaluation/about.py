"""What metrics.json says of a system beside its answers; docs/metrics.md describes it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mmer.calibration import Calibration
from mmer.checkpoint import Card, checkpoint_hash
from mmer.corpora.catalogue import describe_corpora
from mmer.corpora.manifest import reading_order
from mmer.data.store import PreparedCorpus
from mmer.evaluation.metrics import score
from mmer.evaluation.predictions import Predictions
from mmer.evaluation.select import Selection
from mmer.model import EmotionModel


def describe_checkpoint(
    path: Path, card: Card, model: EmotionModel, corpus: PreparedCorpus, chosen: Selection
) -> dict[str, Any]:
    """Return what is known of a checkpoint and of the clips that it is scored on."""
    scored = sorted({row.speaker for row in chosen.rows if row.speaker}, key=reading_order)
    return {
        "source": {"kind": "checkpoint", "path": str(path), "sha256": checkpoint_hash(path), "epoch": card.epoch},
        "protocol": chosen.protocol,
        "part": chosen.part,
        "seeds": [] if card.seed is None else [card.seed],
        "speakers": {part: card.speakers.get(part, []) for part in ("train", "validation")} | {"scored": scored},
        "model": {
            "modalities": list(card.model.reads),
            "streams": {name: stream.encoder for name, stream in card.model.streams.items()},
            "parameters": sum(parameter.numel() for parameter in model.parameters()),
        },
        "trained_with": card.versions,
        "corpus": {
            **describe_corpora({row.corpus for row in chosen.rows}),
            "root": corpus.name,
            "left_out": [{"reason": reason, "clips": clips} for reason, clips in chosen.left_out.items()],
        },
        "leaks": list(chosen.leaks),
        "notes": list(chosen.notes),
    }


def describe_calibration(calibration: Calibration | None, raw: Predictions) -> dict[str, Any] | None:
    """Return how probabilities were corrected, and how good they were before.

    Args:
        calibration: The correction, if any.
        raw: The answers without it.
    """
    if calibration is None:
        return None
    before = score(raw)
    return {
        "method": calibration.method,
        "scale": list(calibration.scale),
        "bias": list(calibration.bias),
        "speakers": calibration.speakers,
        "clips": calibration.clips,
        "before": {name: before[name] for name in ("ece", "brier", "log_loss")},
    }


def describe_abstention(calibration: Calibration | None) -> dict[str, Any] | None:
    """Return below which probability a system abstains, and how precise it was meant to be."""
    if calibration is None or calibration.threshold is None:
        return None
    return {"threshold": calibration.threshold, "wanted": calibration.precision}
