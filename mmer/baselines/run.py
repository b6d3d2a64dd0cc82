"""A prepared folder to a baseline's results: answers, report, ranking and picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from mmer.baselines.classifiers import Kind
from mmer.baselines.clips import Answered, Clips, make_system, usable, write_validation
from mmer.baselines.inputs import VOICE, Table, read_inputs
from mmer.baselines.late_forest import FACE, deal_roles, read_face, run_late_forest
from mmer.baselines.ranking import Ranked, draw_components, rank_descriptors, write_picture, write_ranking
from mmer.baselines.single import run_single
from mmer.config import SplitConfig
from mmer.corpora.folds import deal_folds
from mmer.data.store import PreparedCorpus
from mmer.emotions import LabelSet
from mmer.evaluation.measure import measure
from mmer.evaluation.report.words import warn_of
from mmer.evaluation.results import Evaluation
from mmer.evaluation.system import System

VALIDATION = "validation.csv"
"""The answers about the validation speakers, which ``mmer late`` learns from."""


@dataclass(frozen=True, slots=True)
class Work:
    """How a baseline is run, whichever it is.

    Args:
        labels: The classes.
        split: How speakers are dealt.
        fold: One fold alone; None takes all.
        seeds: Seeds of the searches, and of forests.
        cache: Where the descriptors of sounds are kept; None keeps them beside the prepared folder.
        workers: How many processes.
        progress: Whether to show progress bars on standard error.
    """

    labels: LabelSet
    split: SplitConfig
    fold: int | None = None
    seeds: Sequence[int] = (0,)
    cache: Path | None = None
    workers: int = 1
    progress: bool = True


@dataclass(frozen=True, slots=True)
class Baseline:
    """What a baseline answered.

    Args:
        name: What the report calls it.
        clips: The clips, with their vectors.
        answered: Its answers, fold by fold and seed by seed.
        notes: What a human should know, a sentence each.
    """

    name: str
    clips: Clips
    answered: Sequence[Answered]
    notes: Sequence[str]

    def system(self, work: Work) -> System:
        """Return it as a system, pooled over folds and seeds."""
        return make_system(self.name, self.clips, self.answered, work.split.protocol, self.notes)

    def write(self, output: Path, work: Work, *, command: str, resamples: int) -> tuple[dict[str, Any], list[Ranked]]:
        """Write its answers, its report, the ranking of its descriptors and their picture into a folder.

        Args:
            output: The folder.
            work: How the baseline was run.
            command: The command that asks for it.
            resamples: How many times speakers are drawn for the intervals.

        Returns:
            The content of metrics.json, and the ranking.
        """
        system = self.system(work)
        metrics = measure([system], resamples=resamples, command=command)
        learned = [each.learned for each in self.answered if each.seed == self.answered[0].seed]  # seeds learn the same
        ranked = rank_descriptors(self.clips, learned, workers=work.workers, progress=work.progress)
        output.mkdir(parents=True, exist_ok=True)
        write_validation(self.answered, output / VALIDATION)
        write_ranking(ranked, output / "descriptors.csv")
        write_picture(draw_components(self.clips, warn_of(metrics["systems"])), output / "components.png")
        Evaluation(metrics, [system]).write(output)
        return metrics, ranked


def run_classifier(corpus: PreparedCorpus, kind: Kind, inputs: Sequence[str], work: Work) -> Baseline:
    """Run a classifier of what clips have, averaged over each clip.

    Args:
        corpus: The prepared folder.
        kind: Which classifier.
        inputs: What it reads: ``voice``, the descriptors of the sound, and prepared streams by their names.
        work: How.

    Raises:
        MmerError: The folder, the protocol or the inputs do not fit each other.
    """
    rows = usable(corpus, work.labels)
    folds, empty = deal_folds(corpus.rows, work.split, work.fold)
    table = read_inputs(corpus, rows, inputs, cache=work.cache, workers=work.workers, progress=work.progress)
    clips = Clips.of(corpus, work.labels, rows, table)
    answered = run_single(kind, clips, folds, work.seeds, workers=work.workers, progress=work.progress)
    name = kind if tuple(inputs) == (VOICE,) else f"{kind} {'+'.join(inputs)}"
    return Baseline(name, clips, answered, list(map(str, empty)))


def run_forest_of_both(corpus: PreparedCorpus, face: str, work: Work, device: torch.device) -> Baseline:
    """Run a forest of a voice's machine and a face's posteriors.

    Args:
        corpus: The prepared folder.
        face: Where the posteriors come from, as :func:`~mmer.baselines.late_forest.read_face` takes it.
        work: How.
        device: Where a checkpoint of the face runs.

    Raises:
        MmerError: The folder, the protocol or the face's posteriors do not fit each other.
    """
    rows = usable(corpus, work.labels)
    roles, empty = deal_roles(corpus.rows, work.split, work.fold)
    faces = read_face(corpus, rows, face, device)
    voices = read_inputs(corpus, rows, (VOICE,), cache=work.cache, workers=work.workers, progress=work.progress)
    clips = Clips.of(corpus, work.labels, rows, Table.of({VOICE: voices, FACE: faces}))
    answered = run_late_forest(clips, roles, work.seeds, workers=work.workers, progress=work.progress)
    return Baseline("late_forest", clips, answered, [f"face: {face}", *empty])
