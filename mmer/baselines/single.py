"""One classifier of descriptors, fold by fold: ``mmer baseline svm``, ``forest`` and ``logistic``."""

from __future__ import annotations

from collections.abc import Sequence

from tqdm import tqdm

from mmer.baselines.classifiers import Kind
from mmer.baselines.clips import Answered, Clips, fit, say_choice, say_fold
from mmer.corpora.folds import DealtFold
from mmer.corpora.manifest import listed

_ALL = slice(None)


def run_single(
    kind: Kind,
    clips: Clips,
    folds: Sequence[DealtFold],
    seeds: Sequence[int],
    *,
    workers: int = 1,
    progress: bool = True,
) -> list[Answered]:
    """Fit a classifier on the training speakers of each fold, and let it answer for the others.

    Args:
        kind: Which classifier.
        clips: The clips.
        folds: How they are dealt.
        seeds: Seeds of the searches, and of forests.
        workers: How many processes search.
        progress: Whether to show a progress bar on standard error.

    Raises:
        SplitError: A fold has nothing to learn from.
        ConfigError: A support vector machine has too few speakers to learn from.
    """
    tasks = [(seed, fold) for seed in seeds for fold in folds]
    with tqdm(tasks, desc=kind, unit="fold", disable=not progress) as bar:
        return [_answer(kind, clips, fold, seed, workers) for seed, fold in bar]


def _answer(kind: Kind, clips: Clips, fold: DealtFold, seed: int, workers: int) -> Answered:
    learned, validated, tested = (clips.among(fold.parts[part]) for part in ("train", "validation", "test"))
    classifier = fit(kind, clips, learned, fold.split, _ALL, seed, workers)
    x = clips.table.values
    return Answered(
        fold,
        seed,
        clips.answers(tested, classifier.answer(x[tested]), fold, seed),
        clips.answers(validated, classifier.answer(x[validated]), fold, seed) if len(validated) else None,
        learned,
        (
            say_fold(fold, f"{listed(fold.split.train) or 'nobody known'} trained"),
            say_choice(f"fold {fold.number}, seed {seed}", classifier),
        ),
    )
