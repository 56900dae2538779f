"""What there is time for."""

from __future__ import annotations

from casspec.tuner.engines.tuning.budget import END_S, UNKNOWN_START_S, Budget


def test_starts_are_expected_to_take_what_the_longest_took() -> None:
    now = [0.0]
    budget = Budget(300.0, clock=lambda: now[0])
    assert budget.start_s == UNKNOWN_START_S + END_S
    budget.started(40.0)
    budget.started(20.0)
    assert budget.start_s == 40.0 + END_S
    assert budget.allows(100.0)
    now[0] = 160.0
    assert budget.left_s == 140.0
    assert budget.allows(90.0)
    assert not budget.allows(100.0)
    assert not budget.allows(60.0, starts=2)
