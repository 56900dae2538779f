"""One linear as a native call of its own, for layers that are not ours: rows of a model in, rows of it out.

Its threads widen the rows to float32, meet, and multiply: each has its own columns, a few at a time, so that what is not yet rounded to
the model's dtype stays in its cache.
"""

from __future__ import annotations

from functools import cache
from typing import Any, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from numba import carray, types
from torch import Tensor

from casspec.runtime.native import threads
from casspec.runtime.native.layout import BYTES, ENTRY_BYTES, GROUP, INT4, INT8, LANES, SPARE_ROWS
from casspec.runtime.native.naming import c_function, compiled_for, version
from casspec.runtime.native.packing import COLUMNS, KINDS
from casspec.runtime.native.row_operations import store, widen
from casspec.runtime.native.steps.linears import linears
from casspec.runtime.native.table import MEETING_BYTES, Lone, Slot
from casspec.runtime.native.threads import meet
from casspec.runtime.native.vectors import numbers

MOST_ROWS = 64
"""Of one call; more are cut into as many calls as they need."""

CHUNK = 8
"""Of COLUMNS, that a thread multiplies by before it rounds them."""

CHUNK_BYTES = CHUNK * COLUMNS * 4

_thread = types.ExternalFunction("omp_get_thread_num", types.int32())
_n_threads = types.ExternalFunction("omp_get_num_threads", types.int32())


class Weight(Protocol):
    """A weight as tiles read it, of one of the kinds in `layout.py`."""

    @property
    def address(self) -> int: ...

    @property
    def columns(self) -> int: ...


