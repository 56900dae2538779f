"""A whole forward as one native function, run by every thread of a team over the same table of numbers.

The table (`table.py`) holds addresses, sizes and strides; `runtime/model/lean/native_forward.py` fills it. Each thread
does its share of an operation and waits for the others before the next one reads the result.
"""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numba import carray, cfunc, types

from casspec.runtime.native import threads
from casspec.runtime.native.attention import BLOCK, attention
from casspec.runtime.native.layout import BFLOAT16, BYTES, FLOAT32, GROUP, GROUP_BYTES, INT4, INT8, LANES, STEP, TOTALS
from casspec.runtime.native.naming import compiled_for
from casspec.runtime.native.products import product
from casspec.runtime.native.row_operations import add, gate, normalise, rotate, store, to_group_levels, to_levels
from casspec.runtime.native.table import Layer, Slot
from casspec.runtime.native.threads import meet
from casspec.runtime.native.vectors import float_of_bits, float_of_half, floats, halves, numbers

N_LAYER = len(Layer)

_thread = types.ExternalFunction("omp_get_thread_num", types.int32())
_n_threads = types.ExternalFunction("omp_get_num_threads", types.int32())


def _linears(kind: int) -> Any:
    """How linears of a kind are run: what prepares their input, a layer's linear, the head, and the bytes of a weight."""
    multiply, read_multiply = product(kind), product(INT8 if kind == INT4 else kind)
    is_int8, is_int4 = kind == INT8, kind == INT4
    item = BYTES.get(kind, 0)

    @compiled_for(kind)
    def weight_bytes(inputs, is_int8, is_int4):
        """Of one vector of outputs, everything that belongs to it."""
        if is_int8:
            return (inputs + 3) // 4 * 4 * LANES + 8 * LANES
        if is_int4:
            return inputs // GROUP * GROUP_BYTES
        return inputs * LANES * item

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

    @compiled_for(kind)
    def linear(a, x, x_row, w, inputs, out, out_row, rows, columns, thread, n_threads):
        """This thread's columns of a product of what `ready` was given; returns the first of them and how many there are."""
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
        return first * LANES, (last - first) * LANES

    @compiled_for(kind)
    def read(a, inputs, rows, thread, n_threads):
        """The head over this thread's columns."""
        columns, out, w = a[Slot.HEAD_COLUMNS], a[Slot.LOGITS], a[Slot.HEAD]
        units = columns // (LANES * STEP)
        first, last = units * thread // n_threads * STEP, units * (thread + 1) // n_threads * STEP
        if is_int8 or is_int4:
            stride, entries = weight_bytes(inputs, True, False), a[Slot.ENTRY_BYTES]
            read_multiply(
                a[Slot.LEVELS],
                a[Slot.LEVEL_BYTES],
                w,
                0,
                stride,
                (inputs + 3) // 4,
                out,
                columns * 4,
                rows,
                first,
                last,
                a[Slot.ENTRIES],
                entries,
            )
        else:
            stride = weight_bytes(inputs, False, False)
            read_multiply(
                a[Slot.NORMED], inputs * 4, w, LANES * item, stride, inputs, out, columns * 4, rows, first, last, 0, 0
            )

    return ready, linear, read, weight_bytes


