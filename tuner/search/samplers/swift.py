"""SWIFT's search of skip sets (arXiv 2410.06916) as a sampler: random sets of a fixed size, every 25th from a Gaussian process.

The published search looks at one skip ratio. A front needs several, so five of them take turns; each has its own
Gaussian process, over the trials of its ratio, and maximises acceptance alone. Everything else is that of
`runtime/drafters/skip_search.py`, which does the same while decoding, but for the end: here the budget says when.
"""

from __future__ import annotations

from typing import Any

from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, RandomSampler
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from casspec.runtime.drafters.skip_search import SkipSearch
from casspec.storage.schema import Precision
from casspec.tuner.search.plan_spec import PlanSpec
from casspec.tuner.search.space import PRECISION, parameters_of, spec_of

RATIOS = (0.25, 0.35, 0.45, 0.55, 0.65)
"""Shares of the switches that are off."""


class SwiftSampler(BaseSampler):
    """Proposes plans at the target's precision, from the study's finished trials and its seed alone.

    Args:
        space: the parameters of the study (`tuner/search/samplers/by_name.py`).
    """

    def __init__(self, space: dict[str, BaseDistribution], seed: int) -> None:
        self._space = space
        self._seed = seed
        self._n_layers = sum(name != PRECISION for name in space) // 2 + 2
        self._random = RandomSampler(seed=seed)

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return self._space

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        finished = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        search = SkipSearch(
            self._n_layers, RATIOS[trial.number % len(RATIOS)], seed=self._seed * 1_000_003 + trial.number
        )
        for done in finished:
            spec = spec_of(done.params)
            if len(spec.skip) == search.n_skipped and spec.precision is Precision.TARGET:
                search.record(spec.skip, done.values[0])
        parameters = parameters_of(PlanSpec(search.propose()), self._n_layers, tuple(Precision))
        return {name: parameters[name] for name in search_space}

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        return self._random.sample_independent(study, trial, param_name, param_distribution)
