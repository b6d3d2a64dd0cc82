"""How the trials of a sweep are drawn, each by a seed of its own."""

from __future__ import annotations

from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.study import Study
from optuna.trial import FrozenTrial

from mmer.training.slots import SLOT, slot_of
from mmer.training.sweep_file import Method


class SeededSampler(BaseSampler):
    """Draws a trial by the seed, its place in the order of slots and what is finished.

    So a sweep that is started again goes on as it would have, and of two processes none draws what the other drew. A
    trial that is tried again has its slot's place, and moves none of those behind it.

    Args:
        method: How.
        seed: The seed.
    """

    def __init__(self, method: Method, seed: int) -> None:
        self.method = method
        self.seed = seed
        self.begun: int | None = None
        """Number of the last trial that was begun."""
        self._sampler: BaseSampler = RandomSampler(seed)

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        """Begin a trial."""
        self.begun = trial.number
        seed = int(np.random.SeedSequence([self.seed, _place(study, trial)]).generate_state(1)[0])
        self._sampler = TPESampler(seed=seed, constant_liar=True) if self.method == "bayes" else RandomSampler(seed)
        self._sampler.before_trial(study, trial)

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """Return what is drawn together."""
        return self._sampler.infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Draw it."""
        return self._sampler.sample_relative(study, trial, search_space)

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Draw one parameter alone."""
        return self._sampler.sample_independent(study, trial, param_name, param_distribution)


def _place(study: Study, trial: FrozenTrial) -> int:
    """Return how many slots were begun before a trial's; trials that were tried again are none."""
    trials = study._storage.get_all_trials(study._study_id, deepcopy=False)  # a pruner may hide some in the study
    return sum(each.number < slot_of(trial) and SLOT not in each.user_attrs for each in trials)
