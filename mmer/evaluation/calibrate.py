"""Fit a calibration on validation speakers: probabilities that mean what they say, and when to abstain."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import log_softmax, softmax

from mmer.calibration import Calibration, CalibrationMethod, log_probabilities
from mmer.checkpoint import load_checkpoint, read_card
from mmer.config import ShardConfig
from mmer.errors import CheckpointError, ConfigError, SplitError
from mmer.evaluation.evaluate import evaluate_checkpoint
from mmer.evaluation.predictions import Predictions

_LOWEST = 1e-3  # of a scale: at 0 all classes would be as likely, below it the order of the answers would turn round

_FEWEST = 10  # clips that a threshold must answer: of fewer, a few lucky ones would promise any precision

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Fit:
    """A calibration, and the answers that it was fitted on.

    Args:
        calibration: The calibration.
        raw: The answers as the model gives them.
        fitted: The same, corrected.
        held_out: The same, each speaker's corrected by what was fitted on the others: what may be hoped for on new
            speakers. None of fewer than two speakers.
        about: What else is known of them, as :class:`~mmer.evaluation.system.System` holds it.
    """

    calibration: Calibration
    raw: Predictions
    fitted: Predictions
    held_out: Predictions | None
    about: Mapping[str, Any]


def calibrate_checkpoint(
    checkpoint: Path,
    root: str | Path | None = None,
    *,
    shards: ShardConfig = ShardConfig(),  # noqa: B008 - frozen
    method: CalibrationMethod = "temperature",
    precision: float | None = None,
    device: torch.device,
    batch_size: int = 16,
    workers: int = 0,
    progress: bool = True,
) -> Fit:
    """Fit a calibration on the validation part of a checkpoint's own split; nothing is written.

    Args:
        checkpoint: The checkpoint; a calibration that it has already does not matter.
        root: The prepared folder or the shards; None takes the one it was trained on.
        shards: How shards are read.
        method: Which correction.
        precision: Share of right answers that is wanted of those that are not withheld; None never abstains.
        device: Where the model runs.
        batch_size: Clips in a batch.
        workers: Processes that read clips.
        progress: Whether to show a progress bar on standard error.

    Raises:
        CheckpointError: The checkpoint cannot be read, or has no validation part.
        CorpusError: The folder was not prepared, or not as the checkpoint's clips were.
        SplitError: The folder holds no clip of the validation part.
        ConfigError: The precision cannot be had.
        ClipError: A prepared clip is missing or damaged.
    """
    card = read_card(load_checkpoint(checkpoint), f"checkpoint {checkpoint}")
    if not (card.speakers if card.keys is None else card.keys).get("validation"):
        raise CheckpointError(
            f"checkpoint {checkpoint} has no validation part, and on what it has learned from a calibration would "
            "promise too much; train one whose split has validation speakers"
        )
    try:
        system = evaluate_checkpoint(
            checkpoint,
            root,
            "validation",
            shards=shards,
            device=device,
            batch_size=batch_size,
            workers=workers,
            progress=progress,
            raw=True,
        )
    except SplitError as error:
        raise SplitError(
            f"{root or card.root} holds no clip of the validation part that {checkpoint} can use; give the folder that "
            "it was trained on as --data.root"
        ) from error
    raw = system.predictions
    calibration = fit_calibration(raw, method, precision)
    return Fit(calibration, raw, correct(raw, calibration), hold_out(raw, method), system.about)


def correct(predictions: Predictions, calibration: Calibration) -> Predictions:
    """Return answers as a calibration corrects them."""
    return replace(predictions, probabilities=calibration.apply(predictions.probabilities))


def hold_out(predictions: Predictions, method: CalibrationMethod) -> Predictions | None:
    """Return answers, each speaker's corrected by what was fitted on the others; None of fewer than two speakers."""
    speaker, probabilities = np.array(predictions.speaker), predictions.probabilities.copy()
    people = sorted(set(predictions.speaker))
    if len(people) < 2:
        return None
    for person in people:
        calibration = fit_calibration(predictions.where(speaker != person), method)
        probabilities[speaker == person] = calibration.apply(predictions.probabilities[speaker == person])
    return replace(predictions, probabilities=probabilities)


