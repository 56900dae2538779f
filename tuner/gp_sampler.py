"""A Gaussian process for the first hundred trials, Parzen estimators from then on.

The process learns most from few trials, but a proposal takes longer with every trial told: past a hundred of 64 parameters
more than ten seconds. By then there is enough for the estimators.
"""

from __future__ import annotations

from typing import Any

from optuna.distributions import BaseDistribution
from optuna.samplers import GPSampler, TPESampler
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

MOST_TRIALS = 100
"""Finished trials up to which the process proposes."""


class GPThenTPESampler(GPSampler):
    """Optuna's `GPSampler` (expected hypervolume improvement), then its `TPESampler`."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed=seed, deterministic_objective=True, warn_independent_sampling=False)
        self._later = TPESampler(seed=seed, multivariate=True)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        finished = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        if len(finished) < MOST_TRIALS:
            return super().sample_relative(study, trial, search_space)
        return self._later.sample_relative(study, trial, search_space)
