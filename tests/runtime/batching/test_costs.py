"""What a text is charged of shared forwards: the wait of all for the row it adds, its share of what all wait for anyway."""

from __future__ import annotations

import copy
from types import SimpleNamespace
from typing import Any

import pytest

from casspec.runtime.batching.costs import BatchCosts
from casspec.runtime.model.plan import Plan

FULL, DRAFT = Plan.full(4), Plan.full(4).__class__("draft", 4, ())


def predictor(fixed: float = 10.0, row: float = 0.5) -> Any:
    return SimpleNamespace(
        forward_point=lambda plan, n_tokens, context, batch: n_tokens * batch,
        predict_ms=lambda rows: fixed + row * rows,
    )


def test_alone_a_forward_costs_what_it_takes() -> None:
    costs = BatchCosts(predictor(), FULL)
    assert costs(FULL, 1, 100) == 10.5
    assert costs(FULL, 8, 100) == 14.0


def test_a_row_more_costs_the_wait_of_all() -> None:
    costs = BatchCosts(predictor(), FULL)
    costs.share(4)
    costs.observe(FULL, 4, 4, 100)
    assert costs(FULL, 1, 100) == 12.0, "four rows together"
    assert costs(FULL, 2, 100) == pytest.approx(12.0 + 4 * 0.5)


def test_a_forward_that_few_share_is_waited_for_by_all() -> None:
    costs = BatchCosts(predictor(), FULL)
    costs.share(4)
    for _ in range(200):
        costs.observe(DRAFT, 1, 1, 100)
    assert costs(DRAFT, 1, 100) == pytest.approx(4 * 10.5)


def test_other_costs_have_another_version() -> None:
    costs = BatchCosts(predictor(), FULL)
    costs.observe(FULL, 1, 1, 100)
    first = costs.version
    costs.observe(FULL, 1, 1, 100)
    assert costs.version == first
    costs.share(2)
    assert costs.version > first


def test_all_texts_share_them() -> None:
    costs = BatchCosts(predictor(), FULL)
    assert copy.deepcopy(costs) is costs


def test_the_rate_is_that_of_all_texts() -> None:
    costs = BatchCosts(predictor(), FULL, lambda n_texts: 2.0)
    costs.share(4)
    costs.observe(FULL, 4, 4, 100)
    assert costs.rate == pytest.approx(2 / 12.0), "believed before anything was seen"
    for _ in range(500):
        costs.end_round(6)
        costs.observe(FULL, 4, 4, 100)
    assert costs.rate == pytest.approx(6 / (4 * 12.0), rel=0.01), "tokens a millisecond that one of four texts waits"
    costs.share(1)
    assert costs.rate is None, "a text alone knows its own"


def test_rounds_that_fill_caches_are_not_in_the_rate() -> None:
    costs = BatchCosts(predictor(), FULL)
    costs.share(2)
    rates = []
    for tokens in (2, 0, 0, 0):
        costs.observe(FULL, 2, 2, 100)
        costs.end_round(tokens)
        rates.append(costs.rate)
    assert len(set(rates)) == 1


def test_a_plan_that_takes_longer_than_predicted_costs_more_and_a_slow_machine_changes_nothing() -> None:
    costs = BatchCosts(predictor(), FULL)
    for _ in range(100):
        for plan, slowdown in ((FULL, 3.0), (DRAFT, 6.0)):
            costs.observe(plan, 1, 1, 100)
            costs.ran(plan, 1, 1, 100, 10.5 * slowdown)
    assert costs(FULL, 1, 100) == pytest.approx(10.5, rel=0.1)
    assert costs(DRAFT, 1, 100) == pytest.approx(2 * costs(FULL, 1, 100), rel=0.05)
