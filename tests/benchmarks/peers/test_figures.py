"""Speeds, ratios within a round, agreement of texts."""

from __future__ import annotations

import pytest

from benchmarks.peers.engines import Row
from benchmarks.peers.figures import agreement, common_start, decode_speed, figures, speed
from benchmarks.peers.prompts import Kind, Question
from benchmarks.peers.race import Measurement

SLOW, FAST = Row("casspec", "bf16", "autoregressive"), Row("llama.cpp", "bf16", "plain")


def measured(
    row: Row, turn: int, decode_ms: float, name: str = "a", kind: Kind = "greedy", first: int = 1, n: int = 11
) -> Measurement:
    return Measurement(row, turn, Question(name, kind, (5,), 11, 0), tuple(range(n)), 20.0, first, 20.0 + decode_ms)


def test_decoding_speed_leaves_out_what_came_first_and_its_time() -> None:
    assert decode_speed([measured(SLOW, 0, 100.0), measured(SLOW, 0, 300.0)]) == pytest.approx(50.0)
    assert decode_speed([measured(SLOW, 0, 100.0, first=6)]) == pytest.approx(50.0)
    assert decode_speed([measured(SLOW, 0, 0.0, first=11)]) is None


def test_ratios_are_taken_within_a_round() -> None:
    own = [measured(SLOW, turn, ms) for turn, ms in enumerate((100.0, 200.0, 400.0))]
    others = [measured(FAST, turn, ms) for turn, ms in enumerate((50.0, 100.0, 100.0))]
    found = speed(own, others, "greedy")
    assert (found.decode, found.best_decode, found.rounds) == (pytest.approx(50.0), pytest.approx(100.0), 3)
    assert found.total == pytest.approx(1e3 * 11 / 220)
    assert found.ratio == pytest.approx(0.5)
    assert found.spread == pytest.approx((0.5 - 0.25) / 2 / 0.5)
    assert found.first_ms == 20.0


def test_a_round_that_one_row_left_early_counts_what_both_answered() -> None:
    own = [measured(SLOW, 0, 100.0, "a")]
    others = [measured(FAST, 0, 50.0, "a"), measured(FAST, 0, 5000.0, "b")]
    assert speed(own, others, "greedy").ratio == pytest.approx(0.5)
    assert speed(own, others, "greedy").spread is None
    assert speed(own, [measured(FAST, 1, 50.0)], "greedy").ratio is None


def test_modes_are_told_apart_and_an_unmeasured_one_is_empty() -> None:
    (found,) = figures([measured(FAST, 0, 100.0), measured(FAST, 0, 7.0, kind="long")], FAST)
    assert found.greedy.ratio == 1.0
    assert found.sample.decode is None
    assert found.sample.rounds == 0
    assert found.long_first_ms == 20.0


def test_rows_stand_in_the_order_of_engines_and_short_answers_are_counted() -> None:
    found = figures([measured(FAST, 0, 100.0), measured(SLOW, 0, 100.0, n=4)], FAST)
    assert [each.row for each in found] == [SLOW, FAST]
    assert [each.short for each in found] == [1, 0]


def test_agreement_is_the_common_start_of_greedy_texts() -> None:
    assert common_start([1, 2, 3], [1, 2, 4]) == 2
    assert common_start([1, 2], [1, 2, 3]) == 2
    assert agreement([measured(SLOW, 0, 1.0, n=4)], [measured(FAST, 0, 1.0)]) == 4
    assert agreement([measured(SLOW, 0, 1.0, "b")], [measured(FAST, 0, 1.0)]) is None
