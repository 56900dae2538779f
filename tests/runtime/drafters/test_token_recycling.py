"""Recycled rows: the latest of the text over those of the profile."""

from __future__ import annotations

import numpy as np
import pytest

from casspec.runtime.decoding.successors import TOP_SUCCESSORS
from casspec.runtime.drafters.token_recycling import RecyclingMatrix, TokenRecycling


def test_recycled_rows_are_the_latest_over_those_of_the_profile() -> None:
    matrix = RecyclingMatrix.empty(4)
    matrix.token_ids[1] = np.arange(TOP_SUCCESSORS)
    recycling = TokenRecycling(matrix)
    assert recycling.row(0) is None
    assert recycling.row(1) == (list(range(TOP_SUCCESSORS)), [0.0] * TOP_SUCCESSORS)
    recycling.refresh([1, 0, 1], [[5], [6], [7]], [[1.0], [2.0], [3.0]])
    assert recycling.row(0) == ([6], [2.0])
    assert recycling.row(1) == ([7], [3.0])
    recycling.begin()
    assert recycling.row(0) is None
    assert recycling.row(1) == (list(range(TOP_SUCCESSORS)), [0.0] * TOP_SUCCESSORS)


def test_a_matrix_survives_its_bytes_and_refuses_another_vocabulary() -> None:
    matrix = RecyclingMatrix.empty(5)
    matrix.token_ids[2], matrix.logits[2] = np.arange(TOP_SUCCESSORS), np.linspace(3, -1, TOP_SUCCESSORS)
    copy = RecyclingMatrix.from_bytes(matrix.to_bytes(), 5)
    assert (copy.token_ids == matrix.token_ids).all()
    assert (copy.logits == matrix.logits).all()
    with pytest.raises(ValueError, match="6 tokens"):
        RecyclingMatrix.from_bytes(matrix.to_bytes(), 6)
