"""Where a step's time goes: sums by kind, and single forwards of named plans for whoever corrects predictions."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from casspec.runtime.latency import timing
from casspec.runtime.latency.timing import MOST_FORWARDS_REMEMBERED, ForwardClock
from casspec.runtime.model.plan import Plan

PLAN = Plan.full(4)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> ForwardClock:
    """Every forward takes 2 ms."""
    seconds = iter(i * 0.002 for i in range(10_000))
    monkeypatch.setattr(timing, "time", SimpleNamespace(perf_counter=lambda: next(seconds)))
    return ForwardClock(torch.device("cpu"))


def forward(clock: ForwardClock, kind: str, *told: object) -> None:
    with clock.measure(kind, *told):
        pass


def test_time_is_summed_by_kind_whether_or_not_a_plan_is_named(clock: ForwardClock) -> None:
    forward(clock, "draft", PLAN, 3, 20)
    forward(clock, "draft")
    forward(clock, "verify", PLAN, 5, 20)
    assert clock.total_ms("draft") == pytest.approx(4.0)
    assert clock.total_ms("verify") == pytest.approx(2.0)
    assert clock.total_ms("prefill") == 0.0


def test_forwards_of_named_plans_are_told_once_in_order(clock: ForwardClock) -> None:
    forward(clock, "prefill")
    forward(clock, "draft", PLAN, 3, 20)
    forward(clock, "verify", PLAN, 5, 21)
    told = clock.recent()
    assert [(ran.plan, ran.n_tokens, ran.context_tokens) for ran in told] == [(PLAN, 3, 20), (PLAN, 5, 21)]
    assert [ran.milliseconds for ran in told] == pytest.approx([2.0, 2.0])
    assert clock.recent() == []


def test_whoever_never_asks_is_remembered_little_for(clock: ForwardClock) -> None:
    for n_tokens in range(3 * MOST_FORWARDS_REMEMBERED):
        forward(clock, "verify", PLAN, n_tokens, 0)
    assert [ran.n_tokens for ran in clock.recent()] == list(
        range(2 * MOST_FORWARDS_REMEMBERED, 3 * MOST_FORWARDS_REMEMBERED)
    )
    assert clock.total_ms("verify") == pytest.approx(6.0 * MOST_FORWARDS_REMEMBERED)
