"""``mmer baseline late_forest``: a random forest of what a voice's machine and a face's network answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from tqdm import tqdm

from mmer.baselines.classifiers import fit_classifier
from mmer.baselines.clips import Answered, Clips, check_learnable, fit, say_choice
from mmer.baselines.inputs import VOICE, Table, read_inputs
from mmer.config import SplitConfig
from mmer.corpora.folds import DealtFold, deal_folds
from mmer.corpora.leaks import one_spelling
from mmer.corpora.manifest import Row, listed
from mmer.corpora.protocols import MITSEAS
from mmer.data.store import PreparedCorpus
from mmer.errors import CheckpointError, ConfigError, SplitError
from mmer.evaluation.predictions import Predictions

if TYPE_CHECKING:
    import torch

FACE = "face"
"""The input of the face's posteriors."""

_FRAME = 0.04
"""How long a frame lasts that a network of single pictures sees, in seconds: 25 of them are in a second."""


@dataclass(frozen=True, slots=True)
class Roles:
    """Who does what in one fold.

    Args:
        fold: The fold in which the forest learns and is tested.
        voice: The clips that train the machine of the voice, of nobody who is in the others.
        forest: The clips that train the forest.
    """

    fold: DealtFold
    voice: Sequence[Row]
    forest: Sequence[Row]


def deal_roles(rows: Sequence[Row], config: SplitConfig, only: int | None = None) -> tuple[list[Roles], list[str]]:
    """Deal the clips: by ``mitseas``, or by any protocol, whose validation speakers then train the forest.

    Args:
        rows: The clips.
        config: How speakers are dealt.
        only: One fold; None takes all.

    Returns:
        The folds, and of those that a partial copy of the corpus cannot fill the reason.

    Raises:
        SplitError: The protocol does not fit the clips, or leaves nobody to train the forest, or no fold can be filled.
    """
    if config.protocol != MITSEAS:
        folds, empty = deal_folds(rows, config, only)
        if nobody := [fold.number for fold in folds if not fold.parts["validation"]]:
            raise SplitError(
                f"{config.protocol} leaves nobody to train the forest in fold {listed(map(str, nobody))}: its "
                f"validation speakers do; choose {MITSEAS}, or a protocol with validation speakers"
            )
        return [Roles(fold, fold.parts["train"], fold.parts["validation"]) for fold in folds], list(map(str, empty))
    try:
        voices, lacking = deal_folds(rows, replace(config, protocol=f"{MITSEAS}:audio"), only)
        forests, empty = deal_folds(rows, replace(config, protocol=f"{MITSEAS}:combination"), only)
    except SplitError as error:
        raise SplitError(_of_both(error)) from error
    heard = {fold.number: fold.parts["train"] for fold in voices}
    roles = [Roles(fold, heard[fold.number], fold.parts["train"]) for fold in forests if fold.number in heard]
    reasons = list(dict.fromkeys(_of_both(reason) for reason in (*lacking, *empty)))
    if not roles:
        raise SplitError("; ".join(reasons))
    return roles, reasons


def _of_both(reason: SplitError) -> str:
    """Return what is wrong with a fold, in the same words for both halves of ``mitseas``."""
    return str(reason).replace(f"{MITSEAS}:audio", MITSEAS).replace(f"{MITSEAS}:combination", MITSEAS)


def run_late_forest(
    clips: Clips, roles: Sequence[Roles], seeds: Sequence[int], *, workers: int = 1, progress: bool = True
) -> list[Answered]:
    """Fit a support vector machine on voices, and a forest on its answers and the face's about other speakers.

    Args:
        clips: The clips, with the inputs ``voice`` and ``face``.
        roles: Who does what in each fold.
        seeds: Seeds of the searches and the forests.
        workers: How many processes search.
        progress: Whether to show a progress bar on standard error.

    Raises:
        SplitError: A fold has nothing to learn from.
        ConfigError: There are too few speakers to learn from.
    """
    tasks = [(seed, each) for seed in seeds for each in roles]
    with tqdm(tasks, desc="late_forest", unit="fold", disable=not progress) as bar:
        return [_answer(clips, each, seed, workers) for seed, each in bar]


