"""A tile's shape never shows in what it computes."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from numba import njit, types

from casspec.runtime.native.layout import BFLOAT16, LANES
from casspec.runtime.native.tiles import tile
from tests.runtime.native.memory import normal, row_bytes

INPUTS, GAP = 23, 5
"""Inputs of a row, and numbers between rows that are nobody's."""

Memory = tuple[torch.Tensor, torch.Tensor]


def called(rows: int, vectors: int, sums: bool = False) -> Any:
    inner = tile(rows, vectors, BFLOAT16, sums)

    @njit(types.void(*[types.int64] * 10))
    def run(x, x_row, w, w_input, w_vector, inputs, out, out_row, total, total_row):
        inner(x, x_row, w, w_input, w_vector, inputs, out, out_row, total, total_row)

    return run


@pytest.fixture(scope="module")
def memory() -> Memory:
    """Rows of numbers, and weights by vector: [4][INPUTS][LANES] bfloat16."""
    return normal(6, INPUTS + GAP), normal(4, INPUTS, LANES, seed=1).bfloat16()


def result(memory: Memory, rows: int, vectors: int, sums: bool = False) -> Memory:
    x, w = memory
    out, totals = torch.full((rows, vectors * LANES + GAP), 9.0), torch.full((rows, 3), 9.0)
    places = x.data_ptr(), row_bytes(x), w.data_ptr(), 2 * LANES, row_bytes(w), INPUTS, out.data_ptr(), row_bytes(out)
    called(rows, vectors, sums)(*places, totals.data_ptr(), row_bytes(totals))
    return out, totals


@pytest.mark.parametrize(("rows", "vectors"), [(1, 1), (1, 4), (3, 2), (6, 3)])
def test_tiles_of_every_shape_give_the_same_bits(memory: Memory, rows: int, vectors: int) -> None:
    expected, _ = result(memory, 6, 4)
    found, totals = result(memory, rows, vectors)
    assert torch.equal(found[:, : vectors * LANES], expected[:rows, : vectors * LANES])
    assert (found[:, vectors * LANES :] == 9).all(), "wrote past its columns"
    assert (totals == 9).all(), "wrote sums nobody asked for"


def test_a_tile_multiplies(memory: Memory) -> None:
    x, w = memory
    found, _ = result(memory, 6, 4)
    expected = x[:, :INPUTS] @ w.float().transpose(0, 1).reshape(INPUTS, -1)
    torch.testing.assert_close(found[:, : 4 * LANES], expected, atol=1e-5, rtol=1e-5)


def test_sums_stand_beside_the_product(memory: Memory) -> None:
    found, totals = result(memory, 3, 2, sums=True)
    assert torch.equal(found, result(memory, 3, 2)[0])
    torch.testing.assert_close(totals[:, 0], memory[0][:3, :INPUTS].sum(1), atol=1e-5, rtol=1e-5)
    assert (totals[:, 1:] == 9).all()
