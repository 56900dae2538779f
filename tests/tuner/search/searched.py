"""A synthetic search with any sampler, from beginning to end."""

from __future__ import annotations

from casspec.storage.schema import DrafterCandidate, SkipSet
from casspec.tuner.search.plan_spec import PlanSpec
from casspec.tuner.search.study import DrafterSearch, SearchBudget
from tests.tuner.synthetic import N_LAYERS, SyntheticEvaluator

TRIALS = {"gp": 13}

OTHER_TRIALS = 24
"""The Gaussian process takes a second a proposal once ten plans are evaluated."""


def trials_of(sampler: str) -> int:
    """Trials that show what a sampler does."""
    return TRIALS.get(sampler, OTHER_TRIALS)


def searched(
    sampler: str,
    seed: int = 0,
    known: list[DrafterCandidate] | None = None,
    url: str | None = None,
    trials: int | None = None,
    quantised: bool = False,
    sensitivity: bool = False,
    imported: tuple[tuple[str, SkipSet], ...] = (),
) -> list[DrafterCandidate]:
    """What the search finds, in its order; `known` was found before."""
    return DrafterSearch(
        SyntheticEvaluator(quantised=quantised),
        N_LAYERS,
        SearchBudget(trials or trials_of(sampler), seconds=1e9, patience=10**6),
        known or [],
        lambda candidate: candidate,
        url,
        "s",
        seed,
        imported,
        sampler=sampler,
        sensitivity=sensitivity,
    ).run()


def plans(candidates: list[DrafterCandidate]) -> list[PlanSpec]:
    return [PlanSpec.of(candidate) for candidate in candidates]