def _answer(clips: Clips, roles: Roles, seed: int, workers: int) -> Answered:
    fold, split = roles.fold, roles.fold.split
    every = clips.among(roles.voice)
    heard = every[clips.table.has(VOICE)[every]]
    machine = fit("svm", clips, heard, split, clips.table.inputs[VOICE], seed, workers)
    learned, tested = clips.among(roles.forest), clips.among(fold.parts["test"])
    x = np.full((len(clips.rows), len(clips.labels.names)), np.nan)
    for part in (learned, tested):
        voiced = part[clips.table.has(VOICE)[part]]
        x[voiced] = machine.answer(clips.table.values[voiced, clips.table.inputs[VOICE]])
    x = np.concatenate([x, clips.table.values[:, clips.table.inputs[FACE]]], axis=1)
    check_learnable(clips, learned, split)
    forest = fit_classifier(
        "forest",
        x[learned],
        clips.label[learned],
        clips.people(learned, split),
        classes=len(clips.labels.names),
        seed=seed,
        workers=workers,
    )
    voices = listed({split.speaker(clips.rows[i]) or "nobody known" for i in heard})
    forests = listed({split.speaker(clips.rows[i]) or "nobody known" for i in learned})
    where = f"fold {fold.number}, seed {seed}"
    return Answered(
        fold,
        seed,
        clips.answers(tested, forest.answer(x[tested]), fold, seed),
        None,
        learned,
        (
            f"fold {fold.number}: {listed(split.test)} tested; {voices} trained the voice, {forests} the forest",
            say_choice(f"{where}, voice", machine),
            say_choice(f"{where}, forest", forest),
        ),
    )


def read_face(corpus: PreparedCorpus, rows: Sequence[Row], source: str, device: torch.device) -> Table:
    """Return the posteriors of a face, a vector for each clip.

    Args:
        corpus: The prepared folder.
        rows: The clips.
        source: A prepared stream by its name, averaged over its steps; an mmer checkpoint that has learned from another
            corpus; or a table of answers.
        device: Where a checkpoint runs.

    Raises:
        ConfigError: It is none of these.
        CheckpointError: The checkpoint has learned from these clips' corpus, or from some of them before.
        PredictionsError: The table cannot be read.
        ClipError: A prepared clip is missing or damaged.
    """
    if source in corpus.config.features:
        return read_inputs(corpus, rows, (source,))
    path = Path(source)
    if not path.is_file():
        streams = ", ".join(corpus.config.features) or "none"
        raise ConfigError(
            f"--face {source} is no stream of {corpus.root} (it has: {streams}) and no file; name a stream of "
            "posteriors, a checkpoint or a table of answers"
        )
    found = _by_checkpoint(corpus, rows, path, device) if path.suffix == ".ckpt" else Predictions.read(path)
    if len(set(found.key)) < len(found):
        raise ConfigError(f"{path} answers for clips more than once, for several seeds; give a table of one")
    answers = dict(zip(found.key, found.probabilities, strict=True))
    if not any(row.key in answers for row in rows):
        raise ConfigError(
            f"{path} answers for none of the {len(rows)} clips of {corpus.root}; give answers about these"
        )
    lacking = np.full(len(found.names), np.nan)
    return Table(
        tuple(f"{FACE} {name}" for name in found.names), np.array([answers.get(row.key, lacking) for row in rows])
    )


def _by_checkpoint(corpus: PreparedCorpus, rows: Sequence[Row], path: Path, device: torch.device) -> Predictions:
    """Let a checkpoint that has learned from other corpora answer; one of single pictures sees all frames of a clip."""
    from mmer.checkpoint import read_checkpoint
    from mmer.evaluation.infer import predict_rows
    from mmer.evaluation.select import learned_from

    model, card = read_checkpoint(path)
    if shared := {one_spelling(row.corpus) for row in rows} & {one_spelling(name) for name in card.corpora}:
        raise CheckpointError(
            f"--face {path} has learned from {listed(shared)}, whose clips are combined here; give one that was "
            "trained on another corpus, as on fer2013"
        )
    if known := "; ".join(learned_from(rows, card)):  # before it came to its own corpus
        raise CheckpointError(f"--face {path} {known}, which are combined here; give one that began from other weights")
    reads = card.model.reads
    unlabelled = [replace(row, label=None) for row in rows if any(map(row.has, reads))]  # its classes are its own
    if not unlabelled:
        raise ConfigError(
            f"--face {path} reads {' and '.join(reads)}, and no clip of {corpus.root} has that; prepare clips that do"
        )
    if reads == ("video",) and card.model.clip.frames == 1:  # an answer is the mean over a clip's windows
        model.config = replace(card.model, clip=replace(card.model.clip, seconds=_FRAME))
    return predict_rows(model, corpus, unlabelled, device=device, batch_size=1)["+".join(reads)]
