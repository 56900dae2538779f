"""What forwards cost in tokens: their time at the rate at which tokens come, whatever slows everything down."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from casspec.runtime.decoding.sequence import Sequence
from casspec.runtime.model.plan import Plan
from casspec.runtime.policies.dytc.costs import START_STEPS, CostCurve, Costs

TARGET = Plan.full(4)
STEP_MS = 2.0


def costs(**changes: Any) -> Costs:
    """A forward takes `STEP_MS`, and a hundredth more a row."""
    options = {"rate_decay": 0.9, "start_speedup": 1.5, "corrects": False} | changes
    made = Costs(TARGET, lambda plan, n_tokens, context: STEP_MS + 0.02 * (n_tokens - 1), **options)
    made.begin(64)
    made.begin_step(64)
    return made


def test_a_forward_costs_what_its_bucket_costs() -> None:
    curve = CostCurve([1, 4, 8], [1.0, 2.0, 3.0])
    assert [curve.of(rows) for rows in (1, 2, 4, 5, 8, 99)] == [1.0, 2.0, 2.0, 3.0, 3.0, 3.0]


def test_at_first_a_forward_of_the_target_costs_the_start_speedup() -> None:
    assert costs().verification(8, 64).of(1) == pytest.approx(1.5)
    assert costs(follows_rate=False).rate == pytest.approx(1 / STEP_MS)
    assert costs(follows_rate=False).verification(8, 64).of(1) == 0.0


def test_the_rate_follows_what_steps_bring() -> None:
    made = costs()
    before, sequence = made.rate, cast(Sequence, SimpleNamespace(committed=64))
    for _ in range(200):
        made.observe(sequence, n_nodes=1, n_emitted=8, draft_ms=2.0)
        made.begin_step(64)
    assert before == pytest.approx(1.5 / STEP_MS)
    assert made.rate == pytest.approx(8 / (STEP_MS + 2.0), rel=0.01)
    made.begin(64)
    made.begin_step(64)
    assert made.rate == pytest.approx(START_STEPS * 1.5 / (START_STEPS * STEP_MS))
