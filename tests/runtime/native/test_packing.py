"""Packed weights: another order of the same bits."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from casspec.runtime.native.layout import LANES
from casspec.runtime.native.packing import COLUMNS, KINDS, packed, padded
from tests.runtime.native.memory import normal

dtypes = st.sampled_from(sorted(KINDS, key=str))


@settings(max_examples=60)
@given(st.integers(1, 3 * COLUMNS), st.integers(1, 20), st.integers(0, 5), dtypes)
def test_unpacking_gives_the_weight_back_to_the_last_bit(n_out: int, n_in: int, more: int, dtype: torch.dtype) -> None:
    weight = normal(n_out, n_in).to(dtype)
    found = packed(weight, n_in + more)
    assert found.shape == (n_out, n_in)
    assert found.dtype == dtype
    assert torch.equal(found.unpacked(), weight)


@given(st.lists(st.integers(1, 2 * COLUMNS + 3), min_size=2, max_size=4), st.integers(1, 9))
def test_weights_one_after_the_other_are_unpacked_one_after_the_other(sizes: list[int], n_in: int) -> None:
    weights = [normal(n_out, n_in, seed=i) for i, n_out in enumerate(sizes)]
    joined = packed(weights[0])
    for weight in weights[1:]:
        joined = joined.followed_by(packed(weight))
    assert joined.columns == sum(map(padded, sizes))
    assert torch.equal(joined.unpacked(), torch.cat(weights))


def test_an_input_of_neighbouring_outputs_lies_side_by_side() -> None:
    weight = normal(LANES + 3, 5)
    values = packed(weight).values
    assert torch.equal(values[0, 2], weight[:LANES, 2])
    assert torch.equal(values[1, 2, :3], weight[LANES:, 2])


def test_what_is_padded_is_zero() -> None:
    found = packed(torch.ones(LANES + 1, 3), 5)
    assert found.values.shape == (COLUMNS // LANES, 5, LANES)
    assert found.values.sum() == (LANES + 1) * 3
    assert found.nbytes == found.columns * 5 * 4
    assert found.address == found.values.data_ptr()


@pytest.mark.parametrize(("n_out", "columns"), [(1, COLUMNS), (COLUMNS, COLUMNS), (COLUMNS + 1, 2 * COLUMNS)])
def test_columns_are_padded_up(n_out: int, columns: int) -> None:
    assert padded(n_out) == columns
