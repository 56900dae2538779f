"""A linear over weights of any kind: its input made ready, this thread's columns, the head."""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

import numpy as np

from casspec.runtime.native.layout import BYTES, GROUP, GROUP_BYTES, INT4, INT8, LANES, STEP
from casspec.runtime.native.naming import compiled_for
from casspec.runtime.native.products import product
from casspec.runtime.native.row_operations import add, cap, to_group_levels, to_levels
from casspec.runtime.native.table import Slot
from casspec.runtime.native.vectors import float_of_bits


class Linears(NamedTuple):
    """Compiled functions: see their bodies for the arguments."""

    weight_bytes: Any
    ready: Any
    linear: Any
    read: Any


@cache
def linears(kind: int) -> Linears:
    """How linears of a kind are run: the bytes of a weight, what prepares their input, a layer's linear, the head."""
    weight_bytes = _weight_bytes(kind)
    return Linears(weight_bytes, _ready(kind), _linear(kind, weight_bytes), _read(kind, weight_bytes))


def _weight_bytes(kind: int) -> Any:
    item = BYTES.get(kind, 0)

    @compiled_for(kind)
    def weight_bytes(inputs, is_int8, is_int4):
        """Of one vector of outputs, everything that belongs to it."""
        if is_int8:
            return (inputs + 3) // 4 * 4 * LANES + 8 * LANES
        if is_int4:
            return inputs // GROUP * GROUP_BYTES
        return inputs * LANES * item

    return weight_bytes


def _ready(kind: int) -> Any:
    is_int8, is_int4 = kind == INT8, kind == INT4

    @compiled_for(kind)
    def ready(a, x, x_row, inputs, rows, thread, n_threads, is_head):
        """This thread's rows of an input as levels, where the linear takes those."""
        if is_int8 or is_int4:
            width, entries = a[Slot.LEVEL_BYTES], a[Slot.ENTRY_BYTES]
            for row in range(rows * thread // n_threads, rows * (thread + 1) // n_threads):
                levels, entry = a[Slot.LEVELS] + row * width, a[Slot.ENTRIES] + row * entries
                if is_int8 or is_head:
                    to_levels(x + row * x_row, inputs, levels, entry)
                else:
                    to_group_levels(x + row * x_row, inputs, levels, entry)

    return ready


def _linear(kind: int, weight_bytes: Any) -> Any:
    multiply, item = product(kind), BYTES.get(kind, 0)
    is_int8, is_int4 = kind == INT8, kind == INT4

    @compiled_for(kind)
    def linear(a, x, x_row, w, inputs, bias, out, out_row, rows, columns, thread, n_threads):
        """This thread's columns of a product of what `ready` was given, and the bias; returns the first of them and how many there are."""
        units = columns // (LANES * STEP)
        first, last = units * thread // n_threads * STEP, units * (thread + 1) // n_threads * STEP
        stride = weight_bytes(inputs, is_int8, is_int4)
        if is_int8 or is_int4:
            n, width, entries = (
                (inputs + 3) // 4 if is_int8 else inputs // GROUP,
                a[Slot.LEVEL_BYTES],
                a[Slot.ENTRY_BYTES],
            )
            multiply(a[Slot.LEVELS], width, w, 0, stride, n, out, out_row, rows, first, last, a[Slot.ENTRIES], entries)
        else:
            multiply(x, x_row, w, LANES * item, stride, inputs, out, out_row, rows, first, last, 0, 0)
        first, n_columns = first * LANES, (last - first) * LANES
        if bias != 0:
            for row in range(rows):
                add(out + row * out_row + first * 4, bias + first * 4, n_columns)
        return first, n_columns

    return linear


def _read(kind: int, weight_bytes: Any) -> Any:
    multiply, item = product(INT8 if kind == INT4 else kind), BYTES.get(kind, 0)
    is_integer = kind in (INT8, INT4)

    @compiled_for(kind)
    def read(a, inputs, rows, thread, n_threads):
        """The head over this thread's columns."""
        columns, out, w = a[Slot.HEAD_COLUMNS], a[Slot.LOGITS], a[Slot.HEAD]
        units = columns // (LANES * STEP)
        first, last = units * thread // n_threads * STEP, units * (thread + 1) // n_threads * STEP
        row_bytes = columns * 4
        if is_integer:
            x, x_row, n, entries = a[Slot.LEVELS], a[Slot.LEVEL_BYTES], (inputs + 3) // 4, a[Slot.ENTRY_BYTES]
            stride = weight_bytes(inputs, True, False)
            multiply(x, x_row, w, 0, stride, n, out, row_bytes, rows, first, last, a[Slot.ENTRIES], entries)
        else:
            x, stride = a[Slot.NORMED], weight_bytes(inputs, False, False)
            multiply(x, inputs * 4, w, LANES * item, stride, inputs, out, row_bytes, rows, first, last, 0, 0)
        if a[Slot.LOGIT_CAP] != 0:
            largest = float_of_bits(np.int32(a[Slot.LOGIT_CAP]))
            for row in range(rows):
                cap(out + row * row_bytes + first * LANES * 4, largest, (last - first) * LANES)

    return read
