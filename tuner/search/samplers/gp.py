"""A Gaussian process for the first hundred trials, Parzen estimators from then on.

The process learns most from few trials. What it proposes is a maximum of expected hypervolume improvement, found here by
moving several plans at once: one at a time, as Optuna does it, takes most of a proposal's time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution
from optuna.samplers import GPSampler, TPESampler
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

if TYPE_CHECKING:
    from optuna._gp.acqf import BaseAcquisitionFunc

MOST_TRIALS = 100
"""Finished trials up to which the process proposes."""

SAMPLES = 512
"""Random plans, of which the best are among those that the ascent starts from."""

STARTS = 10
"""Plans that are moved at once; Optuna gives half as many of the front."""

LONGEST_ASCENT = 20
"""Turns through all parameters."""


class GPThenTPESampler(GPSampler):
    """Optuna's `GPSampler` (expected hypervolume improvement), then its `TPESampler`. Of discrete parameters only."""

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

    def _optimize_acqf(self, acqf: BaseAcquisitionFunc, best_params: NDArray[np.float64] | None) -> NDArray[np.float64]:
        """Ascent by one parameter after the other, from plans of the front and from the best of random ones."""
        space = acqf.search_space
        sampled = space.sample_normalized_params(SAMPLES, rng=self._rng.rng)
        known = sampled[:0] if best_params is None else best_params
        best = np.argsort(-acqf.eval_acqf_no_grad(sampled))[: STARTS - len(known)]
        points = np.vstack([known, sampled[best]])
        values = acqf.eval_acqf_no_grad(points)
        choices = dict(zip(space.discrete_indices, space.get_choices_of_discrete_params(), strict=True))
        for _ in range(LONGEST_ASCENT):
            before = values.copy()
            for parameter, some in choices.items():
                place = np.searchsorted(some, points[:, parameter])
                for shift in range(1, len(some)):
                    neighbours = points.copy()
                    neighbours[:, parameter] = some[(place + shift) % len(some)]
                    reached = acqf.eval_acqf_no_grad(neighbours)
                    better = reached > values
                    points[better], values[better] = neighbours[better], reached[better]
            if (values == before).all():
                break
        return np.asarray(points[values.argmax()])
