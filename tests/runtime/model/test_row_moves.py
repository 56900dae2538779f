"""Rows move as if all were read before any is written."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from casspec.runtime.model.row_moves import move_rows

ROWS = 12


@pytest.mark.parametrize("word", [np.int16, np.int32, np.int64])
@given(st.lists(st.integers(0, ROWS - 1), max_size=5), st.integers(0, ROWS - 5))
def test_rows_may_overlap_with_where_they_go(word: type, source: list[int], first: int) -> None:
    rng = np.random.default_rng(0)
    keys, values = rng.integers(-99, 99, (6, ROWS, 1)).astype(word), rng.integers(-99, 99, (2, ROWS, 3)).astype(word)
    expected = keys.copy(), values.copy()
    for rows, before in zip(expected, (keys, values), strict=True):
        rows[:, first : first + len(source)] = before[:, source]
    move_rows(keys, values, np.array(source, np.int64), first)
    assert np.array_equal(keys, expected[0])
    assert np.array_equal(values, expected[1])
