"""Coordinate descent over the parameters of a method."""

from __future__ import annotations

from casspec.tuner.cascade.descent import descend


def quality(parameters: dict[str, float]) -> float:
    """Best at a 3, b 20; c makes next to no difference."""
    return 2.0 - 0.1 * abs(parameters["a"] - 3) - 0.01 * abs(parameters["b"] - 20) + 0.001 * parameters["c"]


AXES = {"a": (1, 2, 3, 4), "b": (10, 20, 30), "c": (0, 1)}

START = {"a": 1, "b": 10, "c": 0}


def test_descent_finds_the_best_values_and_leaves_what_makes_no_difference() -> None:
    assert descend(START, AXES, quality, quality, seconds=60.0) == {"a": 3, "b": 20, "c": 0}


def test_descent_keeps_only_what_all_of_the_material_confirms() -> None:
    assert descend(START, AXES, quality, lambda parameters: 1.0, seconds=60.0) == START
    assert descend(START, AXES, lambda parameters: 1.0, quality, seconds=60.0) == START


def test_descent_tries_nothing_new_once_its_time_is_over() -> None:
    times = iter(range(1000))
    tried: list[dict[str, float]] = []

    def score(parameters: dict[str, float]) -> float:
        tried.append(parameters)
        return quality(parameters)

    found = descend(START, AXES, quality, score, seconds=3.0, clock=lambda: float(next(times)))
    assert found == {"a": 3, "b": 10, "c": 0}  # start, then a at 2 and 3
    assert len(tried) == 3
