"""A linear over packed weights, as much of it as one thread has, covered with tiles."""

from __future__ import annotations

from functools import cache
from typing import Any

from numba import njit

from casspec.runtime.native import processor
from casspec.runtime.native.tiles import tile
from casspec.runtime.native.vectors import BYTES, LANES

STEP = 2
"""Vectors of outputs that threads share out: packed weights come in multiples of them."""

SPARE_ROWS = 12
"""Rows past the last that a tile may read and write."""

WIDE = processor.has_wide_registers()


@cache
def product(kind: int, sums: bool = False) -> Any:
    """A function (x, x_row, w, w_input, w_vector, inputs, out, out_row, rows, first, last, total) -> None of addresses and bytes.

    The vectors `first` to `last`, STEP at least, of x times w. x: float32 [rows][inputs]. w: LANES numbers of `kind` side by side, the
    next input `w_input` bytes on, the next vector `w_vector`. out: float32, its columns from vector 0 on. total: float32 [rows], the sum
    of each row of x, where `sums`. Up to SPARE_ROWS rows past the last may be read and written.
    """
    item = LANES * 4
    alone = [tile(1, n, kind, sums) for n in (8, 4, 2)]
    pair_wide, pair = tile(2, 4, kind, sums), tile(2, 2, kind, sums)
    four_wide, four = tile(4, 4 if WIDE else 2, kind, sums), tile(4, 2, kind, sums)
    six_wide, six = tile(6, 4 if WIDE and not sums else 2, kind, sums), tile(6, 2, kind, sums)
    many = tile(8 if WIDE else 4, 2, kind, sums)
    most = many if sums else tile(12 if WIDE else 6, 2, kind, sums)
    n_many = 8 if WIDE else 4
    n_most = n_many if sums else 12 if WIDE else 6
    wide_four, wide_six = (4 if WIDE else 2), (4 if WIDE and not sums else 2)
    one_8, one_4, one_2 = alone

    @njit
    def single(x, x_row, w, w_input, w_vector, inputs, out, out_row, first, last, total):  # type: ignore[no-untyped-def]
        at = first
        while at < last:
            weights, goal = w + at * w_vector, out + at * item
            if last - at >= 8:
                one_8(x, x_row, weights, w_input, w_vector, inputs, goal, out_row, total)
                at += 8
            elif last - at >= 4:
                one_4(x, x_row, weights, w_input, w_vector, inputs, goal, out_row, total)
                at += 4
            else:
                one_2(x, x_row, weights, w_input, w_vector, inputs, goal, out_row, total)
                at += 2

    @njit
    def few(x, x_row, w, w_input, w_vector, inputs, out, out_row, rows, first, last, total):  # type: ignore[no-untyped-def]
        """Two to six rows in one tile, as many vectors at once as the registers hold."""
        at = first
        while at < last:
            weights, goal = w + at * w_vector, out + at * item
            left = last - at
            if rows == 2:
                if left >= 4:
                    pair_wide(x, x_row, weights, w_input, w_vector, inputs, goal, out_row, total)
                    at += 4
                else:
                    pair(x, x_row, weights, w_input, w_vector, inputs, goal, out_row, total)
                    at += 2
            elif rows <= 4:
                if left >= wide_four:
                    four_wide(x, x_row, weights, w_input, w_vector, inputs, goal, out_row, total)
                    at += wide_four
                else:
                    four(x, x_row, weights, w_input, w_vector, inputs, goal, out_row, total)
                    at += 2
            elif left >= wide_six:
                six_wide(x, x_row, weights, w_input, w_vector, inputs, goal, out_row, total)
                at += wide_six
            else:
                six(x, x_row, weights, w_input, w_vector, inputs, goal, out_row, total)
                at += 2

    @njit
    def dozens(x, x_row, w, w_input, w_vector, inputs, out, out_row, rows, first, last, total):  # type: ignore[no-untyped-def]
        """More rows, in blocks that end where the rows do if they can."""
        for at in range(first, last, 2):
            weights, goal = w + at * w_vector, out + at * item
            row = 0
            while row < rows:
                left = rows - row
                if left <= n_many or n_most < left <= 2 * n_many:
                    many(x + row * x_row, x_row, weights, w_input, w_vector, inputs, goal + row * out_row, out_row, total + 4 * row)
                    row += n_many
                else:
                    most(x + row * x_row, x_row, weights, w_input, w_vector, inputs, goal + row * out_row, out_row, total + 4 * row)
                    row += n_most

    @njit
    def run(x, x_row, w, w_input, w_vector, inputs, out, out_row, rows, first, last, total):  # type: ignore[no-untyped-def]
        if rows == 1:
            single(x, x_row, w, w_input, w_vector, inputs, out, out_row, first, last, total)
        elif rows <= 6:
            few(x, x_row, w, w_input, w_vector, inputs, out, out_row, rows, first, last, total)
        else:
            dozens(x, x_row, w, w_input, w_vector, inputs, out, out_row, rows, first, last, total)

    return run