def fit_calibration(
    predictions: Predictions, method: CalibrationMethod = "temperature", precision: float | None = None
) -> Calibration:
    """Fit a calibration by the likelihood of the true classes (Guo et al. 2017, arXiv:1706.04599).

    A normal prior of width 1 around the uncorrected answer keeps scales and biases finite where the clips would not: of
    classes without a clip, and of clips that are all right. It counts as little as a clip or two.

    Args:
        predictions: Uncorrected answers for clips that the system has not learned from.
        method: Which correction.
        precision: Share of right answers that is wanted of those that are not withheld; None never abstains.

    Raises:
        ConfigError: There is no clip, or the precision cannot be had of these clips.
    """
    if not len(predictions):
        raise ConfigError("a calibration needs clips and there is none")
    logits, classes = log_probabilities(predictions.probabilities), len(predictions.names)
    scales = 1 if method == "temperature" else classes
    start = np.array([1.0] * scales + [0.0] * (0 if method == "temperature" else classes))
    bounds = [(_LOWEST, None)] * scales + [(None, None)] * (len(start) - scales)
    found = minimize(
        _loss, start, (logits, predictions.label, start, scales), "L-BFGS-B", jac=True, bounds=bounds, tol=1e-12
    ).x
    calibration = Calibration(
        method,
        scale=tuple(found[:scales].tolist()),
        bias=tuple(found[scales:].tolist()),
        speakers=sorted({speaker for speaker in predictions.speaker if speaker}),
        clips=len(predictions),
    )
    return calibration if precision is None else _abstain(calibration, predictions, precision)


def choose_threshold(predictions: Predictions, precision: float) -> tuple[float, float]:
    """Return the threshold of the largest probability that withholds fewest clips, and the share that is answered.

    It lies halfway between the last answer that is given and the first that is withheld, so that rounding moves no
    clip; where nothing need be withheld it is 0.

    Args:
        predictions: Calibrated answers.
        precision: Share of right answers that is wanted of those that are given.

    Raises:
        ConfigError: No threshold that answers at least ten clips is so precise.
    """
    if len(predictions) < _FEWEST:
        raise ConfigError(f"a precision needs at least {_FEWEST} clips and there are {len(predictions)}")
    confidence = predictions.probabilities.max(axis=1)
    order = np.argsort(-confidence, kind="stable")
    ranked, right = confidence[order], (predictions.predicted == predictions.label)[order]
    answered = np.arange(1, len(ranked) + 1)
    shares = np.cumsum(right) / answered
    possible = (np.append(ranked[1:], 0.0) < ranked) & (answered >= _FEWEST)  # of equals all are answered, or none
    good = np.flatnonzero(possible & (shares >= precision))
    if not len(good):
        best = int(np.flatnonzero(possible)[shares[possible].argmax()])
        raise ConfigError(
            f"a precision of {precision:g} is never reached on these {len(ranked)} clips; the best is "
            f"{shares[best]:.3f}, of {answered[best]} clips; ask for less, or train a better system"
        )
    last = int(good[-1])
    threshold = 0.0 if last == len(ranked) - 1 else float(ranked[last] + ranked[last + 1]) / 2
    return threshold, float(answered[last] / len(ranked))


def _abstain(calibration: Calibration, predictions: Predictions, precision: float) -> Calibration:
    threshold, coverage = choose_threshold(correct(predictions, calibration), precision)
    return replace(calibration, threshold=threshold, precision=precision, coverage=coverage)


def _loss(
    parameters: Array, logits: Array, label: NDArray[np.int64], identity: Array, scales: int
) -> tuple[float, Array]:
    """Return the negative log-likelihood of scales and biases with their prior, and its gradient; both are convex."""
    scale, bias = parameters[:scales], parameters[scales:]
    scores = logits * scale + (bias if len(bias) else 0.0)
    rows, away = np.arange(len(label)), parameters - identity
    loss = -log_softmax(scores, axis=1)[rows, label].sum() + away @ away / 2
    slope = softmax(scores, axis=1)
    slope[rows, label] -= 1
    by_class = (slope * logits).sum(axis=0)
    gradient = np.concatenate([by_class.sum(keepdims=True) if scales == 1 else by_class, slope.sum(axis=0)])
    return float(loss), gradient[: len(parameters)] + away
