"""What there is time for."""

from __future__ import annotations

from casspec.tuner.engines.tuning.budget import END_S, GRACE_S, UNKNOWN_START_S, Budget


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


def test_what_begins_is_given_up_a_little_after_the_end() -> None:
    now = [0.0]
    budget = Budget(10.0, clock=lambda: now[0])
    assert budget.most_s == 10.0 + GRACE_S
    now[0] = 12.0
    assert (budget.left_s, budget.most_s) == (-2.0, GRACE_S)
