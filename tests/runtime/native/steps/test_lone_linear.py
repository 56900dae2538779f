"""One linear as a native call: torch's result, whatever rows come together and however many."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from casspec.runtime.model.lean.tiled_kernels import Int4Native, Int8Native
from casspec.runtime.native import processor
from casspec.runtime.native.layout import BFLOAT16, FLOAT16, FLOAT32, INT4, INT8
from casspec.runtime.native.packing import COLUMNS, packed
from casspec.runtime.native.steps.lone_linear import CHUNK, MOST_ROWS, LoneLinear, Memory, address
from tests.runtime.native.memory import DTYPES, normal

N_IN = 64
SEVERAL = (3, MOST_ROWS // 3)
"""Sequences and rows, more than one call takes."""
needs_bytes = pytest.mark.skipif(not processor.has_byte_products(), reason="no 8-bit dot product")


def linear(n_out: int, kind: int = FLOAT32, bias: Tensor | None = None, memory: Memory | None = None) -> LoneLinear:
    weight = normal(n_out, N_IN, seed=1).to(DTYPES[kind])
    return LoneLinear(packed(weight), N_IN, n_out, bias, DTYPES[kind], kind, memory or Memory())


def expected(x: Tensor, n_out: int, dtype: torch.dtype, bias: Tensor | None = None) -> Tensor:
    weight = normal(n_out, N_IN, seed=1).to(dtype).double()
    return (x.double() @ weight.t() + (0 if bias is None else bias.double())).to(dtype)


@pytest.mark.parametrize("kind", [FLOAT32, BFLOAT16, FLOAT16])
@pytest.mark.parametrize("n_out", [1, 40, CHUNK * COLUMNS + 17])
@pytest.mark.parametrize("shape", [(), (1, 5), SEVERAL])
def test_the_result_is_torchs_in_every_dtype_and_width(kind: int, n_out: int, shape: tuple[int, ...]) -> None:
    dtype, bias = DTYPES[kind], normal(n_out, seed=2).to(DTYPES[kind])
    x = normal(*shape, N_IN).to(dtype)
    found = linear(n_out, kind, bias)(x)
    assert found.dtype is dtype
    assert found.shape == (*shape, n_out)
    tolerance = {FLOAT32: 1e-5, BFLOAT16: 1e-2, FLOAT16: 2e-3}[kind]
    torch.testing.assert_close(found, expected(x, n_out, dtype, bias), atol=tolerance, rtol=tolerance)


@pytest.mark.parametrize("kind", [FLOAT32, BFLOAT16])
def test_a_row_has_the_same_bits_whatever_rows_stand_beside_it(kind: int) -> None:
    lone, x = linear(72, kind), normal(MOST_ROWS + 9, N_IN).to(DTYPES[kind])
    whole = lone(x)
    for n in (1, 2, 5, 8, 19):
        assert torch.equal(lone(x[:n]), whole[:n])
        assert torch.equal(lone(x[-n:]), whole[-n:])


def test_no_rows_give_none() -> None:
    assert linear(8)(normal(2, 0, N_IN)).shape == (2, 0, 8)


def test_rows_that_do_not_lie_in_order_are_put_in_order() -> None:
    x = normal(N_IN, 6).t()
    torch.testing.assert_close(linear(40)(x), expected(x, 40, torch.float32), atol=1e-5, rtol=1e-5)


def test_rows_of_another_width_are_an_error() -> None:
    with pytest.raises(ValueError, match="rows of 32 numbers, a linear of 64 inputs"):
        linear(8)(normal(2, N_IN // 2))


def test_linears_work_in_one_memory_one_after_the_other() -> None:
    memory, x = Memory(), normal(3, N_IN)
    first, second = linear(40, memory=memory), linear(300, memory=memory)
    wide = LoneLinear(packed(normal(8, 1000)), 1000, 8, None, torch.float32, FLOAT32, memory)
    assert wide(normal(2, 1000)).shape == (2, 8)
    for _ in range(2):
        torch.testing.assert_close(first(x), expected(x, 40, torch.float32), atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(second(x), expected(x, 300, torch.float32), atol=1e-5, rtol=1e-5)


def test_more_threads_than_there_were_find_room() -> None:
    lone, x = linear(300), normal(7, N_IN)
    alone = lone(x)
    try:
        torch.set_num_threads(2)
        assert torch.equal(lone(x), alone)
    finally:
        torch.set_num_threads(1)


@needs_bytes
@pytest.mark.parametrize(("kind", "kernel", "error"), [(INT8, Int8Native(), 0.02), (INT4, Int4Native(), 0.15)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_weights_of_few_bits_are_multiplied_to_their_rounding(
    kind: int, kernel: Int8Native | Int4Native, error: float, dtype: torch.dtype
) -> None:
    weight, x, bias = (
        normal(CHUNK * COLUMNS + 17, N_IN, seed=1),
        normal(5, N_IN).to(dtype),
        normal(CHUNK * COLUMNS + 17),
    )
    lone = LoneLinear(kernel.pack(weight), N_IN, len(weight), bias, dtype, kind, Memory())
    wanted = x.float() @ weight.t() + bias
    found = lone(x)
    assert found.dtype is dtype
    assert 0 < (found - wanted).norm() < error * wanted.norm()
    assert torch.equal(lone(x[:1]), found[:1])


def test_linears_of_the_same_kinds_are_one_function() -> None:
    assert address(FLOAT32, FLOAT32) == address(FLOAT32, FLOAT32) != address(BFLOAT16, BFLOAT16)
