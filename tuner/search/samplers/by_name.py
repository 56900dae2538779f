"""Samplers by name: what proposes plans to a study once the plans it starts from are evaluated.

* tpe: tree-structured Parzen estimators over all switches at once (Bergstra et al. 2011).
* nsga2: a genetic algorithm (Deb et al. 2002); the plans a search starts from are its first generation.
* gp: a Gaussian process and expected hypervolume improvement up to 100 trials, then tpe (`tuner/search/samplers/gp.py`). Switches
  are integers to it, since it takes categories one-hot.
* random: every switch by itself.
* swift: SWIFT's search (`tuner/search/samplers/swift.py`).

All of them learn from whatever they are told, so any may go on where another process was interrupted.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from casspec.storage.errors import UnsupportedOption
from casspec.storage.schema import Precision
from casspec.tuner.search.space import choices

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.samplers import BaseSampler

SAMPLERS = ("tpe", "nsga2", "gp", "random", "swift")
DEFAULT_SAMPLER = "gp"

POPULATION = 20
"""Of nsga2: a search has a few hundred trials, and Optuna's 50 would leave it a handful of generations."""

Space = dict[str, "BaseDistribution"]


def search_space(sampler: str, n_layers: int, precisions: Sequence[Precision]) -> Space:
    """The parameters of `tuner/search/space.py` as this sampler is told of them; empty where nothing can be chosen."""
    from optuna.distributions import CategoricalDistribution, IntDistribution

    def distribution(values: tuple[bool | str, ...]) -> BaseDistribution:
        is_switch = values == (False, True)
        return IntDistribution(0, 1) if is_switch and sampler == "gp" else CategoricalDistribution(values)

    return {name: distribution(values) for name, values in choices(n_layers, precisions).items()}


def make_sampler(name: str, seed: int, space: Space) -> BaseSampler:
    """The sampler of this name over a `search_space` made for it. Raises UnsupportedOption for a name that is none."""
    from optuna.samplers import NSGAIISampler, RandomSampler, TPESampler

    seed %= 2**32
    match name:
        case "tpe":
            return TPESampler(seed=seed, multivariate=True)
        case "nsga2":
            return NSGAIISampler(population_size=POPULATION, seed=seed)
        case "gp":
            from casspec.tuner.search.samplers.gp import GPThenTPESampler

            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # that it is experimental
                return GPThenTPESampler(seed)
        case "random":
            return RandomSampler(seed=seed)
        case "swift":
            from casspec.tuner.search.samplers.swift import SwiftSampler

            return SwiftSampler(space, seed)
    raise UnsupportedOption(f"no sampler is called '{name}'; the samplers are {', '.join(SAMPLERS)}")


def told_attributes(name: str) -> dict[str, Any]:
    """What a trial that no sampler proposed must carry so that this one learns from it: nsga2's are born first."""
    from optuna.samplers import NSGAIISampler

    return {NSGAIISampler._get_generation_key(): 0} if name == "nsga2" else {}
