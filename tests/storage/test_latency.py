"""What latency documents refuse to hold, and what they say of their values."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from casspec.storage.schema import LatencyModel, LatencyTable, Measurement
from tests.storage import samples

TABLE = {
    "precision": "target",
    "attention": (2, 4),
    "mlp": (4,),
    "tokens": (1, 4),
    "attended": (64,),
    "ratios": (1,) * 4,
}


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"ratios": (1,) * 3}, "4 cells holds 3 ratios"),
        ({"spreads": (0.1,)}, "4 ratios and 1 spreads"),
        ({"ratios": (1, 1, 0, 1)}, "positive"),
        ({"tokens": (0, 4)}, "positive"),
        ({"attention": (4, 2)}, "rise"),
        ({"mlp": (), "ratios": ()}, "rise"),
    ],
)
def test_a_table_that_cannot_be_interpolated_is_no_document(changes: dict, what: str) -> None:
    LatencyTable.model_validate(TABLE)
    with pytest.raises(ValueError, match=what):
        LatencyTable.model_validate(TABLE | changes)


@pytest.mark.parametrize("changes", [{"coefficients": (0.5,)}, {"covariance": ((1.0, 0.0),)}])
def test_a_latency_model_has_a_coefficient_a_feature(changes: dict) -> None:
    with pytest.raises(ValueError, match="2 features needs as many"):
        LatencyModel.model_validate(samples.latency_model().model_dump() | changes)


@given(st.lists(st.floats(0.001, 1000), min_size=1, max_size=9))
def test_median_lies_among_the_samples(values: list[float]) -> None:
    measurement = Measurement(values=tuple(values))
    assert min(values) <= measurement.median_ms <= max(values)
    assert measurement.quantile(0) == min(values)
    assert measurement.quantile(1) == max(values)
