"""Closed forms of the speedup give what the papers print."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from casspec.tuner import closed_forms


def test_walltime_formulas_give_the_published_values() -> None:
    assert closed_forms.speculative(0.8, 0.3, 3) == pytest.approx(1.5537, abs=1e-4)
    assert closed_forms.vertical(0.8, 0.3, 2, 0.4, 0.01, 3) == pytest.approx(1.8009, abs=1e-4)
    assert closed_forms.horizontal(0.9, 0.4, 2, 0.8, 0.3, 2) == pytest.approx(1.6152, abs=1e-4)
    best = max((closed_forms.speculative(0.9, 0.4, k), k) for k in range(1, 20))
    assert best == (pytest.approx(1.575, abs=1e-3), 4)
    assert closed_forms.chain([0.8] * 3, [0.3] * 3) == pytest.approx(closed_forms.speculative(0.8, 0.3, 3))
    assert closed_forms.best_chain([0.9**i for i in range(1, 9)], 0.4, lambda n: 1.0) == (4, best[0])


rates = st.floats(0.01, 0.99)
costs = st.floats(0.01, 1.5)


@given(rates, costs, st.integers(1, 12))
def test_a_chain_of_equal_tokens_is_plain_speculative_decoding(a: float, c: float, k: int) -> None:
    assert closed_forms.chain([a] * k, [c] * k) == pytest.approx(closed_forms.speculative(a, c, k))


@given(rates, costs, st.integers(1, 6), st.integers(1, 6))
def test_two_equal_drafters_one_behind_the_other_are_one(a: float, c: float, k1: int, k2: int) -> None:
    both = closed_forms.horizontal(a, c, k1, a, c, k2)
    assert both == pytest.approx(closed_forms.speculative(a, c, k1 + k2))


@given(rates, costs)
def test_the_best_chain_is_the_fastest_of_all_lengths(a: float, c: float) -> None:
    length, best = closed_forms.best_chain([a**i for i in range(1, 9)], c, lambda n_tokens: 1.0)
    assert best == pytest.approx(max(closed_forms.speculative(a, c, k) for k in range(1, 9)))
    assert best == pytest.approx(closed_forms.speculative(a, c, length))


def test_verification_that_costs_by_the_token_makes_chains_shorter() -> None:
    survival = [0.9**i for i in range(1, 9)]
    flat, _ = closed_forms.best_chain(survival, 0.1, lambda n_tokens: 1.0)
    dear, _ = closed_forms.best_chain(survival, 0.1, lambda n_tokens: 0.5 + 0.5 * n_tokens)
    assert dear < flat
