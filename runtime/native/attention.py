"""Attention of a block of query rows over the cached rows of one key head.

Keys lie dimension by dimension, so that one vector holds the same dimension of neighbouring slots; values slot by slot. Both products
are then tiles like any other. A hidden slot weighs exactly nothing, and what weighs nothing changes no sum: the result is that of the
seen slots alone, added up in their order. Slots before the first and after the last that any row sees are not read.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numba import carray

from casspec.runtime.native.layout import BYTES, LANES
from casspec.runtime.native.naming import compiled_for
from casspec.runtime.native.products import product
from casspec.runtime.native.row_operations import cap, first_seen, last_seen, weigh
from casspec.runtime.native.vectors import floats

BLOCK = 8
"""Query rows that share a pass over the keys, at most."""

KEY_STEP = 2 * LANES
"""Attended lengths are multiples of it."""


@cache
def attention(kind: int) -> Any:
    """A function over a cache of `kind`; see its body for the arguments, addresses and strides in bytes."""
    score, mix = product(kind), product(kind, sums=True)
    item = BYTES[kind]

    @compiled_for(kind)
    def run(
        queries,
        n_rows,
        dim,
        groups,
        first_row,  # float32 [n_rows][dim], scaled; row r of the key head is of query r // groups
        keys,
        key_stride,  # [dim][slots]
        values,
        value_stride,  # [slots][value_stride / item]
        mask,
        mask_row,
        length,  # of `kind`
        largest,  # that scores may be, softly; 0 for no such bound
        scores,
        mixed,
        totals,  # float32 [SPARE + BLOCK][length], [...][value width], [...]
        out,
        out_row,  # float32, heads of a group side by side
    ):
        begin, seen = length, 0
        for query in range(first_row // groups, (first_row + n_rows - 1) // groups + 1):
            place = mask + query * mask_row
            seen = max(seen, last_seen(place, kind, length))
            begin = min(begin, first_seen(place, kind, length))
        begin = begin // KEY_STEP * KEY_STEP
        n_keys = (seen - begin + KEY_STEP - 1) // KEY_STEP * KEY_STEP
        keys, values, mask = keys + begin * item, values + begin * value_stride, mask + begin * item
        score_row, mixed_row, vectors = length * 4, value_stride // item * 4, n_keys // LANES
        score(queries, dim * 4, keys, key_stride, LANES * item, dim, scores, score_row, n_rows, 0, vectors, 0, 0)
        for row in range(n_rows):
            if largest != 0:
                cap(scores + row * score_row, largest, n_keys)
            weigh(scores + row * score_row, mask + (first_row + row) // groups * mask_row, kind, n_keys)
        vectors = value_stride // item // LANES
        step = LANES * item
        mix(scores, score_row, values, value_stride, step, n_keys, mixed, mixed_row, n_rows, 0, vectors, totals, 4)
        sums = carray(floats(totals), n_rows)
        for row in range(n_rows):
            query, group = (first_row + row) // groups, (first_row + row) % groups
            source = carray(floats(mixed + row * mixed_row), dim)
            goal = carray(floats(out + query * out_row + group * dim * 4), dim)
            inverse = np.float32(1) / sums[row]
            for i in range(dim):
                goal[i] = source[i] * inverse

    return run
