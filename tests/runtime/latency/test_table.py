"""A table of ratios, read between its lines and beyond them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from casspec.runtime.latency.table import RatioTable
from casspec.storage.schema import LatencyTable, Precision

TABLE = LatencyTable(
    precision=Precision.TARGET,
    attention=(2, 4),
    mlp=(4,),
    tokens=(1, 4),
    attended=(64, 128),
    ratios=(1.0, 1.0, 1.0, 1.0, 2.0, 2.0, 0.5, 0.5),
    spreads=(0.0, 0.0, 0.0, 0.0, 0.1, 0.1, 0.3, 0.3),
)


def test_a_table_is_interpolated_between_its_lines_and_stays_beyond_them() -> None:
    ratios = RatioTable(TABLE)
    assert ratios.ratio(4, 4, 1, 64) == pytest.approx(2.0)
    assert ratios.ratio(4, 4, 4, 128) == pytest.approx(0.5)
    assert ratios.ratio(4, 4, 2, 100) == pytest.approx(1.0)  # halfway in octaves, geometrically
    assert ratios.ratio(3, 4, 1, 64) == pytest.approx(2.0**0.5)
    assert ratios.ratio(1, 1, 1, 64) == pytest.approx(1.0)
    assert ratios.ratio(9, 9, 512, 9999) == pytest.approx(0.5)
    assert ratios.spread(4, 4, 2, 64) == pytest.approx(0.2)


@given(st.integers(0, 9), st.integers(1, 600), st.integers(0, 999))
def test_no_ratio_lies_outside_those_of_the_lines(n_attention: int, tokens: int, attended: int) -> None:
    ratios = RatioTable(TABLE)
    assert 0.5 - 1e-9 <= ratios.ratio(n_attention, 4, tokens, attended) <= 2.0 + 1e-9
    assert 0.0 <= ratios.spread(n_attention, 4, tokens, attended) <= 0.3 + 1e-9


def test_a_table_without_spreads_is_sure_of_itself() -> None:
    assert RatioTable(TABLE.model_copy(update={"spreads": ()})).spread(4, 4, 4, 128) == 0.0
