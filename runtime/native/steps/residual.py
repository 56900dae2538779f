"""What reads and writes the residual stream: the embedding, norms of it, what sub-layers add to it, the final norm.

Of the steps that take whole rows each thread has the same rows, so nothing is waited for between them.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numba import carray

from casspec.runtime.native.layout import BFLOAT16, FLOAT32, INT4, INT8, LANES
from casspec.runtime.native.naming import compiled_for
from casspec.runtime.native.row_operations import add, normalise, scale
from casspec.runtime.native.steps.linears import linears
from casspec.runtime.native.table import Slot
from casspec.runtime.native.threads import meet
from casspec.runtime.native.vectors import float_of_bits, float_of_half, floats, halves, numbers


@cache
def embedding(kind: int) -> Any:
    """A function that makes this thread's rows of the stream from tokens; the embedding is of `kind`."""

    @compiled_for(kind)
    def embed(a, rows, thread, n_threads):
        hidden, packed, source = a[Slot.HIDDEN], a[Slot.EMBEDDING_PACKED], a[Slot.EMBEDDING]
        tokens = carray(numbers(a[Slot.TOKENS]), rows)
        for row in range(rows * thread // n_threads, rows * (thread + 1) // n_threads):
            goal = carray(floats(a[Slot.X] + row * hidden * 4), hidden)
            token = tokens[row]
            if packed:
                start, step = token // LANES * LANES * hidden + token % LANES, LANES
            else:
                start, step = token * hidden, 1
            if kind == FLOAT32:
                plain = carray(floats(source + start * 4), hidden * step)
                for i in range(hidden):
                    goal[i] = plain[i * step]
            elif kind == BFLOAT16:
                short = carray(halves(source + start * 2), hidden * step)
                for i in range(hidden):
                    goal[i] = float_of_bits(np.int32(np.int32(short[i * step]) << 16))
            else:
                half = carray(halves(source + start * 2), hidden * step)
                for i in range(hidden):
                    goal[i] = float_of_half(half[i * step])
            if a[Slot.EMBEDDING_SCALE] != 0:
                scale(a[Slot.X] + row * hidden * 4, float_of_bits(np.int32(a[Slot.EMBEDDING_SCALE])), hidden)

    return embed


@cache
def norms(linear_kind: int) -> Any:
    """A function that norms this thread's rows of the stream for linears of a kind."""
    ready = linears(linear_kind).ready

    @compiled_for(linear_kind)
    def run(a, weight, rows, epsilon, thread, n_threads):
        width = a[Slot.HIDDEN]
        for row in range(rows * thread // n_threads, rows * (thread + 1) // n_threads):
            normalise(a[Slot.X] + row * width * 4, weight, a[Slot.NORMED] + row * width * 4, width, epsilon)
        ready(a, a[Slot.NORMED], width * 4, width, rows, thread, n_threads, False)

    return run


@cache
def add_product(linear_kind: int) -> Any:
    """A function (table, x, its row in bytes, inputs, weight, bias, norm, ...) of the last linear of a sub-layer.

    This thread's columns are added to the stream. With a norm they wait in ADDED: a row is normed whole, by `settle`.
    """
    ready, linear = linears(linear_kind).ready, linears(linear_kind).linear
    is_integer = linear_kind in (INT8, INT4)

    @compiled_for(linear_kind)
    def run(a, x, x_row, inputs, w, bias, norm, rows, thread, n_threads):
        hidden, added, columns = a[Slot.HIDDEN], a[Slot.ADDED], a[Slot.ADDED_COLUMNS]
        if is_integer:
            ready(a, x, x_row, inputs, rows, thread, n_threads, False)
            meet(a[Slot.MEETING], n_threads)
        first, n = linear(a, x, x_row, w, inputs, bias, added, columns * 4, rows, columns, thread, n_threads)
        if norm == 0:
            n = min(n, hidden - first)
            for row in range(rows):
                add(a[Slot.X] + (row * hidden + first) * 4, added + (row * columns + first) * 4, n)

    return run


@cache
def settle() -> Any:
    """A function that norms this thread's rows of what a sub-layer gave, and adds them to the stream; nothing without a norm."""

    @compiled_for()
    def run(a, norm, rows, epsilon, thread, n_threads):
        if norm != 0:
            hidden = a[Slot.HIDDEN]
            for row in range(rows * thread // n_threads, rows * (thread + 1) // n_threads):
                given = a[Slot.ADDED] + row * a[Slot.ADDED_COLUMNS] * 4
                normalise(given, norm, given, hidden, epsilon)
                add(a[Slot.X] + row * hidden * 4, given, hidden)

    return run


@cache
def end() -> Any:
    """A function that norms, by the final norm, the rows wanted."""

    @compiled_for()
    def run(a, epsilon, thread, n_threads):
        hidden, n = a[Slot.HIDDEN], a[Slot.N_WANTED]
        meet(a[Slot.MEETING], n_threads)
        for i in range(n * thread // n_threads, n * (thread + 1) // n_threads):
            row = i
            if a[Slot.WANTED] != 0:
                row = carray(numbers(a[Slot.WANTED]), n)[i]
            normalise(
                a[Slot.X] + row * hidden * 4, a[Slot.FINAL_NORM], a[Slot.NORMED] + i * hidden * 4, hidden, epsilon
            )
        meet(a[Slot.MEETING], n_threads)

    return run
