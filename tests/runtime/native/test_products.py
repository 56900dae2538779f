"""Products of every number of rows: right, and the same bits whatever rows stand beside one."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from casspec.runtime.native.layout import BFLOAT16, FLOAT16, FLOAT32, LANES, STEP
from casspec.runtime.native.packing import packed
from casspec.runtime.native.products import PLAIN, TWO_SUMS, WITH_SUMS, Shapes, product
from tests.runtime.native.memory import DTYPES, multiplied, normal, row_bytes, spared

UNIT = 2.0**-24
"""Of a rounding in float32."""

N_OUT = 11 * STEP * LANES - 3
"""Enough for the widest tile beside each narrower one."""


@pytest.mark.parametrize("kind", [FLOAT32, BFLOAT16, FLOAT16])
@settings(max_examples=40)
@given(rows=st.integers(1, 40), inputs=st.integers(1, 90), seed=st.integers(0, 99))
def test_a_product_is_that_of_float64_within_rounding(kind: int, rows: int, inputs: int, seed: int) -> None:
    x, weight = normal(rows, inputs, seed=seed), normal(N_OUT, inputs, seed=seed + 1).to(DTYPES[kind])
    values = packed(weight).values
    found = multiplied(kind, x, values, (0, len(values)))[:, :N_OUT].double()
    largest = x.double().abs() @ weight.double().abs().t()
    assert ((found - x.double() @ weight.double().t()).abs() <= inputs * UNIT * largest).all()


@pytest.mark.parametrize("kind", [FLOAT32, BFLOAT16, FLOAT16])
def test_a_row_has_the_same_bits_however_many_there_are(kind: int) -> None:
    x, values = normal(40, 37), packed(normal(N_OUT, 37, seed=1).to(DTYPES[kind])).values
    alone = torch.cat([multiplied(kind, row, values, (0, len(values))) for row in x.split(1)])
    for rows in range(2, 41):
        assert torch.equal(multiplied(kind, x[:rows], values, (0, len(values))), alone[:rows]), rows


@given(rows=st.integers(1, 14), first=st.integers(0, 10), count=st.integers(1, 11))
def test_a_share_of_the_columns_is_that_part_of_the_product_and_no_more(rows: int, first: int, count: int) -> None:
    x, values = normal(rows, 19), packed(normal(N_OUT, 19, seed=1)).values
    start, end = first * STEP, min(STEP * (first + count), len(values))
    expected = torch.zeros(rows, len(values) * LANES)
    whole = multiplied(FLOAT32, x, values, (0, len(values)))
    expected[:, start * LANES : end * LANES] = whole[:, start * LANES : end * LANES]
    assert torch.equal(multiplied(FLOAT32, x, values, (start, end)), expected)


@pytest.mark.parametrize("rows", [1, 2, 3, 5, 7, 8, 9, 13, 20])
def test_sums_of_rows_are_added_in_order(rows: int) -> None:
    x, values = spared(normal(rows, 50)), packed(normal(6 * LANES, 50, seed=1)).values
    out, totals = spared(torch.zeros(rows, 6 * LANES)), spared(torch.zeros(rows))
    addresses = x.data_ptr(), row_bytes(x), values.data_ptr(), LANES * 4, row_bytes(values), 50
    product(FLOAT32, sums=True)(*addresses, out.data_ptr(), row_bytes(out), rows, 0, 6, totals.data_ptr(), 4)
    assert torch.equal(out[:rows], multiplied(FLOAT32, x[:rows], values, (0, 6)))
    assert totals[:rows].tolist() == np.cumsum(x[:rows].numpy(), axis=1, dtype=np.float32)[:, -1].tolist()


@pytest.mark.parametrize("shapes", [PLAIN, WITH_SUMS, TWO_SUMS])
def test_tiles_come_in_steps_and_stay_inside_the_spare_rows(shapes: Shapes) -> None:
    assert all(width % STEP == 0 for width in (shapes.one // 2, shapes.two, shapes.four, shapes.six))
    assert shapes.block <= shapes.large_block <= 12
