"""Steps estimated from plain decoding."""

from __future__ import annotations

import pytest

from casspec.tuner.engines.tuning.predicting.estimate import estimated_steps


def test_a_drafted_token_costs_what_another_request_does() -> None:
    found = estimated_steps({1: 21.0, 4: 24.0})
    assert found is not None
    assert found.ms(1, 0, 0.0) == pytest.approx(21.0)
    assert found.ms(1, 3, 1.0) == pytest.approx(24.0)
    assert found.ms(4, 2, 1.0) == pytest.approx(32.0)


def test_where_more_requests_take_less_a_token_costs_nothing() -> None:
    found = estimated_steps({1: 22.0, 2: 20.0})
    assert found is not None
    assert found.ms(1, 8, 1.0) == found.ms(1, 0, 0.0) == pytest.approx(21.0)


def test_one_number_of_requests_tells_nothing() -> None:
    assert estimated_steps({1: 20.0}) is None
