"""Repetition: the share of n-grams that occurred before."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from casspec.tuner.suites.repetition import repetition


def test_repetition_of_known_sequences():
    assert repetition(range(128)) == 0.0
    assert repetition([7] * 128) == pytest.approx(120 / 121)
    assert repetition([*range(16), *range(16)]) == pytest.approx(9 / 25)
    assert repetition([1, 2, 1, 2], n=2) == pytest.approx(1 / 3)
    assert repetition([1, 2, 3]) == 0.0


@given(st.lists(st.integers(0, 3), max_size=60), st.integers(1, 4))
def test_repetition_equals_counting_by_hand(tokens: list[int], n: int):
    grams = [tuple(tokens[i : i + n]) for i in range(len(tokens) - n + 1)]
    repeats = sum(gram in grams[:place] for place, gram in enumerate(grams))
    assert repetition(tokens, n) == pytest.approx(repeats / len(grams) if grams else 0.0)
