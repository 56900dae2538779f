"""A traced plan drafts as it did when it was traced."""

from __future__ import annotations

import numpy as np
import pytest

from casspec.tuner.recordings.offline_acceptance import PlanTrace
from casspec.tuner.recordings.traced_plan import TracedPlan


def test_off_the_path_a_plan_is_as_sure_of_itself_as_anywhere() -> None:
    ids = np.array([[1, 2], [3, 4], [5, 6]], np.int32)
    gaps = np.array([[2.0, -2.0], [0.5, -0.5], [1.0, -1.0]], np.float32)
    trace = PlanTrace(ids, gaps, np.array([1, 9, 5], np.int32), np.ones(3, np.int16))
    traced = TracedPlan({("p", "greedy"): trace})
    assert [traced.said(("p", "greedy"), place, 1).tokens for place in (0, 2, 7)] == [[1, 2], [5, 6], [5, 6]]
    assert [traced.astray(draw).gap for draw in range(4)] == pytest.approx([2.0, 0.5, 1.0, 2.0])


def test_a_plan_drafts_its_first_token_as_it_was_traced_there_and_later_ones_at_their_depth() -> None:
    truth, depths, gaps = np.array([1, 2], np.int32), np.ones(2, np.int16), np.zeros((2, 2), np.float32)

    def trace(ids: list[list[int]]) -> PlanTrace:
        return PlanTrace(np.array(ids, np.int32), gaps, truth, depths)

    deep, first = {("p", "greedy"): trace([[1, 2], [3, 4]])}, {("p", "greedy"): trace([[5, 6], [7, 8]])}
    apart, alike = TracedPlan(deep, first), TracedPlan(deep)
    assert [apart.said(("p", "greedy"), 1, depth).tokens for depth in (0, 1, 5)] == [[7, 8], [3, 4], [3, 4]]
    assert [alike.said(("p", "greedy"), 1, depth).tokens for depth in (0, 1)] == [[3, 4], [3, 4]]


def test_scores_are_over_the_best_one_and_probabilities_are_told_where_they_were_traced() -> None:
    ids, truth, depths = np.array([[4, 9, 2]], np.int32), np.array([4], np.int32), np.ones(1, np.int16)
    gaps = np.array([[1.5, -1.5, -3.0]], np.float32)
    odds = np.array([[0.5, 0.25, 0.125]], np.float32)
    told = TracedPlan({("p", "sample"): PlanTrace(ids, gaps, truth, depths, odds)}).said(("p", "sample"), 0, 1)
    assert (told.tokens, told.scores, told.probabilities) == ([4, 9, 2], [0.0, -1.5, -3.0], [0.5, 0.25, 0.125])
    assert told.gap == 1.5
    silent = TracedPlan({("p", "sample"): PlanTrace(ids, gaps, truth, depths)}).said(("p", "sample"), 0, 1)
    assert list(silent.probabilities) == []
