"""Attention of a block of query rows over the cached rows of one key head.

Keys lie dimension by dimension, so that one vector holds the same dimension of neighbouring slots; values slot by slot. Both products
are then tiles like any other. A hidden slot weighs exactly nothing, and what weighs nothing changes no sum: the result is that of the
seen slots alone, added up in their order.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numba import carray

from casspec.runtime.native.layout import BYTES, LANES
from casspec.runtime.native.naming import compiled_for
from casspec.runtime.native.products import product
from casspec.runtime.native.row_operations import last_seen, weigh
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
        scores,
        mixed,
        totals,  # float32 [SPARE + BLOCK][length], [...][value width], [...]
        out,
        out_row,  # float32, heads of a group side by side
    ):
        seen = 0
        for query in range(first_row // groups, (first_row + n_rows - 1) // groups + 1):
            seen = max(seen, last_seen(mask + query * mask_row, kind, length))
        n_keys = (seen + KEY_STEP - 1) // KEY_STEP * KEY_STEP
        score_row, mixed_row = length * 4, value_stride // item * 4
        score(
            queries, dim * 4, keys, key_stride, LANES * item, dim, scores, score_row, n_rows, 0, n_keys // LANES, 0, 0
        )
        for row in range(n_rows):
            place = mask + (first_row + row) // groups * mask_row
            weigh(scores + row * score_row, place, kind, n_keys)
        mix(
            scores,
            score_row,
            values,
            value_stride,
            LANES * item,
            n_keys,
            mixed,
            mixed_row,
            n_rows,
            0,
            value_stride // item // LANES,
            totals,
            4,
        )
        sums = carray(floats(totals), n_rows)
        for row in range(n_rows):
            query, group = (first_row + row) // groups, (first_row + row) % groups
            source = carray(floats(mixed + row * mixed_row), dim)
            goal = carray(floats(out + query * out_row + group * dim * 4), dim)
            inverse = np.float32(1) / sums[row]
            for i in range(dim):
                goal[i] = source[i] * inverse

    return run
