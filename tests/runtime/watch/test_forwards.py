"""Latency by plan: a machine that stays slow is told, one that is busy for a while is not."""

from __future__ import annotations

import pytest

from casspec.runtime.watch.drift import Drift
from casspec.runtime.watch.forwards import LEAST_FORWARDS, TOLERANCE, WINDOW_S, LatencyWatch
from casspec.storage.watched import WatchedPlan

EACH = 1e6 * 12
TOKENS_A_MINUTE = 3_000


class Machine:
    """Runs forwards of a plan, so many a minute."""

    def __init__(self, watch: LatencyWatch) -> None:
        self.watch, self.now_s, self.n_tokens = watch, 0.0, 0

    def run(self, minutes: float, times: float, plan: str = "target", a_minute: int = 60) -> None:
        for place in range(int(minutes * a_minute)):
            self.now_s += WINDOW_S / a_minute
            self.n_tokens += TOKENS_A_MINUTE // a_minute
            slowest = 40.0 if place % 5 == 0 else times  # now and then one is interrupted
            self.watch.forward(plan, 10.0, 10.0 * slowest, self.now_s, self.n_tokens)


def test_a_machine_that_stays_slow_is_told_within_half_an_hour() -> None:
    machine = Machine(LatencyWatch(EACH))
    machine.run(120, 1.05)
    assert machine.watch.drifts == []
    machine.run(8, 2.0)
    assert machine.watch.drifts == []
    machine.run(22, 2.0)
    (drift,) = machine.watch.drifts
    assert (drift.kind, drift.subject, drift.mode, drift.calibrated) == ("latency", "target", None, 1.0)
    assert drift.now == pytest.approx(0.8 * 2.0 + 0.2 * 40.0, rel=0.1)


def test_a_machine_that_became_faster_is_told() -> None:
    machine = Machine(LatencyWatch(EACH))
    machine.run(30, 0.6)
    assert [drift.subject for drift in machine.watch.drifts] == ["target"]


def test_load_that_comes_and_goes_is_no_drift() -> None:
    machine = Machine(LatencyWatch(EACH))
    for _ in range(40):
        machine.run(8, 5.0)
        machine.run(12, 1.0)
        assert machine.watch.drifts == []


def test_what_lies_within_the_tolerance_is_no_drift() -> None:
    machine = Machine(LatencyWatch(EACH))
    machine.run(600, TOLERANCE * 0.99)
    assert machine.watch.drifts == []
    wide = Machine(LatencyWatch(EACH, tolerance=2.0))
    wide.run(60, 1.9)
    assert wide.watch.drifts == []


def test_a_drift_is_over_once_the_machine_is_as_calibrated() -> None:
    machine = Machine(LatencyWatch(EACH))
    machine.run(40, 2.0)
    assert machine.watch.drifts
    machine.run(5, 1.0)
    assert machine.watch.drifts, "one quiet spell does not end it"
    machine.run(25, 1.0)
    assert machine.watch.drifts == []


def test_a_window_waits_for_enough_forwards() -> None:
    machine = Machine(LatencyWatch(EACH))
    machine.run(40, 3.0, a_minute=LEAST_FORWARDS // 8)
    assert machine.watch.drifts == [], "eight minutes an observation: five of them"


def test_plans_are_judged_apart_and_summed_up() -> None:
    watch = LatencyWatch(EACH)
    Machine(watch).run(30, 1.0, "target")
    Machine(watch).run(30, 2.0, "int4")
    assert [drift.subject for drift in watch.drifts] == ["int4"]
    watch = LatencyWatch(EACH)
    for _ in range(3):
        watch.forward("target", 10.0, 12.0, 0.0, 0)
    assert watch.seen == (WatchedPlan(plan="target", forwards=3, predicted_ms=30.0, measured_ms=36.0),)
    assert Drift("latency", "int4", None, 2.0, 1.0).says.endswith("2 times as long as predicted")
