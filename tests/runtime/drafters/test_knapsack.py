"""The dynamic programme against trying everything."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from casspec.runtime.drafters.knapsack import integer_weights, most_similar_ways


def orthogonal(steps: list[float]) -> tuple[list[Tensor], Callable[[int, Tensor], Tensor]]:
    """Sub-layers that each add along an axis of their own: squared similarities add up, so the programme is exact."""
    axes = torch.eye(len(steps) + 1)[1:] * torch.tensor(steps)[:, None]
    states = [torch.eye(len(steps) + 1)[:1]]
    for axis in axes:
        states.append(states[-1] + axis)
    return states, lambda place, states: states + axes[place]


@given(
    st.lists(st.tuples(st.floats(0.1, 2.0), st.integers(1, 4)), min_size=1, max_size=7),
    st.integers(0, 12),
    st.booleans(),
)
def test_every_saving_gets_its_most_similar_skip_set(
    sub_layers: list[tuple[float, int]], budget: int, ends_must_run: bool
) -> None:
    steps, weights = [step for step, _ in sub_layers], [weight for _, weight in sub_layers]
    if ends_must_run:
        weights[0] = weights[-1] = 0
    trajectory, run = orthogonal(steps)
    ways = most_similar_ways(trajectory, run, weights, budget, min_similarity=-1.0)

    kept: dict[int, float] = {}
    free = [place for place, weight in enumerate(weights) if weight]
    for size in range(len(free) + 1):
        for skipped in combinations(free, size):
            saved = sum(weights[place] for place in skipped)
            value = sum(step**2 for place, step in enumerate(steps) if place not in skipped)
            if saved <= budget:
                kept[saved] = max(value, kept.get(saved, 0.0))
    assert [way.saved for way in ways] == sorted(kept)
    for way in ways:
        assert way.saved == sum(weights[place] for place in way.skipped)
        assert sum(step**2 for place, step in enumerate(steps) if place not in way.skipped) == pytest.approx(
            kept[way.saved], abs=1e-4
        )
        expected = trajectory[0].clone()
        for place in range(len(steps)):
            if place not in way.skipped:
                expected = run(place, expected)
        torch.testing.assert_close(way.hidden, expected)
        if not ends_must_run:
            similarity = torch.cosine_similarity(way.hidden, trajectory[-1]).item()
            assert way.similarity == pytest.approx(similarity, abs=1e-5)


def test_ways_that_turn_away_are_given_up() -> None:
    trajectory, run = orthogonal([3.0, 0.1])
    assert [way.skipped for way in most_similar_ways(trajectory, run, [1, 1], 2, 0.9)] == [(), (1,)]
    assert most_similar_ways(trajectory, run, [1, 1], 2, 1.1) == []


@pytest.mark.parametrize(
    ("times", "weights"), [((1.0, 1.0), (1, 1)), ((1.0, 2.6), (1, 3)), ((2.4, 1.0), (2, 1)), ((1.0, 99.0), (1, 5))]
)
def test_the_cheaper_sub_layer_weighs_one(times: tuple[float, float], weights: tuple[int, int]) -> None:
    assert integer_weights(*times) == weights
