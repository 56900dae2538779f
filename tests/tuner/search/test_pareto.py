"""The front of acceptance over cost, and the area it dominates."""

from __future__ import annotations

import random

import pytest

from casspec.storage.schema import DrafterCandidate
from casspec.tuner.search.pareto import best_within, hypervolume, pareto_front
from tests.storage import samples


def candidate(acceptance: float, cost: float) -> DrafterCandidate:
    return samples.candidate(acceptance=acceptance).model_copy(update={"cost": cost})


def test_hypervolume_is_the_dominated_area() -> None:
    front = [candidate(0.8, 0.6), candidate(0.5, 0.2)]
    assert hypervolume(front) == pytest.approx(0.4 * 0.5 + 0.4 * 0.8)
    assert hypervolume([*front, candidate(0.7, 0.7), candidate(0.9, 1.2)]) == hypervolume(front)
    assert hypervolume([]) == 0


def test_front_holds_exactly_the_candidates_nothing_dominates() -> None:
    generator = random.Random(1)
    candidates = [candidate(generator.random(), generator.choice([0.2, 0.4, 0.6, 0.8])) for _ in range(60)]
    front = pareto_front(candidates)
    for one in candidates:
        dominated = any(
            other.acceptance >= one.acceptance
            and other.cost <= one.cost
            and (other.acceptance, other.cost) != (one.acceptance, one.cost)
            for other in candidates
        )
        assert (one in front) is not dominated
    assert best_within(candidates, 0.1) is None
    assert best_within(front, 1.0) == front[-1]
