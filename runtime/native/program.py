"""A whole forward as one native function, run by every thread of a team over the same table of numbers.

The table (`table.py`) holds addresses, sizes and strides; `runtime/model/lean/native_forward.py` fills it. Each thread
does its share of an operation and waits for the others before the next one reads the result.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numba import carray, types

from casspec.runtime.native import threads
from casspec.runtime.native.naming import c_function, compiled_for, version
from casspec.runtime.native.steps.heads import attend, turn
from casspec.runtime.native.steps.linears import linears
from casspec.runtime.native.steps.mlp import gates
from casspec.runtime.native.steps.residual import add_product, embedding, end, norms, settle
from casspec.runtime.native.table import Layer, Slot
from casspec.runtime.native.threads import meet
from casspec.runtime.native.vectors import float_of_bits, numbers

N_LAYER = len(Layer)

_thread = types.ExternalFunction("omp_get_thread_num", types.int32())
_n_threads = types.ExternalFunction("omp_get_num_threads", types.int32())


def _forward(kind: int, linear_kind: int) -> Any:
    """The function of a table that each thread runs."""
    ready, linear, read = (getattr(linears(linear_kind), part) for part in ("ready", "linear", "read"))
    embed, norm, add, settled = embedding(kind), norms(linear_kind), add_product(linear_kind), settle()
    turned, attended, gated, ended = turn(kind), attend(kind), gates(linear_kind), end()

    @compiled_for(kind, linear_kind)
    def attention_layer(a, layer, index, rows, epsilon, thread, n_threads):
        hidden, qkv, mixed = a[Slot.HIDDEN], a[Slot.QKV], a[Slot.HEADS] * a[Slot.HEAD_DIM]
        w, bias, joint = layer[Layer.JOINT], layer[Layer.JOINT_BIAS], a[Slot.JOINT]
        norm(a, layer[Layer.ATTENTION_NORM], rows, epsilon, thread, n_threads)
        meet(a[Slot.MEETING], n_threads)
        linear(a, a[Slot.NORMED], hidden * 4, w, hidden, bias, joint, qkv * 4, rows, qkv, thread, n_threads)
        meet(a[Slot.MEETING], n_threads)
        turned(a, layer, index, rows, epsilon, float_of_bits(np.int32(a[Slot.SCALE])), thread, n_threads)
        meet(a[Slot.MEETING], n_threads)
        attended(a, layer, index, thread, n_threads)
        meet(a[Slot.MEETING], n_threads)
        w, bias, after = layer[Layer.OUTPUT], layer[Layer.OUTPUT_BIAS], layer[Layer.OUTPUT_NORM]
        add(a, a[Slot.MIXED], mixed * 4, mixed, w, bias, after, rows, thread, n_threads)
        meet(a[Slot.MEETING], n_threads)
        settled(a, after, rows, epsilon, thread, n_threads)

    @compiled_for(kind, linear_kind)
    def mlp_layer(a, layer, rows, epsilon, thread, n_threads):
        inner = a[Slot.INNER]
        norm(a, layer[Layer.MLP_NORM], rows, epsilon, thread, n_threads)
        meet(a[Slot.MEETING], n_threads)
        gated(a, layer, rows, thread, n_threads)
        meet(a[Slot.MEETING], n_threads)
        w, bias, after = layer[Layer.DOWN], layer[Layer.DOWN_BIAS], layer[Layer.DOWN_NORM]
        add(a, a[Slot.GATES], inner * 8, inner, w, bias, after, rows, thread, n_threads)
        meet(a[Slot.MEETING], n_threads)
        settled(a, after, rows, epsilon, thread, n_threads)

    @compiled_for(kind, linear_kind)
    def forward(a):
        thread, n_threads = np.int64(_thread()), np.int64(_n_threads())
        rows, hidden = a[Slot.N_ROWS], a[Slot.HIDDEN]
        bits = carray(numbers(a[Slot.STEPS]), 3 * a[Slot.N_STEPS])
        epsilon = float_of_bits(np.int32(a[Slot.EPSILON]))
        if a[Slot.EMBEDS]:
            embed(a, rows, thread, n_threads)
        for step in range(a[Slot.N_STEPS]):
            index = bits[3 * step]
            layer = carray(numbers(a[Slot.LAYERS] + index * N_LAYER * 8), N_LAYER)
            if bits[3 * step + 1]:
                attention_layer(a, layer, index, rows, epsilon, thread, n_threads)
            if bits[3 * step + 2]:
                mlp_layer(a, layer, rows, epsilon, thread, n_threads)
        if a[Slot.ENDS]:
            ended(a, epsilon, thread, n_threads)
        if a[Slot.LOGITS] != 0:
            ready(a, a[Slot.NORMED], hidden * 4, hidden, a[Slot.N_WANTED], thread, n_threads, True)
            meet(a[Slot.MEETING], n_threads)
            read(a, hidden, a[Slot.N_WANTED], thread, n_threads)

    return forward


# Read while `_function` compiles: what a function closes over must not change from process to process.
_selected: Any = None


def address(kind: int, linear_kind: int) -> int:
    """Where the compiled forward lies: a C function of the table's address. The first call on a machine compiles it.

    Args:
        kind: of cache, mask and embedding. linear_kind: of the linears, `kind` or INT8 or INT4.
    """
    return int(_function(kind, linear_kind).address)


@cache
def _function(kind: int, linear_kind: int) -> Any:
    """The compiled forward, kept for as long as the process: its code goes with it."""
    global _selected
    assert threads.library() is not None, "refused before"
    number, n_slots, _selected = version() + 8 * kind + linear_kind, len(Slot), _forward(kind, linear_kind)

    def run(table):
        if number != 0:
            _selected(carray(table, n_slots, np.int64))

    run.__qualname__ = f"forward_{kind}_{linear_kind}"
    return c_function(run)
