"""Figures of answers."""

from __future__ import annotations

import math

import numpy as np
import pytest

from casspec.storage.engines.documents import PLAIN
from casspec.tuner.engines.endpoint import Answer, Drive
from casspec.tuner.engines.figures import measured, ratio, ratio_by_round, spot
from casspec.tuner.engines.metrics import Counters


def test_a_ratio_of_equal_pairs_is_certain_and_of_one_pair_unbounded() -> None:
    certain = ratio([(2.0, 1.0)] * 4)
    assert (certain.middle, certain.low, certain.high, certain.n) == (
        pytest.approx(2),
        pytest.approx(2),
        pytest.approx(2),
        4,
    )
    alone = ratio([(3.0, 2.0)])
    assert (alone.middle, alone.low, alone.high) == (pytest.approx(1.5), 0.0, math.inf)


def test_an_interval_is_student_s() -> None:
    found = ratio([(math.exp(each), 1.0) for each in (0.1, 0.2, 0.3)])
    assert found.middle == pytest.approx(math.exp(0.2))
    assert math.log(found.high) - 0.2 == pytest.approx(2.920 * 0.1 / math.sqrt(3), rel=1e-6)


@pytest.mark.parametrize(("pairs", "quantile"), [(17, 1.746), (31, 1.697), (121, 1.658)])
def test_beyond_the_table_the_interval_is_as_good(pairs: int, quantile: float) -> None:
    values = [(-1.0) ** place for place in range(pairs)]
    middle = sum(values) / pairs
    spread = math.sqrt(sum((each - middle) ** 2 for each in values) / (pairs - 1))
    found = ratio([(math.exp(each), 1.0) for each in values])
    assert math.log(found.high) - middle == pytest.approx(quantile * spread / math.sqrt(pairs), rel=0.01)


def pairs(*logs: float) -> list[tuple[float, float]]:
    return [(math.exp(each), 1.0) for each in logs]


def test_pairs_of_one_start_are_not_taken_for_so_many_starts() -> None:
    rounds = [pairs(0.1, 0.1, 0.1), pairs(0.2, 0.2, 0.2), pairs(0.3, 0.3, 0.3)]
    by_round, flat = ratio_by_round(rounds), ratio([pair for one in rounds for pair in one])
    assert (by_round.n, by_round.middle) == (9, pytest.approx(math.exp(0.2)))
    assert math.log(by_round.high) - 0.2 == pytest.approx(2.920 * 0.1 / math.sqrt(3), rel=1e-6)
    assert by_round.low < flat.low < flat.high < by_round.high


def test_rounds_that_agree_by_chance_are_no_more_certain_than_their_pairs() -> None:
    rounds = [pairs(0.0, 0.4), pairs(0.1, 0.3)]
    assert ratio_by_round(rounds) == ratio([pair for one in rounds for pair in one])
    assert ratio_by_round([pairs(0.0, 0.4), []]) == ratio(pairs(0.0, 0.4))
    with pytest.raises(ValueError, match="needs a pair"):
        ratio_by_round([[], []])


def test_an_interval_holds_the_truth_as_often_as_it_says_where_starts_differ() -> None:
    random = np.random.default_rng(0)
    held = naive = 0
    for _ in range(400):
        logs = 0.2 + random.normal(0, 0.05, (3, 1)) + random.normal(0, 0.02, (3, 3))
        rounds = [pairs(*one) for one in logs]
        by_round, flat = ratio_by_round(rounds), ratio([pair for one in rounds for pair in one])
        held += by_round.low <= math.exp(0.2) <= by_round.high
        naive += flat.low <= math.exp(0.2) <= flat.high
    assert held / 400 == pytest.approx(0.9, abs=0.04)
    assert naive / 400 < 0.75


def test_only_whole_answers_count_for_speed() -> None:
    whole = Answer(0.0, (1.0, 2.0), tokens=10, first_tokens=2)
    drive = Drive([whole, whole, Answer(0.0, failure="no room")], seconds=4.0)
    found = measured(PLAIN, 2, drive, Counters(20.0, 4.0, 8.0, 6.0, (4.0, 2.0)))
    assert (found.tokens, found.requests, found.failed, found.tokens_per_second) == (20, 3, 1, 5.0)
    assert found.first_token_ms == (1000.0, 1000.0)
    assert found.token_ms == (125.0, 125.0)
    assert (found.drafts, found.draft_tokens, found.accepted_tokens, found.accepted_by_position) == (4, 8, 6, (4, 2))
    assert measured(PLAIN, 2, drive, None).drafts is None


def test_of_nothing_there_is_no_spot() -> None:
    assert spot([]) is None
    assert spot([1.0, 2.0, 3.0]) == (2.0, pytest.approx(2.98))
