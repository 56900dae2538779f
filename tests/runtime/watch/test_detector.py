"""The test of a mean: quick where it has risen, and rarely wrong whatever its observations are."""

from __future__ import annotations

import random

import pytest

from casspec.runtime.watch.detector import MeanDetector, RecentMean


def observations_until_alarm(detector: MeanDetector, value: float, most: int = 1000) -> int | None:
    return next((n for n in range(1, most) if detector.observe(value, 1.0, 100.0)), None)


def test_the_worked_example() -> None:
    assert observations_until_alarm(MeanDetector(0.08, 1e7), 0.19) in (15, 16)


@pytest.mark.parametrize("value", [0.0, 0.04, 0.08])
def test_a_mean_within_its_bound_grows_by_no_more_than_the_tokens(value: float) -> None:
    detector = MeanDetector(0.08, 100.0 * 1000)
    assert observations_until_alarm(detector, value, 1000) is None


@pytest.mark.parametrize("bound", [0.05, 0.4, 0.8])
def test_false_alarms_are_as_far_apart_as_promised(bound: float) -> None:
    """At the bound itself, where most happen, with observations as scattered as can be: all or nothing."""
    rng, limit, alarms, tokens = random.Random(7), 2_000.0, 0, 0.0
    detector = MeanDetector(bound, limit)
    while tokens < 400 * limit:
        n_tokens = rng.choice((1.0, 20.0))
        tokens += n_tokens
        if detector.observe(float(rng.random() < bound), rng.random(), n_tokens):
            alarms += 1
            detector.reset()
    assert 0 < alarms <= 400


def test_light_observations_say_little() -> None:
    light, full = MeanDetector(0.1, 1e6), MeanDetector(0.1, 1e6)
    n_light = next(n for n in range(1, 10_000) if light.observe(0.5, 0.1, 1.0))
    n_full = next(n for n in range(1, 10_000) if full.observe(0.5, 1.0, 1.0))
    assert n_light > 3 * n_full


def test_after_an_alarm_nothing_changes_until_it_begins_anew() -> None:
    detector = MeanDetector(0.1, 10.0)
    assert detector.observe(1.0, 1.0, 20.0)
    assert detector.observe(0.0, 1.0, 0.0)
    detector.reset()
    assert not detector.observe(0.0, 1.0, 1.0)


def test_the_recent_mean_forgets_what_was_before_the_change() -> None:
    mean = RecentMean(0.1)
    for _ in range(50):
        mean.observe(0.05, 3.0)
    assert mean.value == 0.1
    for _ in range(10):
        mean.observe(0.3, 3.0)
    assert mean.value == pytest.approx(0.3)
