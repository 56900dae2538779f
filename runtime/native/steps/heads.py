"""Attention between its two linears: heads are normed and rotated, keys and values go into the cache, which is then read."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numba import carray

from casspec.runtime.native.attention import BLOCK, attention
from casspec.runtime.native.layout import BYTES, TOTALS
from casspec.runtime.native.naming import compiled_for
from casspec.runtime.native.row_operations import normalise, rotate, store
from casspec.runtime.native.table import Layer, Slot
from casspec.runtime.native.vectors import float_of_bits, numbers


@cache
def turn(kind: int) -> Any:
    """A function over this thread's heads; the cache is of `kind`."""
    item = BYTES[kind]

    @compiled_for(kind)
    def run(a, layer, index, rows, epsilon, scale, thread, n_threads):
        """Queries are normed, rotated and laid out by key head; keys too, and go into the cache with the values."""
        heads, key_heads, dim, rotated = a[Slot.HEADS], a[Slot.KEY_HEADS], a[Slot.HEAD_DIM], a[Slot.ROTATED]
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
            angles = layer[Layer.ANGLES] + positions[row] * rotated * 4
            if head < heads:
                if layer[Layer.QUERY_NORM] != 0:
                    normalise(source, layer[Layer.QUERY_NORM], source, dim, epsilon)
                sequence, query = row // queries, row % queries
                block = (sequence * key_heads + head // groups) * queries * groups
                goal = a[Slot.TURNED] + (block + query * groups + head % groups) * dim * 4
                rotate(source, angles, rotated, dim, scale, goal)
            elif head < heads + key_heads:
                if layer[Layer.KEY_NORM] != 0:
                    normalise(source, layer[Layer.KEY_NORM], source, dim, epsilon)
                # Rotated where it lies: each thread reads an entry and its partner before it writes both.
                rotate(source, angles, rotated, dim, one, source)
                place = key_base + ((head - heads) * dim * a[Slot.KEY_STRIDE] + places[row]) * item
                store(source, dim, kind, place, a[Slot.KEY_STRIDE])
            else:
                of = (head - heads - key_heads) * a[Slot.CACHE_ROWS] + places[row]
                store(source, dim, kind, value_base + of * a[Slot.VALUE_WIDTH] * item, 1)

    return run


@cache
def attend(kind: int) -> Any:
    """A function over this thread's blocks of query rows; the cache is of `kind`."""
    attention_of, item = attention(kind), BYTES[kind]

    @compiled_for(kind)
    def run(a, layer, index, thread, n_threads):
        heads, key_heads, dim = a[Slot.HEADS], a[Slot.KEY_HEADS], a[Slot.HEAD_DIM]
        groups, queries, slots = heads // key_heads, a[Slot.QUERIES], a[Slot.SLOTS]
        n_rows, key_stride, value_width = queries * groups, a[Slot.KEY_STRIDE], a[Slot.VALUE_WIDTH]
        layer_keys = a[Slot.KEYS] + index * key_heads * dim * key_stride * item
        layer_values = a[Slot.VALUES] + index * key_heads * a[Slot.CACHE_ROWS] * value_width * item
        masks, mask_row, mask_batch = a[Slot.MASK], a[Slot.MASK_ROW], a[Slot.MASK_BATCH]
        if layer[Layer.WINDOWED]:
            masks, mask_row, mask_batch = a[Slot.WINDOW_MASK], a[Slot.WINDOW_ROW], a[Slot.WINDOW_BATCH]
        largest = float_of_bits(np.int32(a[Slot.SCORE_CAP]))
        n_heads = a[Slot.BATCH] * key_heads
        size = min(max(n_heads * n_rows // (2 * n_threads), 1), BLOCK)
        blocks = (n_rows + size - 1) // size
        scores, parts = a[Slot.SCORES] + thread * a[Slot.SCORE_BYTES], a[Slot.PARTS] + thread * a[Slot.PART_BYTES]
        totals = parts + a[Slot.PART_BYTES] - 4 * TOTALS
        units = n_heads * blocks
        for unit in range(thread, units, n_threads):
            head, first = unit // blocks, unit % blocks * size
            sequence, key_head = head // key_heads, head % key_heads
            attention_of(
                a[Slot.TURNED] + (head * n_rows + first) * dim * 4,
                min(size, n_rows - first),
                dim,
                groups,
                first,
                layer_keys + (key_head * dim * key_stride + sequence * slots) * item,
                key_stride * item,
                layer_values + (key_head * a[Slot.CACHE_ROWS] + sequence * slots) * value_width * item,
                value_width * item,
                masks + sequence * mask_batch,
                mask_row,
                a[Slot.LENGTH],
                largest,
                scores,
                parts,
                totals,
                a[Slot.MIXED] + (sequence * queries * heads + key_head * groups) * dim * 4,
                heads * dim * 4,
            )

    return run