def _forward(kind: int, linear_kind: int) -> Any:
    """The function of a table that each thread runs, and what it is made of."""
    attention_of, item = attention(kind), BYTES[kind]
    ready, linear, read, weight_bytes = _linears(linear_kind)
    is_int8, is_int4 = linear_kind == INT8, linear_kind == INT4
    is_integer = is_int8 or is_int4

    @compiled_for(kind, linear_kind)
    def add_bias(out, out_row, bias, rows, first, n):
        if bias != 0:
            for row in range(rows):
                add(out + row * out_row + first * 4, bias + first * 4, n)

    @compiled_for(kind, linear_kind)
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

    @compiled_for(kind, linear_kind)
    def norms(a, weight, rows, epsilon, thread, n_threads):
        width = a[Slot.HIDDEN]
        for row in range(rows * thread // n_threads, rows * (thread + 1) // n_threads):
            normalise(a[Slot.X] + row * width * 4, weight, a[Slot.NORMED] + row * width * 4, width, epsilon)
        ready(a, a[Slot.NORMED], width * 4, width, rows, thread, n_threads, False)

    @compiled_for(kind, linear_kind)
    def turn(a, layer, index, rows, epsilon, scale, thread, n_threads):
        """Queries are normed, rotated and laid out by key head; keys too, and go into the cache with the values."""
        heads, key_heads, dim = a[Slot.HEADS], a[Slot.KEY_HEADS], a[Slot.HEAD_DIM]
        groups, queries = heads // key_heads, a[Slot.QUERIES]
        all_heads, positions = heads + 2 * key_heads, carray(numbers(a[Slot.POSITIONS]), rows)
        places = carray(numbers(a[Slot.ROWS]), rows)
        key_base = a[Slot.KEYS] + index * key_heads * dim * a[Slot.KEY_STRIDE] * item
        value_base = a[Slot.VALUES] + index * key_heads * a[Slot.CACHE_ROWS] * a[Slot.VALUE_WIDTH] * item
        one = np.float32(1)
        units = rows * all_heads
        for unit in range(units * thread // n_threads, units * (thread + 1) // n_threads):
            row, head = unit // all_heads, unit % all_heads
            source = a[Slot.JOINT] + (row * a[Slot.QKV] + head * dim) * 4
            angles = a[Slot.ANGLES] + positions[row] * dim * 4
            if head < heads:
                if layer[Layer.QUERY_NORM] != 0:
                    normalise(source, layer[Layer.QUERY_NORM], source, dim, epsilon)
                sequence, query = row // queries, row % queries
                block = (sequence * key_heads + head // groups) * queries * groups
                rotate(source, angles, dim, scale, a[Slot.TURNED] + (block + query * groups + head % groups) * dim * 4)
            elif head < heads + key_heads:
                if layer[Layer.KEY_NORM] != 0:
                    normalise(source, layer[Layer.KEY_NORM], source, dim, epsilon)
                # Rotated where it lies: each thread reads an entry and its partner before it writes both.
                rotate(source, angles, dim, one, source)
                place = key_base + ((head - heads) * dim * a[Slot.KEY_STRIDE] + places[row]) * item
                store(source, dim, kind, place, a[Slot.KEY_STRIDE])
            else:
                of = (head - heads - key_heads) * a[Slot.CACHE_ROWS] + places[row]
                store(source, dim, kind, value_base + of * a[Slot.VALUE_WIDTH] * item, 1)

    @compiled_for(kind, linear_kind)
    def attend(a, index, thread, n_threads):
        heads, key_heads, dim = a[Slot.HEADS], a[Slot.KEY_HEADS], a[Slot.HEAD_DIM]
        groups, queries, slots = heads // key_heads, a[Slot.QUERIES], a[Slot.SLOTS]
        n_rows, key_stride, value_width = queries * groups, a[Slot.KEY_STRIDE], a[Slot.VALUE_WIDTH]
        layer_keys = a[Slot.KEYS] + index * key_heads * dim * key_stride * item
        layer_values = a[Slot.VALUES] + index * key_heads * a[Slot.CACHE_ROWS] * value_width * item
        n_heads = a[Slot.BATCH] * key_heads
        size = min(max(n_heads * n_rows // (2 * n_threads), 1), BLOCK)
        blocks = (n_rows + size - 1) // size
        scores, parts = a[Slot.SCORES] + thread * a[Slot.SCORE_BYTES], a[Slot.PARTS] + thread * a[Slot.PART_BYTES]
        totals = parts + a[Slot.PART_BYTES] - 4 * TOTALS
        units = n_heads * blocks
        for unit in range(thread, units, n_threads):
            head, first = unit // blocks, unit % blocks * size
            sequence, key_head = head // key_heads, head % key_heads
            n = min(size, n_rows - first)
            query_rows = a[Slot.TURNED] + (head * n_rows + first) * dim * 4
            keys = layer_keys + (key_head * dim * key_stride + sequence * slots) * item
            values = layer_values + (key_head * a[Slot.CACHE_ROWS] + sequence * slots) * value_width * item
            mask = a[Slot.MASK] + sequence * a[Slot.MASK_BATCH]
            out = a[Slot.MIXED] + (sequence * queries * heads + key_head * groups) * dim * 4
            attention_of(
                query_rows,
                n,
                dim,
                groups,
                first,
                keys,
                key_stride * item,
                values,
                value_width * item,
                mask,
                a[Slot.MASK_ROW],
                a[Slot.LENGTH],
                scores,
                parts,
                totals,
                out,
                heads * dim * 4,
            )

    @compiled_for(kind, linear_kind)
    def add_product(a, x, x_row, inputs, w, bias, rows, thread, n_threads):
        """x times w onto the residual stream."""
        hidden, added, added_row = a[Slot.HIDDEN], a[Slot.ADDED], a[Slot.ADDED_COLUMNS] * 4
        if is_integer:
            ready(a, x, x_row, inputs, rows, thread, n_threads, False)
            meet(a[Slot.MEETING], n_threads)
        first, n = linear(a, x, x_row, w, inputs, added, added_row, rows, a[Slot.ADDED_COLUMNS], thread, n_threads)
        n = min(n, hidden - first)
        add_bias(added, added_row, bias, rows, first, n)
        for row in range(rows):
            add(a[Slot.X] + (row * hidden + first) * 4, added + row * added_row + first * 4, n)

    @compiled_for(kind, linear_kind)
    def gates(a, layer, rows, thread, n_threads):
        hidden, inner = a[Slot.HIDDEN], a[Slot.INNER]
        half, row_bytes, w = inner * 4, 2 * inner * 4, layer[Layer.GATES]
        ups = w + inner // LANES * weight_bytes(hidden, is_int8, is_int4)
        first, n = linear(
            a, a[Slot.NORMED], hidden * 4, w, hidden, a[Slot.GATES], row_bytes, rows, inner, thread, n_threads
        )
        linear(
            a, a[Slot.NORMED], hidden * 4, ups, hidden, a[Slot.GATES] + half, row_bytes, rows, inner, thread, n_threads
        )
        bias = layer[Layer.GATES_BIAS]
        add_bias(a[Slot.GATES], row_bytes, bias, rows, first, n)
        add_bias(a[Slot.GATES] + half, row_bytes, 0 if bias == 0 else bias + half, rows, first, n)
        for row in range(rows):
            place = a[Slot.GATES] + row * row_bytes + first * 4
            gate(place, place + half, n)

    @compiled_for(kind, linear_kind)
    def forward(a):
        thread, n_threads = np.int64(_thread()), np.int64(_n_threads())
        rows, hidden = a[Slot.BATCH] * a[Slot.QUERIES], a[Slot.HIDDEN]
        bits = carray(numbers(a[Slot.STEPS]), 3 * a[Slot.N_STEPS])
        epsilon, scale = float_of_bits(np.int32(a[Slot.EPSILON])), float_of_bits(np.int32(a[Slot.SCALE]))
        if a[Slot.EMBEDS]:
            embed(a, rows, thread, n_threads)
        # Norms and the embedding of a row are one thread's, so nothing is waited for between them.
        for step in range(a[Slot.N_STEPS]):
            index = bits[3 * step]
            layer = carray(numbers(a[Slot.LAYERS] + index * N_LAYER * 8), N_LAYER)
            if bits[3 * step + 1]:
                norms(a, layer[Layer.ATTENTION_NORM], rows, epsilon, thread, n_threads)
                meet(a[Slot.MEETING], n_threads)
                first, n = linear(
                    a,
                    a[Slot.NORMED],
                    hidden * 4,
                    layer[Layer.JOINT],
                    hidden,
                    a[Slot.JOINT],
                    a[Slot.QKV] * 4,
                    rows,
                    a[Slot.QKV],
                    thread,
                    n_threads,
                )
                add_bias(a[Slot.JOINT], a[Slot.QKV] * 4, layer[Layer.JOINT_BIAS], rows, first, n)
                meet(a[Slot.MEETING], n_threads)
                turn(a, layer, index, rows, epsilon, scale, thread, n_threads)
                meet(a[Slot.MEETING], n_threads)
                attend(a, index, thread, n_threads)
                meet(a[Slot.MEETING], n_threads)
                mixed = a[Slot.HEADS] * a[Slot.HEAD_DIM]
                add_product(
                    a,
                    a[Slot.MIXED],
                    mixed * 4,
                    mixed,
                    layer[Layer.OUTPUT],
                    layer[Layer.OUTPUT_BIAS],
                    rows,
                    thread,
                    n_threads,
                )
                meet(a[Slot.MEETING], n_threads)
            if bits[3 * step + 2]:
                norms(a, layer[Layer.MLP_NORM], rows, epsilon, thread, n_threads)
                meet(a[Slot.MEETING], n_threads)
                gates(a, layer, rows, thread, n_threads)
                meet(a[Slot.MEETING], n_threads)
                inner = a[Slot.INNER]
                add_product(
                    a,
                    a[Slot.GATES],
                    inner * 8,
                    inner,
                    layer[Layer.DOWN],
                    layer[Layer.DOWN_BIAS],
                    rows,
                    thread,
                    n_threads,
                )
                meet(a[Slot.MEETING], n_threads)
        if a[Slot.ENDS]:
            end(a, rows, epsilon, thread, n_threads)
        if a[Slot.LOGITS] != 0:
            ready(a, a[Slot.NORMED], hidden * 4, hidden, a[Slot.N_WANTED], thread, n_threads, True)
            meet(a[Slot.MEETING], n_threads)
            read(a, hidden, a[Slot.N_WANTED], thread, n_threads)

    @compiled_for(kind, linear_kind)
    def end(a, rows, epsilon, thread, n_threads):
        """The final norm of the rows wanted."""
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

    return forward


def _version() -> int:
    """A number of the sources here: numba looks at one file only before it takes what it compiled earlier."""
    sources = b"".join(path.read_bytes() for path in sorted(Path(__file__).parent.glob("*.py")))
    return int.from_bytes(hashlib.sha256(sources).digest()[:6])


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
    version, n_slots, _selected = _version() + 8 * kind + linear_kind, len(Slot), _forward(kind, linear_kind)

    def run(table):
        if version != 0:
            _selected(carray(table, n_slots, np.int64))

    run.__qualname__ = f"forward_{kind}_{linear_kind}"
    return _compiled(run)


def _compiled(run: Any) -> Any:
    """A C function of a table's address; kept on disk, unless no folder there can be written."""
    signature = types.void(types.voidptr)
    try:
        return cfunc(signature, cache=True)(run)
    except RuntimeError:
        return cfunc(signature)(run)
