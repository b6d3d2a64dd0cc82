"""Who trains, who validates, who is tested."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class SplitConfig:
    """Who trains, who chooses the checkpoint and who is tested. No speaker is in two parts, unless ``allow_leak``."""

    protocol: str = "contig6"
    """``contig6``, ``luna5``, ``emobox6``, ``chuma5``, ``mitseas:audio``, ``mitseas:combination``: RAVDESS's folds;
    ``crema5``: CREMA-D's; ``loso``: leave one speaker out; ``contig:K``: K folds of neighbours, of who is there;
    ``group-kfold:K``: K folds of about as many clips; ``speakers``: the lists below; ``table``: a column or a table
    says it; ``random_leaky``: clips at random, to measure the leak."""
    fold: int = 1
    """Which fold is tested, from 1; its validation speakers are the test speakers of the next, unless the protocol
    names others."""
    test: tuple[int | str, ...] = ()
    """Speakers of the test part (``speakers`` only); none where a model is trained for use and not for a score. Among
    several corpora a name says whose, as ``ravdess:3``."""
    validation: tuple[int | str, ...] = ()
    """Speakers of the validation part (``speakers`` only); none keeps the last checkpoint instead of the best."""
    train: tuple[int | str, ...] | None = None
    """Speakers of the training part (``speakers`` only); None takes everyone else."""
    column: str = "split"
    """Column that says ``train``, ``validation`` or ``test`` (``table`` only); who has no word takes no part."""
    file: str | None = None
    """CSV table with ``key`` and that column, as ``mmer split --output`` writes it (``table`` only); None takes the
    column of the manifest."""
    seed: int = 0
    """Seed of ``random_leaky``."""
    allow_leak: bool = False
    """Run although a speaker, a take or a sound is in two parts, as in some owners' splits; all results are marked."""
    duplicates: Literal["refuse", "drop"] = "refuse"
    """What to do with clips whose sound is that of another clip, to the sample: refuse them, or keep the first."""
