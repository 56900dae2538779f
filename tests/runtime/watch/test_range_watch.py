"""A range is left on either side, and come back to."""

from __future__ import annotations

import pytest

from casspec.runtime.watch.range_watch import RangeWatch


def hear(watch: RangeWatch, value: float, times: int) -> None:
    for _ in range(times):
        watch.observe(value, 1.0, 50.0, 40.0)


@pytest.mark.parametrize(("value", "side"), [(0.35, "below"), (0.75, "above")])
def test_a_mean_beyond_an_end_is_told_with_its_side_and_value(value: float, side: str) -> None:
    watch = RangeWatch(0.5, 0.6, 1e6)
    hear(watch, 0.55, 100)
    assert watch.left is None
    hear(watch, value, 100)
    assert watch.left == (side, pytest.approx(value))


def test_it_is_over_once_the_mean_is_back() -> None:
    watch = RangeWatch(0.5, 0.6, 1e6)
    hear(watch, 0.3, 100)
    assert watch.left is not None
    hear(watch, 0.3, 500)
    assert watch.left is not None
    hear(watch, 0.59, 200)
    assert watch.left is None
    hear(watch, 0.3, 100)
    assert watch.left is not None


def test_an_end_that_no_mean_can_pass_is_none() -> None:
    watch = RangeWatch(-0.1, 1.0, 10.0)
    hear(watch, 0.0, 50)
    hear(watch, 1.0, 50)
    assert watch.left is None
