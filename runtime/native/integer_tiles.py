"""Tiles in 8 and 4 bits: four products of bytes a lane in one instruction (AVX512-VNNI), exact sums of integers.

Activations are levels of their own scale (`row_operations.py`), one a row for 8 bits, one a group of GROUP inputs for 4. A weight's
scales lie behind the bytes they belong to, so that all of it is read in one stream.

Arguments are those of a float tile, with these meanings. x: bytes of levels. w_input: not looked at. inputs: quadruples of inputs in 8
bits, groups in 4. extra: of a row, its scale in 8 bits; by group (scale, -8 times the sum of the levels as int32, scale times that sum,
nothing) in 4.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from llvmlite import ir
from numba.core import cgutils

from casspec.runtime.native.layout import BFLOAT16, ENTRY_BYTES, GROUP, GROUP_BYTES, LANES, QUADS
from casspec.runtime.native.tiles import addressed, at, fetch_ahead
from casspec.runtime.native.vectors import F32, I8, I32, I64, fma, pointer, splat, vector, widened


@cache
def int8_tile(rows: int, vectors: int) -> Any:
    """w: by vector the values [inputs][LANES][4] int8, LANES float32 scales, and LANES int32: 128 times the sum of an output's values."""
    return addressed(lambda builder, arguments: _emit_int8(builder, arguments, rows, vectors))


@cache
def int4_tile(rows: int, vectors: int) -> Any:
    """w: by vector and group QUADS vectors, then scales and centres. Byte b of a lane of vector q holds inputs 8q + b and 8q + 4 + b."""
    return addressed(lambda builder, arguments: _emit_int4(builder, arguments, rows, vectors))


def _byte_products(builder: Any) -> Any:
    """A function (sums, unsigned bytes, signed bytes) -> sums, of int32 vectors."""
    ints, bytes_ = vector(I32), ir.VectorType(I8, 4 * LANES)
    kind = ir.FunctionType(ints, [ints, bytes_, bytes_])
    call = cgutils.get_or_insert_function(builder.module, kind, "llvm.x86.avx512.vpdpbusd.512")
    return lambda sums, left, right: builder.call(
        call, [sums, builder.bitcast(left, bytes_), builder.bitcast(right, bytes_)]
    )


def _loop(builder: Any, count: Any, starts: list[Any]) -> tuple[Any, list[Any], Any, Any]:
    """Begins a loop: (place, values carried, block after it, a function of their next values that ends it)."""
    before = builder.block
    body, after = builder.append_basic_block("body"), builder.append_basic_block("after")
    builder.branch(body)
    builder.position_at_end(body)
    place = builder.phi(I64)
    place.add_incoming(ir.Constant(I64, 0), before)
    carried = [builder.phi(start.type) for start in starts]
    for phi, start in zip(carried, starts, strict=True):
        phi.add_incoming(start, before)

    def close(values: list[Any]) -> None:
        following = builder.add(place, ir.Constant(I64, 1))
        place.add_incoming(following, builder.block)
        for phi, value in zip(carried, values, strict=True):
            phi.add_incoming(value, builder.block)
        builder.cbranch(builder.icmp_signed("<", following, count), body, after)
        builder.position_at_end(after)

    return place, carried, after, close


def _emit_int8(builder: Any, arguments: Any, rows: int, vectors: int) -> None:
    x, x_row, w, _, w_vector, inputs, out, out_row, extra, extra_row = arguments
    products, ints = _byte_products(builder), vector(I32)
    zero = ir.Constant(ints, [0] * LANES)
    levels = [pointer(builder, at(builder, x, x_row, row), I32) for row in range(rows)]
    blocks = [at(builder, w, w_vector, place) for place in range(vectors)]
    step, sums, _, close = _loop(builder, inputs, [zero] * (rows * vectors))
    width = ir.Constant(I64, 4 * LANES)
    fetch_ahead(builder, blocks, builder.mul(step, width), builder.mul(inputs, width), w_vector)
    values = [builder.load(builder.gep(pointer(builder, block, ints), [step]), align=4) for block in blocks]
    grown = []
    for row in range(rows):
        level = splat(builder, builder.load(builder.gep(levels[row], [step]), align=1))
        grown += [products(sums[row * vectors + place], level, values[place]) for place in range(vectors)]
    close(grown)
    for place, block in enumerate(blocks):
        end = builder.add(block, builder.mul(inputs, ir.Constant(I64, 4 * LANES)))
        scales = builder.load(pointer(builder, end, vector(F32)), align=4)
        shift = builder.load(pointer(builder, at(builder, end, ir.Constant(I64, 4 * LANES), 1), ints), align=4)
        for row in range(rows):
            scale = splat(builder, builder.load(pointer(builder, at(builder, extra, extra_row, row), F32), align=4))
            number = builder.sitofp(builder.sub(grown[row * vectors + place], shift), vector(F32))
            goal = builder.gep(pointer(builder, at(builder, out, out_row, row), vector(F32)), [ir.Constant(I64, place)])
            builder.store(builder.fmul(number, builder.fmul(scales, scale)), goal, align=4)


