"""Expected costs of steps, and how observed steps correct them."""

from __future__ import annotations

import numpy as np
import pytest

from casspec.engines.latencies import (
    FIRST_STEPS,
    MOST_UNUSUAL,
    STEPS_OF_A_GUESS,
    STEPS_OF_A_MEASUREMENT,
    GuessedSurface,
    LatencySurface,
    StepCosts,
)
from casspec.engines.result import LatencyPoint


def points(*told: tuple[int, int, float]) -> list[LatencyPoint]:
    return [LatencyPoint(batch=batch, draft_tokens=tokens, milliseconds=ms) for batch, tokens, ms in told]


def test_measured_points_are_met_and_joined_by_lines() -> None:
    surface = LatencySurface(points((1, 0, 10), (1, 4, 18), (4, 0, 16), (4, 2, 32)))
    assert surface.costs(1, 6).tolist() == [10, 12, 14, 16, 18, 20, 22]
    assert surface.costs(4, 8)[[0, 4, 8]].tolist() == [16, 24, 32]
    assert surface.costs(2, 0)[0] == pytest.approx(12)


def test_more_requests_than_were_measured_cost_as_tokens_do() -> None:
    surface = LatencySurface(points((2, 0, 10), (2, 2, 18)))
    assert surface.costs(4, 2).tolist() == [14, 16, 18]
    assert surface.costs(1, 2).tolist() == [10, 12, 14]


def test_a_point_measured_twice_is_its_median_and_costs_never_fall() -> None:
    surface = LatencySurface(points((1, 0, 10), (1, 0, 12), (1, 0, 30), (1, 4, 11)))
    assert surface.costs(1, 4).tolist() == [12, 12, 12, 12, 12]


def test_a_surface_of_one_point_is_flat() -> None:
    assert LatencySurface(points((1, 0, 10))).costs(3, 2).tolist() == [10, 10, 10]


def growth(costs: StepCosts, batch: int = 1) -> float:
    """Of a fourth token, over the plain step."""
    found = costs.costs(batch, 4)
    return float(found[4] / found[0] - 1)


def observed(costs: StepCosts, of_a_token: float, steps: int = 300, seed: int = 0) -> StepCosts:
    rng = np.random.default_rng(seed)
    for _ in range(steps):
        n = int(rng.integers(0, 6))
        costs.observe(1, n, 20 * (1 + of_a_token * n) * float(rng.lognormal(0, 0.05)))
    return costs


@pytest.mark.parametrize("of_a_token", [0.0, 0.02, 0.3])
def test_a_wrong_guess_is_corrected_by_what_steps_take(of_a_token: float) -> None:
    costs = observed(StepCosts(GuessedSurface(0.1), STEPS_OF_A_GUESS), of_a_token)
    assert growth(costs) == pytest.approx(4 * of_a_token, rel=0.1, abs=0.06)


def test_a_measurement_gives_way_more_slowly_than_a_guess() -> None:
    measured = LatencySurface(points((1, 0, 20), (1, 4, 28)))
    few = [observed(StepCosts(measured, steps), 0.3, 40) for steps in (STEPS_OF_A_GUESS, STEPS_OF_A_MEASUREMENT)]
    assert 0.4 < growth(few[1]) < growth(few[0])


def test_steps_that_stalled_say_nothing() -> None:
    costs = StepCosts(GuessedSurface(0.05), STEPS_OF_A_GUESS)
    costs.observe(1, 0, 5000)
    observed(costs, 0.05)
    before = growth(costs)
    for _ in range(MOST_UNUSUAL - 1):
        costs.observe(1, 4, 900)
    assert growth(costs) == before


def test_an_engine_that_became_slower_for_good_is_learned_anew() -> None:
    costs = observed(StepCosts(GuessedSurface(0.05), STEPS_OF_A_GUESS), 0.05)
    for _ in range(MOST_UNUSUAL + FIRST_STEPS):
        costs.observe(1, 0, 900)
    for _ in range(100):
        costs.observe(1, 4, 900 * 1.8)
        costs.observe(1, 0, 900)
    assert growth(costs) == pytest.approx(0.8, abs=0.15)


def test_batches_of_other_sizes_keep_their_growth() -> None:
    costs = observed(StepCosts(GuessedSurface(0.1), STEPS_OF_A_GUESS), 0.0)
    assert growth(costs, 4) == growth(StepCosts(GuessedSurface(0.1), STEPS_OF_A_GUESS), 4)


def test_costs_never_fall_however_odd_the_steps() -> None:
    costs = StepCosts(GuessedSurface(0.02), STEPS_OF_A_GUESS)
    for n in [0, 8] * 50:
        costs.observe(1, n, 20 - 2 * n)
    found = costs.costs(1, 40)
    assert (np.diff(found) >= 0).all()
    assert (found > 0).all()
