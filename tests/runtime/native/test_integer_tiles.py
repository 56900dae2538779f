"""Products in 8 and 4 bits against the same arithmetic in plain torch."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from casspec.runtime.native import processor
from casspec.runtime.native.layout import ENTRY_BYTES, GROUP, GROUP_BYTES, INT4, INT8, LANES
from tests.runtime.native.memory import multiplied, normal, packed_int4, packed_int8

pytestmark = pytest.mark.skipif(not processor.has_byte_products(), reason="this processor has no AVX512-VNNI")
N_OUT, MOST_ROWS = 10 * LANES, 40


def integers(low: int, high: int, *shape: int, seed: int = 0) -> Tensor:
    return torch.randint(low, high, shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module", params=[4, 28, 132])
def int8(request: pytest.FixtureRequest) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Levels of rows, scales of rows, the packed weight, the product of as many rows."""
    n_in = request.param
    levels, values = integers(1, 256, MOST_ROWS, n_in), integers(-127, 128, N_OUT, n_in, seed=1)
    row_scales, scales = normal(MOST_ROWS, 1, seed=2).abs(), normal(N_OUT, seed=3).abs()
    expected = ((levels - 128) @ values.t()).float() * (scales * row_scales)
    return levels.byte(), row_scales, packed_int8(values.to(torch.int8), scales), expected


@pytest.fixture(scope="module", params=[GROUP, 3 * GROUP])
def int4(request: pytest.FixtureRequest) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Levels of rows, entries of their groups, the packed weight, the product of as many rows in float64."""
    n_in, groups = request.param, request.param // GROUP
    levels, values = integers(-127, 128, MOST_ROWS, n_in), integers(0, 16, N_OUT, n_in, seed=1)
    scales, centres = (normal(N_OUT, groups, seed=seed).bfloat16() for seed in (2, 3))
    row_scales = normal(MOST_ROWS, groups, seed=4).abs()
    totals = levels.view(MOST_ROWS, groups, GROUP).sum(2).int()
    entries = torch.zeros(MOST_ROWS, groups, ENTRY_BYTES // 4)
    entries[..., 0], entries[..., 2] = row_scales, row_scales * totals
    entries.view(torch.int32)[..., 1] = -8 * totals
    weight = (values.view(N_OUT, groups, GROUP) - 8) * scales.double()[..., None] + centres.double()[..., None]
    x = levels.view(MOST_ROWS, groups, GROUP) * row_scales.double()[..., None]
    packed = packed_int4(values.byte(), scales, centres)
    assert packed.shape[1] == groups * GROUP_BYTES
    return levels.to(torch.int8), entries.flatten(1), packed, x.flatten(1) @ weight.flatten(1).t()


def test_a_product_in_8_bits_is_exact_until_it_is_scaled(int8: tuple[Tensor, ...]) -> None:
    levels, scales, weight, expected = int8
    for rows in range(1, MOST_ROWS + 1):
        found = multiplied(INT8, levels[:rows], weight, (0, len(weight)), scales[:rows])
        assert torch.equal(found, expected[:rows]), rows


def test_a_product_in_4_bits_is_that_of_the_plain_numbers_within_rounding(int4: tuple[Tensor, ...]) -> None:
    levels, entries, weight, expected = int4
    found = multiplied(INT4, levels, weight, (0, len(weight)), entries).double()
    assert (found - expected).abs().max() < 1e-6 * expected.abs().max()


def test_a_row_in_4_bits_has_the_same_bits_however_many_there_are(int4: tuple[Tensor, ...]) -> None:
    levels, entries, weight, _ = int4
    whole = multiplied(INT4, levels, weight, (0, len(weight)), entries)
    for rows in range(1, MOST_ROWS):
        assert torch.equal(multiplied(INT4, levels[:rows], weight, (0, len(weight)), entries[:rows]), whole[:rows]), (
            rows
        )


def test_a_share_of_the_columns_is_that_part_of_a_product(int8: tuple[Tensor, ...]) -> None:
    levels, scales, weight, expected = int8
    found = multiplied(INT8, levels[:3], weight, (2, 8), scales[:3])
    assert torch.equal(found[:, 2 * LANES : 8 * LANES], expected[:3, 2 * LANES : 8 * LANES])
    assert not found[:, : 2 * LANES].any()
    assert not found[:, 8 * LANES :].any()
