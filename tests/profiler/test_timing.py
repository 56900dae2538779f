"""Timers read the clock they are given."""

from __future__ import annotations

import pytest

from casspec.profiler.timing import HostTimer, is_disturbed
from tests.profiler.fakes import FakeClock


def test_host_timer_reports_milliseconds_of_each_call_in_order() -> None:
    clock = FakeClock()
    durations = iter([1.0, 250.0, 0.5])
    times = HostTimer(clock).time_ms(clock.taking(lambda: next(durations)), 3)
    assert times == pytest.approx([1.0, 250.0, 0.5])


@pytest.mark.parametrize(
    ("value", "peers", "disturbed"), [(9.0, [1.0, 2.0, 9.0], True), (5.9, [1.0, 2.0, 9.0], False), (9.0, [], False)]
)
def test_a_value_is_disturbed_when_far_above_the_median_of_its_peers(
    value: float, peers: list[float], disturbed: bool
) -> None:
    assert is_disturbed(value, peers) is disturbed
