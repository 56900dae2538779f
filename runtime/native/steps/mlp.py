"""The MLP up to its last linear: gates and ups, and the activation that joins them."""

from __future__ import annotations

from functools import cache
from typing import Any

from casspec.runtime.native.layout import INT4, INT8, LANES
from casspec.runtime.native.naming import compiled_for
from casspec.runtime.native.row_operations import gate
from casspec.runtime.native.steps.linears import linears
from casspec.runtime.native.table import Layer, Slot


@cache
def gates(linear_kind: int) -> Any:
    """A function over this thread's columns; both halves of a column are its own, so it joins them at once."""
    weight_bytes, linear = linears(linear_kind).weight_bytes, linears(linear_kind).linear
    is_int8, is_int4 = linear_kind == INT8, linear_kind == INT4

    @compiled_for(linear_kind)
    def run(a, layer, rows, thread, n_threads):
        hidden, inner, normed = a[Slot.HIDDEN], a[Slot.INNER], a[Slot.NORMED]
        half, row_bytes, w = inner * 4, 2 * inner * 4, layer[Layer.GATES]
        ups = w + inner // LANES * weight_bytes(hidden, is_int8, is_int4)
        bias = layer[Layer.GATES_BIAS]
        up_bias = 0 if bias == 0 else bias + half
        left, right = a[Slot.GATES], a[Slot.GATES] + half
        first, n = linear(a, normed, hidden * 4, w, hidden, bias, left, row_bytes, rows, inner, thread, n_threads)
        linear(a, normed, hidden * 4, ups, hidden, up_bias, right, row_bytes, rows, inner, thread, n_threads)
        for row in range(rows):
            place = left + row * row_bytes + first * 4
            gate(place, place + half, n, a[Slot.ACTIVATION])

    return run
