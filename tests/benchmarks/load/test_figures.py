"""Throughput by round, ratios within a round, latencies of all requests."""

from __future__ import annotations

import pytest

from benchmarks.load.client import Answer, Drive
from benchmarks.load.field import Measurement
from benchmarks.load.figures import Figures, figures

WHOLE = Answer(0.0, (1.0, 1.5, 2.0), tokens=10, first_tokens=2, steps=5)
FAILED = Answer(0.0, failure="status 500")


def measured(server: str, which: int, seconds: float, *answers: Answer) -> Measurement:
    return Measurement(
        server, "greedy", 2, which, Drive(list(answers), seconds, seconds / 10), seconds * 2, seconds / 4
    )


def of(name: str, *measurements: Measurement) -> Figures:
    return next(each for each in figures(measurements, ["on", "off"], 10) if each.server == name)


def test_throughput_is_the_median_of_rounds_with_its_spread() -> None:
    found = of("on", measured("on", 1, 2.0, WHOLE, WHOLE), measured("on", 2, 4.0, WHOLE, WHOLE))
    assert found.tokens_per_second.value == pytest.approx(7.5)
    assert found.tokens_per_second.spread == pytest.approx(1 / 3)
    assert found.requests_per_second.value == pytest.approx(0.75)
    assert (found.client_cpu, found.server_cpu, found.waiting_cpu) == pytest.approx((0.1, 2.0, 0.25))


def test_ratios_are_taken_within_a_round() -> None:
    rounds = [measured("on", 1, 1.0, WHOLE), measured("off", 1, 2.0, WHOLE)]
    rounds += [measured("on", 2, 10.0, WHOLE), measured("off", 2, 20.0, WHOLE), measured("on", 3, 1.0, WHOLE)]
    ratio = of("on", *rounds).ratios["off"]
    assert (ratio.value, ratio.spread) == pytest.approx((2.0, 0.0))


def test_a_failed_request_counts_as_one_and_brings_nothing() -> None:
    found = of("on", measured("on", 1, 2.0, WHOLE, FAILED))
    assert (found.requests, found.failed) == (2, 1)
    assert found.requests_per_second.value == pytest.approx(0.5)
    alone = of("on", measured("on", 1, 2.0, FAILED))
    assert (alone.first_token, alone.tokens_a_step) == (None, None)


def test_latencies_are_of_all_requests_of_all_rounds() -> None:
    late = Answer(0.0, (3.0,), tokens=4, first_tokens=4, steps=1)
    found = of("on", measured("on", 1, 2.0, WHOLE), measured("on", 2, 3.0, late))
    assert found.first_token is not None
    assert found.first_token.p50 == pytest.approx(2000)
    assert found.token is not None
    assert found.token.p99 == pytest.approx(1000 / 8)
    assert (found.at_once, found.short) == (1, 1)
    assert found.tokens_a_step == pytest.approx(14 / 6)
