"""A linear over packed weights, as much of it as one thread has, covered with tiles."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

from casspec.runtime.native import processor
from casspec.runtime.native.integer_tiles import int4_tile, int8_tile
from casspec.runtime.native.layout import INT4, INT8, LANES
from casspec.runtime.native.naming import compiled_for
from casspec.runtime.native.tiles import tile

WIDE = processor.has_wide_registers()


@dataclass(frozen=True, slots=True)
class Shapes:
    """Vectors side by side in the tiles of so many rows, as many as registers hold sums of; more rows come in two sizes of blocks."""

    one: int
    two: int
    four: int
    six: int
    block: int
    large_block: int


PLAIN = Shapes(8, 4, 4, 4, 8, 12) if WIDE else Shapes(8, 4, 2, 2, 4, 6)
WITH_SUMS = Shapes(8, 4, 4, 2, 8, 8) if WIDE else Shapes(4, 2, 2, 2, 4, 4)
TWO_SUMS = Shapes(4, 4, 2, 2, 4, 4)


@cache
def product(kind: int, sums: bool = False) -> Any:
    """A function (x, x_row, w, w_input, w_vector, inputs, out, out_row, rows, first, last, extra, extra_row) of addresses and bytes.

    The vectors `first` to `last`, STEP at least, of x times w. x: float32 [rows][inputs]. w: LANES numbers of `kind` side by side, the
    next input `w_input` bytes on, the next vector `w_vector`. out: float32, its columns from vector 0 on. extra: float32 [rows], the sum
    of each row of x, where `sums`. Up to SPARE_ROWS rows past the last may be read and written. Of INT8 and INT4: see `integer_tiles.py`.
    """
    if kind == INT8:
        return _covered(int8_tile, PLAIN, kind)
    if kind == INT4:
        return _covered(int4_tile, TWO_SUMS, kind)
    return _covered(lambda rows, vectors: tile(rows, vectors, kind, sums), WITH_SUMS if sums else PLAIN, kind, sums)


def _covered(tile_of: Callable[[int, int], Any], shapes: Shapes, *kinds: object) -> Any:
    item = LANES * 4
    one_wide, one_half, one = tile_of(1, shapes.one), tile_of(1, shapes.one // 2), tile_of(1, 2)
    two_wide, two = tile_of(2, shapes.two), tile_of(2, 2)
    four_wide, four = tile_of(4, shapes.four), tile_of(4, 2)
    six_wide, six = tile_of(6, shapes.six), tile_of(6, 2)
    block, large_block = tile_of(shapes.block, 2), tile_of(shapes.large_block, 2)
    n_one, n_two, n_four, n_six = shapes.one, shapes.two, shapes.four, shapes.six
    n_block, n_large = shapes.block, shapes.large_block

    @compiled_for(*kinds)
    def single(x, x_row, w, w_input, w_vector, inputs, out, out_row, first, last, extra):
        at = first
        while at < last:
            weights, goal = w + at * w_vector, out + at * item
            if last - at >= n_one:
                one_wide(x, x_row, weights, w_input, w_vector, inputs, goal, out_row, extra, 0)
                at += n_one
            elif last - at >= n_one // 2:
                one_half(x, x_row, weights, w_input, w_vector, inputs, goal, out_row, extra, 0)
                at += n_one // 2
            else:
                one(x, x_row, weights, w_input, w_vector, inputs, goal, out_row, extra, 0)
                at += 2

    @compiled_for(*kinds)
    def few(x, x_row, w, w_input, w_vector, inputs, out, out_row, rows, first, last, extra, extra_row):
        """Two to six rows in one tile."""
        at = first
        while at < last:
            weights, goal = w + at * w_vector, out + at * item
            left = last - at
            if rows == 2:
                if left >= n_two:
                    two_wide(x, x_row, weights, w_input, w_vector, inputs, goal, out_row, extra, extra_row)
                    at += n_two
                else:
                    two(x, x_row, weights, w_input, w_vector, inputs, goal, out_row, extra, extra_row)
                    at += 2
            elif rows <= 4:
                if left >= n_four:
                    four_wide(x, x_row, weights, w_input, w_vector, inputs, goal, out_row, extra, extra_row)
                    at += n_four
                else:
                    four(x, x_row, weights, w_input, w_vector, inputs, goal, out_row, extra, extra_row)
                    at += 2
            elif left >= n_six:
                six_wide(x, x_row, weights, w_input, w_vector, inputs, goal, out_row, extra, extra_row)
                at += n_six
            else:
                six(x, x_row, weights, w_input, w_vector, inputs, goal, out_row, extra, extra_row)
                at += 2

    @compiled_for(*kinds)
    def dozens(x, x_row, w, w_input, w_vector, inputs, out, out_row, rows, first, last, extra, extra_row):
        """More rows, in blocks that end where the rows do if they can."""
        for at in range(first, last, 2):
            weights = w + at * w_vector
            row = 0
            while row < rows:
                left = rows - row
                source, goal, more = x + row * x_row, out + at * item + row * out_row, extra + row * extra_row
                if left <= 2:
                    two(source, x_row, weights, w_input, w_vector, inputs, goal, out_row, more, extra_row)
                    row += 2
                elif left <= 4:
                    four(source, x_row, weights, w_input, w_vector, inputs, goal, out_row, more, extra_row)
                    row += 4
                elif left <= 6:
                    six(source, x_row, weights, w_input, w_vector, inputs, goal, out_row, more, extra_row)
                    row += 6
                elif left <= n_block:
                    block(source, x_row, weights, w_input, w_vector, inputs, goal, out_row, more, extra_row)
                    row += n_block
                else:
                    large_block(source, x_row, weights, w_input, w_vector, inputs, goal, out_row, more, extra_row)
                    row += n_large

    @compiled_for(*kinds)
    def run(x, x_row, w, w_input, w_vector, inputs, out, out_row, rows, first, last, extra, extra_row):
        if rows == 1:
            single(x, x_row, w, w_input, w_vector, inputs, out, out_row, first, last, extra)
        elif rows <= 6:
            few(x, x_row, w, w_input, w_vector, inputs, out, out_row, rows, first, last, extra, extra_row)
        else:
            dozens(x, x_row, w, w_input, w_vector, inputs, out, out_row, rows, first, last, extra, extra_row)

    return run