def _emit_int4(builder: Any, arguments: Any, rows: int, vectors: int) -> None:
    x, x_row, w, _, w_vector, groups, out, out_row, extra, extra_row = arguments
    products, multiply_add, ints = _byte_products(builder), fma(builder), vector(I32)
    low, four = ir.Constant(ints, [0x0F0F0F0F] * LANES), ir.Constant(ints, [4] * LANES)
    blocks = [at(builder, w, w_vector, place) for place in range(vectors)]
    zero = ir.Constant(vector(F32), [0.0] * LANES)
    group, sums, _, close = _loop(builder, groups, [zero] * (rows * vectors))

    offset = builder.mul(group, ir.Constant(I64, GROUP_BYTES))
    places = [builder.add(block, offset) for block in blocks]
    entries = [
        builder.add(at(builder, extra, extra_row, row), builder.mul(group, ir.Constant(I64, ENTRY_BYTES)))
        for row in range(rows)
    ]
    levels = [
        pointer(builder, builder.add(at(builder, x, x_row, row), builder.mul(group, ir.Constant(I64, GROUP))), I32)
        for row in range(rows)
    ]

    def entry(row: int, field: int, kind: ir.Type) -> Any:
        place = builder.add(entries[row], ir.Constant(I64, 4 * field))
        return splat(builder, builder.load(pointer(builder, place, kind), align=4))

    starts = [entry(row, 1, I32) for row in range(rows)]
    whole = [starts[row] for row in range(rows) for _ in range(vectors)]
    length = builder.mul(groups, ir.Constant(I64, GROUP_BYTES))
    for quad in range(QUADS):
        fetch_ahead(builder, blocks, builder.add(offset, ir.Constant(I64, 64 * quad)), length, w_vector)
        pairs = []
        for place in places:
            both = builder.load(builder.gep(pointer(builder, place, ints), [ir.Constant(I64, quad)]), align=4)
            pairs.append((builder.and_(both, low), builder.and_(builder.lshr(both, four), low)))
        for half in range(2):
            for row in range(rows):
                word = builder.gep(levels[row], [ir.Constant(I64, 2 * quad + half)])
                level = splat(builder, builder.load(word, align=1))
                for place in range(vectors):
                    i = row * vectors + place
                    whole[i] = products(whole[i], pairs[place][half], level)
    grown = []
    tail = [builder.add(place, ir.Constant(I64, QUADS * 4 * LANES)) for place in places]
    scales = [widened(builder, place, BFLOAT16) for place in tail]
    centres = [widened(builder, builder.add(place, ir.Constant(I64, 2 * LANES)), BFLOAT16) for place in tail]
    for row in range(rows):
        scale, total = entry(row, 0, F32), entry(row, 2, F32)
        for place in range(vectors):
            i = row * vectors + place
            number = builder.sitofp(whole[i], vector(F32))
            added = builder.call(multiply_add, [number, builder.fmul(scales[place], scale), sums[i]])
            grown.append(builder.call(multiply_add, [centres[place], total, added]))
    close(grown)
    for row in range(rows):
        goal = pointer(builder, at(builder, out, out_row, row), vector(F32))
        for place in range(vectors):
            builder.store(grown[row * vectors + place], builder.gep(goal, [ir.Constant(I64, place)]), align=4)
