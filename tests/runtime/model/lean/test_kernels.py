"""torch's kernels in 8 and 4 bits: near the float linear, row by row."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from casspec.runtime.model.lean.quantization import KERNELS
from casspec.storage.schema import Precision

INT8, INT4 = Precision.INT8_DYNAMIC, Precision.INT4_WEIGHT
LARGEST_ERROR = {INT8: 0.02, INT4: 0.15}
"""Of the norm of what a linear gives, for Gaussian weights and rows."""

needs_int8 = pytest.mark.skipif(
    KERNELS["cpu", INT8].refuses(torch.float32) is not None, reason="this processor has no 8-bit dot product"
)
PRECISIONS = [pytest.param(INT8, marks=needs_int8), INT4]


def relative_error(found: torch.Tensor, expected: torch.Tensor) -> float:
    return float((found.float() - expected.float()).norm() / expected.float().norm())


@torch.inference_mode()
@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("bias", [False, True], ids=["plain", "bias"])
def test_a_quantised_linear_is_near_the_float_one(precision: Precision, dtype: torch.dtype, bias: bool) -> None:
    kernel, generator = KERNELS["cpu", precision], torch.Generator().manual_seed(0)
    weight = torch.randn(96, 256, generator=generator).to(dtype)
    rows = (torch.randn(7, 256, generator=generator) * torch.logspace(-2, 2, 7)[:, None]).to(dtype)
    shift = torch.randn(96, generator=generator).to(dtype) if bias else None
    found = kernel.linear(rows, kernel.pack(weight), shift)
    expected = torch.nn.functional.linear(rows.float(), weight.float(), None if shift is None else shift.float())
    assert found.dtype == dtype
    for row in range(len(rows)):  # each by itself: a scale shared by all rows would lose the small ones
        assert relative_error(found[row], expected[row]) < LARGEST_ERROR[precision]


@torch.inference_mode()
@needs_int8
@settings(max_examples=30)
@given(st.integers(1, 12), st.integers(0, 2**31), st.floats(1e-3, 1e3))
def test_other_rows_never_change_an_8_bit_row(count: int, seed: int, factor: float) -> None:
    kernel, generator = KERNELS["cpu", INT8], torch.Generator().manual_seed(seed)
    weight = kernel.pack(torch.randn(64, 64, generator=generator))
    row, others = torch.randn(1, 64, generator=generator), torch.randn(count, 64, generator=generator) * factor
    together = kernel.linear(torch.cat((others, row)), weight, None)
    assert torch.equal(together[-1:], kernel.linear(row, weight, None))


@torch.inference_mode()
@pytest.mark.parametrize("precision", PRECISIONS)
def test_rows_and_weights_of_zeros_give_zeros(precision: Precision) -> None:
    kernel = KERNELS["cpu", precision]
    weight = torch.randn(64, 64)
    weight[3] = 0
    rows = torch.randn(3, 64)
    rows[1] = 0
    found = kernel.linear(rows, kernel.pack(weight), None)
    assert torch.isfinite(found).all()
    assert (found[1] == 0).all()
    assert found[:, 3].abs().max() < 1e-5
