"""A tile of a product: a few rows of float32 times a few vectors of outputs, all sums in registers.

A tile reads each weight once for all its rows, widens it to float32 and adds up input after input, in order. Sums of different tiles
are therefore the same to the last bit, which is why the shape of a tile may follow how many rows there are.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from casspec.runtime.native.layout import LANES
from casspec.runtime.native.vectors import F32, I8, I32, I64, fma, pointer, splat, vector, widened

AHEAD = 2048
"""Bytes: on a Xeon of 2023 a tenth to a third faster than none; less than 2,048 is too late for tiles of eight rows."""


@cache
def tile(rows: int, vectors: int, kind: int, sums: bool = False) -> Any:
    """A function (x, x_row, w, w_input, w_vector, inputs, out, out_row, total, total_row) -> None of addresses and strides, all int64.

    x: float32 [rows][inputs], rows `x_row` bytes apart. w: numbers of `kind`, LANES side by side; the next input lies `w_input` bytes
    on, the next vector `w_vector`. out: float32 [rows][vectors * LANES]. total: float32 [rows], the sum of each row of x, where `sums`.
    """
    return addressed(lambda builder, arguments: _emit(builder, arguments, rows, vectors, kind, sums))


def addressed(emit: Callable[[Any, Any], None]) -> Any:
    """A function of a tile's ten arguments whose code `emit` writes (builder, arguments)."""

    @intrinsic
    def run(
        _c: Any, _x: Any, _xr: Any, _w: Any, _wi: Any, _wv: Any, _n: Any, _o: Any, _or: Any, _e: Any, _er: Any
    ) -> Any:
        def codegen(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
            emit(builder, arguments)
            return context.get_dummy_value()

        return types.void(*[types.int64] * 10), codegen

    return run


def _emit(builder: Any, arguments: Any, rows: int, vectors: int, kind: int, sums: bool) -> None:
    x, x_row, w, w_input, w_vector, inputs, out, out_row, total, total_row = arguments
    multiply_add = fma(builder)
    width = vectors + sums
    zero = ir.Constant(vector(F32), [0.0] * LANES)
    x_rows = [pointer(builder, at(builder, x, x_row, row), F32) for row in range(rows)]
    w_vectors = [at(builder, w, w_vector, place) for place in range(vectors)]

    before = builder.block
    body, after = builder.append_basic_block("inputs"), builder.append_basic_block("sums")
    builder.branch(body)
    builder.position_at_end(body)
    step, offset = builder.phi(I64), builder.phi(I64)
    step.add_incoming(ir.Constant(I64, 0), before)
    offset.add_incoming(ir.Constant(I64, 0), before)
    partial = [[builder.phi(vector(F32)) for _ in range(width)] for _ in range(rows)]
    for numbers in partial:
        for number in numbers:
            number.add_incoming(zero, before)

    if not sums:
        fetch_ahead(builder, w_vectors, offset, builder.mul(inputs, w_input), w_vector, w_input)
    weights = [widened(builder, builder.add(place, offset), kind) for place in w_vectors]
    grown = []
    for row in range(rows):
        value = splat(builder, builder.load(builder.gep(x_rows[row], [step]), align=4))
        new = [builder.call(multiply_add, [value, w, old]) for w, old in zip(weights, partial[row], strict=False)]
        grown.append([*new, builder.fadd(partial[row][-1], value)] if sums else new)
    next_step, next_offset = builder.add(step, ir.Constant(I64, 1)), builder.add(offset, w_input)
    step.add_incoming(next_step, body)
    offset.add_incoming(next_offset, body)
    for old_row, new_row in zip(partial, grown, strict=True):
        for old, new in zip(old_row, new_row, strict=True):
            old.add_incoming(new, body)
    builder.cbranch(builder.icmp_signed("<", next_step, inputs), body, after)

    builder.position_at_end(after)
    for row in range(rows):
        place = pointer(builder, at(builder, out, out_row, row), vector(F32))
        for column in range(vectors):
            builder.store(grown[row][column], builder.gep(place, [ir.Constant(I64, column)]), align=4)
        if sums:
            whole = builder.extract_element(grown[row][-1], ir.Constant(I64, 0))
            builder.store(whole, pointer(builder, at(builder, total, total_row, row), F32), align=4)


def fetch_ahead(builder: Any, streams: list[Any], offset: Any, length: Any, stride: Any, step: Any = None) -> None:
    """Asks for what the streams will be read for AHEAD bytes on: past their `length` that is the beginning of the next tile's streams.

    The processor sees by itself where a stream goes, but anew for each of them, and these are short. Of streams that make longer steps
    (keys, dimension by dimension) it sees nothing, and what the next tile reads lies beside what this one does.
    """
    ahead = builder.add(offset, ir.Constant(I64, AHEAD))
    beyond = builder.add(ahead, builder.mul(stride, ir.Constant(I64, len(streams) - 1)))
    place = builder.select(builder.icmp_signed("<", ahead, length), ahead, beyond)
    if step is not None:
        beside = builder.add(offset, builder.mul(stride, ir.Constant(I64, len(streams))))
        place = builder.select(builder.icmp_signed("<", step, ir.Constant(I64, AHEAD)), place, beside)
    kind = ir.FunctionType(ir.VoidType(), [I8.as_pointer(), I32, I32, I32])
    fetch = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
    to_read, keep, data = (ir.Constant(I32, value) for value in (0, 3, 1))
    for stream in streams:
        builder.call(fetch, [pointer(builder, builder.add(stream, place), I8), to_read, keep, data])


def at(builder: Any, address: Any, stride: Any, place: int) -> Any:
    """Address + place * stride."""
    return builder.add(address, builder.mul(stride, ir.Constant(I64, place)))