class Memory:
    """What the linears of a model work in, one after the other."""

    def __init__(self) -> None:
        self._inputs, self._threads = 0, 0
        self._tensors: dict[Slot, Tensor] = {Slot.MEETING: torch.zeros(MEETING_BYTES, dtype=torch.uint8)}
        self.table = np.zeros(len(Slot), np.int64)
        self.table[Slot.MEETING] = self._tensors[Slot.MEETING].data_ptr()

    def reserve(self, inputs: int, n_threads: int) -> None:
        """Room for rows of so many inputs, and for so many threads."""
        rows, inputs = MOST_ROWS + SPARE_ROWS, -(-inputs // GROUP) * GROUP
        if inputs > self._inputs:
            self._inputs = inputs
            self._keep(Slot.NORMED, rows, inputs * 4)
            self.table[Slot.LEVEL_BYTES] = self._keep(Slot.LEVELS, rows, inputs)
            self.table[Slot.ENTRY_BYTES] = self._keep(Slot.ENTRIES, rows, inputs // GROUP * ENTRY_BYTES)
        if n_threads > self._threads:
            self._threads = n_threads
            self.table[Slot.PART_BYTES] = self._keep(Slot.PARTS, n_threads, rows * CHUNK_BYTES)

    @property
    def n_threads(self) -> int:
        """That there is room for."""
        return self._threads

    def _keep(self, slot: Slot, rows: int, row_bytes: int) -> int:
        self._tensors[slot] = torch.zeros(rows, row_bytes, dtype=torch.uint8)
        self.table[slot] = self._tensors[slot].data_ptr()
        return row_bytes


class LoneLinear:
    """A linear over a packed weight.

    Args:
        n_in, n_out: of the plain weight. bias: [n_out] or None. dtype: of rows in and out. kind: of the weight.
        memory: shared by all linears that never run at the same time.
    """

    def __init__(
        self, weight: Weight, n_in: int, n_out: int, bias: Tensor | None, dtype: torch.dtype, kind: int, memory: Memory
    ) -> None:
        memory.reserve(n_in, torch.get_num_threads())
        self.weight, self._memory = weight, memory
        self._n_in, self._n_out, self._dtype = n_in, n_out, dtype
        self._bias = None if bias is None else F.pad(bias.detach().float(), (0, weight.columns - n_out))
        self._run, self._function = threads.runner(), address(KINDS[dtype], kind)
        table = np.zeros(len(Lone), np.int64)
        table[Lone.MEMORY] = memory.table.ctypes.data
        table[Lone.INPUTS], table[Lone.OUTPUTS], table[Lone.COLUMNS] = n_in, n_out, weight.columns
        table[Lone.WEIGHT], table[Lone.BIAS] = weight.address, 0 if self._bias is None else self._bias.data_ptr()
        self._address, self._entries = table.ctypes.data, table.data
        self._in_bytes, self._out_bytes = n_in * dtype.itemsize, n_out * dtype.itemsize

    def __call__(self, x: Tensor) -> Tensor:
        """x: [..., n_in] -> [..., n_out], each row with the same bits whatever rows stand beside it.

        Raises ValueError for rows of another width.
        """
        shape = x.shape
        if shape[-1] != self._n_in:
            raise ValueError(f"rows of {shape[-1]} numbers, a linear of {self._n_in} inputs")
        if x.dtype is not self._dtype or not x.is_contiguous():
            x = x.to(self._dtype).contiguous()
        out = x.new_empty((*shape[:-1], self._n_out))
        n_rows, n_threads, entries = x.numel() // self._n_in, torch.get_num_threads(), self._entries
        if n_threads > self._memory.n_threads:
            self._memory.reserve(self._n_in, n_threads)
        source, goal = x.data_ptr(), out.data_ptr()
        for first in range(0, n_rows, MOST_ROWS):
            entries[GIVEN] = source + first * self._in_bytes
            entries[OUT] = goal + first * self._out_bytes
            entries[ROWS] = min(MOST_ROWS, n_rows - first)
            self._run(self._function, self._address, n_threads)
        return out


GIVEN, OUT, ROWS = int(Lone.GIVEN), int(Lone.OUT), int(Lone.ROWS)
"""What a call writes."""


def _linear(kind: int, linear_kind: int) -> Any:
    """The function of both tables that each thread runs; rows are of `kind`, the weight of `linear_kind`."""
    weight_bytes, ready, linear = (getattr(linears(linear_kind), name) for name in ("weight_bytes", "ready", "linear"))
    item, is_int8, is_int4 = BYTES[kind], linear_kind == INT8, linear_kind == INT4

    @compiled_for(kind, linear_kind)
    def multiplied(own, a):
        thread, n_threads = np.int64(_thread()), np.int64(_n_threads())
        rows, inputs, outputs = own[Lone.ROWS], own[Lone.INPUTS], own[Lone.OUTPUTS]
        x, x_row, bias = a[Slot.NORMED], inputs * 4, own[Lone.BIAS]
        for row in range(rows * thread // n_threads, rows * (thread + 1) // n_threads):
            widen(own[Lone.GIVEN] + row * inputs * item, kind, inputs, x + row * x_row)
        ready(a, x, x_row, inputs, rows, thread, n_threads, False)
        meet(a[Slot.MEETING], n_threads)
        units, stride = own[Lone.COLUMNS] // COLUMNS, weight_bytes(inputs, is_int8, is_int4)
        part, last = a[Slot.PARTS] + thread * a[Slot.PART_BYTES], units * (thread + 1) // n_threads
        for unit in range(units * thread // n_threads, last, CHUNK):
            n, first = min(CHUNK, last - unit) * COLUMNS, unit * COLUMNS
            w, added = own[Lone.WEIGHT] + first // LANES * stride, 0 if bias == 0 else bias + first * 4
            linear(a, x, x_row, w, inputs, added, part, CHUNK_BYTES, rows, n, 0, 1)
            for row in range(rows):
                goal = own[Lone.OUT] + (row * outputs + first) * item
                store(part + row * CHUNK_BYTES, min(n, outputs - first), kind, goal, 1)

    return multiplied


# Read while `_function` compiles: what a function closes over must not change from process to process.
_selected: Any = None


def address(kind: int, linear_kind: int) -> int:
    """Where the compiled linear lies: a C function of its table's address. The first call on a machine compiles it.

    Args:
        kind: of rows in and out. linear_kind: of the weight, `kind` or INT8 or INT4.
    """
    return int(_function(kind, linear_kind).address)


@cache
def _function(kind: int, linear_kind: int) -> Any:
    """The compiled linear, kept for as long as the process: its code goes with it."""
    global _selected
    assert threads.library() is not None, "refused before"
    number, _selected = version() + 8 * kind + linear_kind, _linear(kind, linear_kind)
    n_own, n_slots = len(Lone), len(Slot)

    def run(table):
        if number != 0:
            own = carray(table, n_own, np.int64)
            _selected(own, carray(numbers(own[Lone.MEMORY]), n_slots))

    run.__qualname__ = f"linear_{kind}_{linear_kind}"
    return c_function(run)
