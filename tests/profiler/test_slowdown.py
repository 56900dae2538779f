"""The slowdown of the machine: told by anchors, kept with every sample, taken out before anything is compared."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from casspec.profiler.measure import BLOCK_POINTS, Schedule, measure, round_slowdowns
from casspec.profiler.slowdown import ANCHORS, Anchors, anchors_of, at_median_slowdown, drift, steady_ms
from casspec.profiler.timing import HostTimer
from casspec.storage.schema import LatencyPoint, LatencySample, Measurement, Precision
from tests.profiler.fakes import FakeClock

POINTS = [
    LatencyPoint(subject="forward", n_attention=2, n_mlp=2, n_tokens=1 + index % 32, context_tokens=64 * index)
    for index in range(3 * BLOCK_POINTS)
]


def true_ms(point: LatencyPoint) -> float:
    return 1.0 + point.n_tokens + point.context_tokens / 100


def measured(slowness: Callable[[float], float], known: list[LatencySample] | None = None) -> list[LatencySample]:
    """Samples of POINTS on a machine that is `slowness(seconds)` times slower than usual."""
    clock = FakeClock()
    known = known or []
    todo = [point for point in POINTS if point not in {sample.point for sample in known}]
    return measure(
        todo,
        lambda point: clock.taking(lambda: true_ms(point) * slowness(clock.seconds)),
        HostTimer(clock),
        Schedule(0.0),
        lambda sample: None,
        lambda *_: None,
        Anchors(anchors_of(POINTS), known),
    )


def errors(samples: list[LatencySample]) -> list[float]:
    """Of the ratios between samples, against the true ones."""
    ratios = [sample.measurement.median_ms / true_ms(sample.point) for sample in samples]
    return [abs(ratio / ratios[0] - 1.0) for ratio in ratios]


def test_a_machine_that_slows_down_is_seen_through() -> None:
    samples = measured(lambda seconds: 1.0 + seconds / 140)
    assert drift(samples) > 0.2
    assert max(errors(samples)) > 0.2
    assert max(errors(at_median_slowdown(samples))) < 0.05


def test_on_a_steady_machine_nothing_is_changed() -> None:
    samples = measured(lambda seconds: 1.0)
    assert [sample.slowdown for sample in samples] == pytest.approx([1.0] * len(samples))
    assert drift(samples) == pytest.approx(0.0)
    assert [sample.measurement.median_ms for sample in at_median_slowdown(samples)] == pytest.approx(
        [sample.measurement.median_ms for sample in samples]
    )


def test_a_resumed_run_tells_its_pace_by_the_anchors_of_the_first() -> None:
    first = measured(lambda seconds: 1.0)[:BLOCK_POINTS]
    rest = measured(lambda seconds: 1.5, known=first)
    assert len(first) + len(rest) == len(POINTS)
    assert [sample.slowdown for sample in rest] == pytest.approx([1.5] * len(rest))
    assert max(errors(at_median_slowdown([*first, *rest]))) < 1e-6


def test_raw_times_are_kept_beside_the_slowdown() -> None:
    sample = LatencySample(point=POINTS[0], measurement=Measurement(values=(2.0, 4.0, 6.0)), slowdown=2.0)
    assert sample.measurement.values == (2.0, 4.0, 6.0)
    assert steady_ms(sample) == pytest.approx(2.0)


def test_anchors_are_cheap_whole_forwards_of_the_target() -> None:
    odd = [
        POINTS[0].model_copy(update={"batch": 4}),
        POINTS[0].model_copy(update={"precision": Precision.INT4_WEIGHT}),
        POINTS[0].model_copy(update={"subject": "mlp"}),
        POINTS[0].model_copy(update={"n_tokens": 128}),
    ]
    found = anchors_of([*odd, *POINTS])
    assert len(set(found)) == ANCHORS
    assert not set(found) & set(odd)


def test_a_round_is_as_slow_as_its_points_are_together() -> None:
    one, other = POINTS[:2]
    rounds = [{one: 1.0, other: 3.0}, {one: 2.0, other: 6.0}, {one: 1.0, other: 3.0}]
    assert round_slowdowns(rounds) == pytest.approx([1.0, 2.0, 1.0])


def test_a_round_that_was_disturbed_as_a_whole_is_measured_again() -> None:
    clock, calls = FakeClock(), 0

    def milliseconds() -> float:
        nonlocal calls
        calls += 1
        second_round = 1 * 10 + 1 * 10 * 3 < calls <= 10 + 2 * 10 * 3
        return 1.5 if second_round else 1.0

    samples = measure(
        POINTS[:10],
        lambda point: clock.taking(milliseconds),
        HostTimer(clock),
        Schedule(0.0),
        lambda sample: None,
        lambda *_: None,
    )
    assert max(value for sample in samples for value in sample.measurement.values) == pytest.approx(1.0)


@given(st.lists(st.floats(0.3, 3.0), min_size=1, max_size=9))
def test_samples_at_their_median_slowdown_stay_as_they_are_to_the_last_bit(slowdowns: list[float]) -> None:
    measured = [
        LatencySample(point=POINTS[place], measurement=Measurement(values=(0.1 + place, 0.7, 3.3)), slowdown=slowdown)
        for place, slowdown in enumerate(slowdowns)
    ]
    even = at_median_slowdown(measured)
    assert at_median_slowdown(even) == even
    assert at_median_slowdown(even[: len(even) // 2 + 1]) == even[: len(even) // 2 + 1]
