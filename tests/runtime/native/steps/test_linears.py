"""A linear's columns shared out among threads, and the head with its bound."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from casspec.runtime.model.lean.tiled_kernels import Int4Native, Int8Native
from casspec.runtime.native import processor
from casspec.runtime.native.layout import BFLOAT16, ENTRY_BYTES, FLOAT32, GROUP, INT4, INT8, LANES, STEP
from casspec.runtime.native.packing import packed
from casspec.runtime.native.steps.linears import linears
from casspec.runtime.native.table import Slot
from tests.runtime.native.memory import DTYPES, normal, row_bytes, spared, table

N_IN, N_OUT = 2 * GROUP, 3 * STEP * LANES
needs_bytes = pytest.mark.skipif(not processor.has_byte_products(), reason="no 8-bit dot product")


def level_entries(rows: int) -> tuple[dict[Slot, int | float | Tensor], list[Tensor]]:
    """Memory for the levels of rows, as entries and as what must be kept."""
    levels = torch.zeros(rows, N_IN, dtype=torch.uint8)
    known = torch.zeros(rows, N_IN // GROUP * ENTRY_BYTES, dtype=torch.uint8)
    entries = {Slot.LEVELS: levels, Slot.LEVEL_BYTES: N_IN, Slot.ENTRIES: known, Slot.ENTRY_BYTES: known.shape[1]}
    return dict(entries), [levels, known]


@pytest.mark.parametrize("kind", [FLOAT32, BFLOAT16])
@pytest.mark.parametrize("biased", [False, True])
def test_the_shares_of_threads_make_the_whole(kind: int, biased: bool) -> None:
    x, weight, bias = spared(normal(3, N_IN)), normal(N_OUT, N_IN, seed=1).to(DTYPES[kind]), normal(N_OUT, seed=2)
    values, out, shares = packed(weight).values, spared(torch.zeros(3, N_OUT)), []
    for thread in range(2):
        shares.append(
            linears(kind).linear(
                table({}), x.data_ptr(), row_bytes(x), values.data_ptr(), N_IN, bias.data_ptr() if biased else 0,
                out.data_ptr(), row_bytes(out), 3, N_OUT, thread, 2,
            )
        )  # fmt: skip
    expected = x[:3].double() @ weight.double().t() + (bias if biased else 0)
    torch.testing.assert_close(out[:3].double(), expected, atol=1e-4, rtol=1e-4)
    assert shares == [(0, STEP * LANES), (STEP * LANES, 2 * STEP * LANES)]


@needs_bytes
@pytest.mark.parametrize(("kind", "kernel", "error"), [(INT8, Int8Native(), 0.02), (INT4, Int4Native(), 0.15)])
def test_levels_made_ready_by_all_threads_serve_each(kind: int, kernel: Int8Native | Int4Native, error: float) -> None:
    x, weight, out = spared(normal(3, N_IN)), normal(N_OUT, N_IN, seed=1), spared(torch.zeros(3, N_OUT))
    (entries, kept), tiled = level_entries(len(x)), kernel.pack(weight)
    a, where = table(entries), (x.data_ptr(), row_bytes(x))
    for thread in range(2):
        linears(kind).ready(a, *where, N_IN, 3, thread, 2, False)
    for thread in range(2):
        goal = out.data_ptr(), row_bytes(out), 3, N_OUT, thread, 2
        linears(kind).linear(a, *where, tiled.address, N_IN, 0, *goal)
    expected = x[:3] @ weight.t()
    assert 0 < (out[:3] - expected).norm() < error * expected.norm()
    assert kept[0].any()


@pytest.mark.parametrize("largest", [0.0, 3.0])
def test_logits_are_bounded_where_there_is_a_bound(largest: float) -> None:
    x, weight = spared(normal(2, N_IN)), normal(N_OUT, N_IN, seed=1)
    values, out = packed(weight).values, spared(torch.zeros(2, N_OUT))
    a = table({Slot.HEAD_COLUMNS: N_OUT, Slot.LOGITS: out, Slot.HEAD: values, Slot.NORMED: x, Slot.LOGIT_CAP: largest})
    for thread in range(2):
        linears(FLOAT32).read(a, N_IN, 2, thread, 2)
    expected = x[:2] @ weight.t()
    expected = largest * torch.tanh(expected / largest) if largest else expected
    torch.testing.assert_close(out[:2], expected, atol=1e-5, rtol=1e-5)
