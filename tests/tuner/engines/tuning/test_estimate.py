"""Steps estimated from plain decoding."""

from __future__ import annotations

import pytest

from casspec.storage.engines.documents import EngineMeasurement
from casspec.tuner.engines.tuning.estimate import estimated_steps
from tests.tuner.engines.tuning.made_up import plain_figures


def plain(**step_ms: float) -> dict[int, EngineMeasurement]:
    """By `b1`, `b4` ...: what a step takes with so many requests."""
    places = {int(name[1:]): ms for name, ms in step_ms.items()}
    return {each: plain_figures(each, 1e3 * each / ms) for each, ms in places.items()}


def test_a_drafted_token_costs_what_another_request_does() -> None:
    found = estimated_steps(plain(b1=21.0, b4=24.0))
    assert found is not None
    assert found.ms(1, 0) == pytest.approx(21.0)
    assert found.ms(1, 3) == pytest.approx(24.0)
    assert found.ms(4, 2) == pytest.approx(32.0)


def test_where_more_requests_take_less_a_token_costs_nothing() -> None:
    found = estimated_steps(plain(b1=22.0, b2=20.0))
    assert found is not None
    assert found.ms(1, 8) == found.ms(1, 0) == pytest.approx(21.0)


def test_one_number_of_requests_tells_nothing() -> None:
    assert estimated_steps(plain(b1=20.0)) is None
