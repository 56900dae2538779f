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
from casspec.runtime.native.table import Extent, Layer, Slot
from casspec.runtime.native.vectors import float_of_bits, numbers

N_EXTENT = len(Extent)


@cache
def turn(kind: int) -> Any:
    """A function over this thread's heads; the cache is of `kind`."""
    item = BYTES[kind]

    @compiled_for(kind)
    def run(a, layer, index, rows, epsilon, scale, thread, n_threads):
        """Queries are normed, rotated and laid out by key head; keys too, and go into the cache with the values."""
        heads, key_heads, dim, rotated = a[Slot.HEADS], a[Slot.KEY_HEADS], a[Slot.HEAD_DIM], a[Slot.ROTATED]
        groups, value_width = heads // key_heads, a[Slot.VALUE_WIDTH]
        all_heads, positions = heads + 2 * key_heads, carray(numbers(a[Slot.POSITIONS]), rows)
        places, extents = carray(numbers(a[Slot.ROWS]), rows), a[Slot.EXTENTS] - N_EXTENT * 8
        one = np.float32(1)
        units = rows * all_heads
        end = 0
        first, queries, cache_rows, key_base, value_base = 0, 0, 0, 0, 0
        for unit in range(units * thread // n_threads, units * (thread + 1) // n_threads):
            row, head = unit // all_heads, unit % all_heads
            while row >= end:
                extents += N_EXTENT * 8
                extent = carray(numbers(extents), N_EXTENT)
                first, queries, cache_rows = extent[Extent.FIRST], extent[Extent.QUERIES], extent[Extent.CACHE_ROWS]
                end = first + queries
                key_base = extent[Extent.KEYS] + index * key_heads * dim * cache_rows * item
                value_base = extent[Extent.VALUES] + index * key_heads * cache_rows * value_width * item
            source = a[Slot.JOINT] + (row * a[Slot.QKV] + head * dim) * 4
            angles = layer[Layer.ANGLES] + positions[row] * rotated * 4
            if head < heads:
                if layer[Layer.QUERY_NORM] != 0:
                    normalise(source, layer[Layer.QUERY_NORM], source, dim, epsilon)
                block = first * heads + head // groups * queries * groups
                goal = a[Slot.TURNED] + (block + (row - first) * groups + head % groups) * dim * 4
                rotate(source, angles, rotated, dim, scale, goal)
            elif head < heads + key_heads:
                if layer[Layer.KEY_NORM] != 0:
                    normalise(source, layer[Layer.KEY_NORM], source, dim, epsilon)
                # Rotated where it lies: each thread reads an entry and its partner before it writes both.
                rotate(source, angles, rotated, dim, one, source)
                place = key_base + ((head - heads) * dim * cache_rows + places[row]) * item
                store(source, dim, kind, place, cache_rows)
            else:
                of = (head - heads - key_heads) * cache_rows + places[row]
                store(source, dim, kind, value_base + of * value_width * item, 1)

    return run


@cache
def attend(kind: int) -> Any:
    """A function over this thread's blocks of query rows; the cache is of `kind`."""
    attention_of, item = attention(kind), BYTES[kind]

    @compiled_for(kind)
    def run(a, layer, index, thread, n_threads):
        heads, key_heads, dim = a[Slot.HEADS], a[Slot.KEY_HEADS], a[Slot.HEAD_DIM]
        groups, value_width = heads // key_heads, a[Slot.VALUE_WIDTH]
        largest = float_of_bits(np.int32(a[Slot.SCORE_CAP]))
        size = min(max(a[Slot.N_ROWS] * heads // (2 * n_threads), 1), BLOCK)
        scores, parts = a[Slot.SCORES] + thread * a[Slot.SCORE_BYTES], a[Slot.PARTS] + thread * a[Slot.PART_BYTES]
        totals = parts + a[Slot.PART_BYTES] - 4 * TOTALS
        done = 0  # blocks of the extents before
        for n in range(a[Slot.N_EXTENTS]):
            extent = carray(numbers(a[Slot.EXTENTS] + n * N_EXTENT * 8), N_EXTENT)
            n_rows, cache_rows, begin = extent[Extent.QUERIES] * groups, extent[Extent.CACHE_ROWS], extent[Extent.BEGIN]
            keys = extent[Extent.KEYS] + (index * key_heads * dim * cache_rows + begin) * item
            values = extent[Extent.VALUES] + (index * key_heads * cache_rows + begin) * value_width * item
            mask, mask_row = extent[Extent.MASK], extent[Extent.MASK_ROW]
            if layer[Layer.WINDOWED]:
                mask, mask_row = extent[Extent.WINDOW_MASK], extent[Extent.WINDOW_ROW]
            turned = a[Slot.TURNED] + extent[Extent.FIRST] * heads * dim * 4
            mixed = a[Slot.MIXED] + extent[Extent.FIRST] * heads * dim * 4
            blocks = (n_rows + size - 1) // size
            units = key_heads * blocks
            for unit in range((thread - done) % n_threads, units, n_threads):
                key_head, first = unit // blocks, unit % blocks * size
                attention_of(
                    turned + (key_head * n_rows + first) * dim * 4,
                    min(size, n_rows - first),
                    dim,
                    groups,
                    first,
                    keys + key_head * dim * cache_rows * item,
                    cache_rows * item,
                    values + key_head * cache_rows * value_width * item,
                    value_width * item,
                    mask,
                    mask_row,
                    extent[Extent.LENGTH],
                    largest,
                    scores,
                    parts,
                    totals,
                    mixed + key_head * groups * dim * 4,
                    heads * dim * 4,
                )
            done += units

    return run
