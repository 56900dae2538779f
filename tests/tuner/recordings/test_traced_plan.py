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
