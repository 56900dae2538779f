"""Draft lengths against every choice there is."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from casspec.engines.draft_lengths import LongRunRate, draft_lengths

PROBABILITIES = st.lists(st.lists(st.floats(0.01, 0.99), min_size=3, max_size=3), min_size=1, max_size=3)


@given(PROBABILITIES, st.lists(st.floats(0.0, 0.5), min_size=9, max_size=9), st.floats(0.1, 3.0))
@settings(max_examples=200, deadline=None)
def test_no_other_lengths_bring_more(rows: list[list[float]], growth: list[float], rate: float) -> None:
    masses, costs = np.cumprod(rows, axis=1), np.cumsum([1.0, *growth])

    def worth(lengths: tuple[int, ...]) -> float:
        gain = sum(masses[i, :n].sum() for i, n in enumerate(lengths))
        return float(gain - rate * (costs[sum(lengths)] - costs[0]))

    best = max(worth(lengths) for lengths in product(range(4), repeat=len(rows)))
    assert worth(tuple(draft_lengths(masses, costs, rate))) == pytest.approx(best, abs=1e-9)


def test_nothing_is_drafted_where_it_does_not_pay() -> None:
    masses = np.array([[0.2, 0.1], [0.3, 0.1]])
    assert draft_lengths(masses, np.array([1, 2, 3, 4, 5.0]), 1.0).tolist() == [0, 0]
    assert draft_lengths(np.zeros((2, 2)), np.ones(5), 1.0).tolist() == [0, 0]


def test_a_first_token_that_costs_much_is_drafted_where_further_ones_make_up_for_it() -> None:
    masses = np.cumprod(np.full((1, 4), 0.9), axis=1)
    assert draft_lengths(masses, np.array([1, 2.5, 2.5, 2.5, 2.5]), 1.0).tolist() == [4]


def test_the_likelier_text_is_given_more() -> None:
    masses = np.cumprod([[0.9] * 4, [0.4] * 4], axis=1)
    lengths = draft_lengths(masses, 1 + 0.3 * np.arange(9), 1.0)
    assert lengths.tolist() == [4, 1]


def test_the_rate_starts_from_plain_decoding_and_follows_what_is_emitted() -> None:
    rate = LongRunRate()
    assert rate.of(4, 2.0) == pytest.approx(2.0)
    for _ in range(1000):
        rate.observe(4, 12, 1.5)
    assert rate.of(4, 2.0) == pytest.approx(4.0, rel=0.3)
    assert rate.of(1, 1.0) == 1.0
