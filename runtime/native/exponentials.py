"""exp of a vector in registers, and the two places that need it: the activation of the MLP and softmax."""

from __future__ import annotations

from collections.abc import Callable
from math import log
from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from casspec.runtime.native.layout import LANES
from casspec.runtime.native.vectors import F32, I32, fma, pointer, splat, vector

LOWEST, HIGHEST = -87.0, 88.0
"""Between them exp is a normal float32; below it counts as zero."""
PER_LOG = 1 / log(2)
LOG_HEAD = 0.693359375  # ln 2 in two parts: products of the first with small integers are exact
LOG_TAIL = log(2) - LOG_HEAD
ROUNDING = 1.5 * 2**23  # added to a small number, its lowest bits are that number rounded to an integer
TAYLOR = (1 / 5040, 1 / 720, 1 / 120, 1 / 24, 1 / 6, 1 / 2)


def _equal(value: float) -> Any:
    return ir.Constant(vector(F32), [value] * LANES)


def _exp(builder: Any, x: Any) -> Any:
    """2^n times the Taylor series of what is left, at most ln(2)/2 from zero; x between LOWEST and HIGHEST."""
    call = fma(builder)

    def fused(a: Any, b: Any, c: Any) -> Any:
        return builder.call(call, [a, b, c])

    ints = vector(I32)
    shifted = fused(x, _equal(PER_LOG), _equal(ROUNDING))
    whole = builder.fsub(shifted, _equal(ROUNDING))
    rest = fused(whole, _equal(-LOG_TAIL), fused(whole, _equal(-LOG_HEAD), x))
    series = _equal(TAYLOR[0])
    for factor in TAYLOR[1:]:
        series = fused(series, rest, _equal(factor))
    series = builder.fadd(fused(series, builder.fmul(rest, rest), rest), _equal(1.0))
    exponent = builder.shl(builder.bitcast(shifted, ints), ir.Constant(ints, [23] * LANES))
    power = builder.add(exponent, ir.Constant(ints, [127 << 23] * LANES))
    return builder.fmul(series, builder.bitcast(power, vector(F32)))


def _at_least(builder: Any, x: Any, low: float) -> Any:
    return builder.select(builder.fcmp_ordered(">", x, _equal(low)), x, _equal(low))


def _in_place(n_arguments: int, emit: Callable[[Any, Any, list[Any]], Any], *kinds: Any) -> Any:
    """A function (address of LANES float32, further arguments) that replaces them by what `emit` makes of them."""

    def codegen(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        place = pointer(builder, arguments[0], vector(F32))
        builder.store(emit(builder, builder.load(place, align=4), list(arguments[1:])), place, align=4)
        return context.get_dummy_value()

    signature = types.void(types.int64, *kinds)
    if n_arguments == 1:

        @intrinsic
        def alone(_context: Any, _place: Any) -> Any:
            return signature, codegen

        return alone

    @intrinsic
    def beside(_context: Any, _place: Any, _other: Any) -> Any:
        return signature, codegen

    return beside


def _gated(builder: Any, x: Any, others: list[Any]) -> Any:
    up = builder.load(pointer(builder, others[0], vector(F32)), align=4)
    turned = builder.fneg(x)
    low = _at_least(builder, turned, LOWEST)
    power = builder.select(builder.fcmp_ordered("<", low, _equal(HIGHEST)), low, _equal(HIGHEST))
    return builder.fmul(builder.fdiv(x, builder.fadd(_equal(1.0), _exp(builder, power))), up)


def _weighed(builder: Any, x: Any, others: list[Any]) -> Any:
    away = builder.fsub(x, splat(builder, others[0]))
    power = _exp(builder, _at_least(builder, away, LOWEST))
    return builder.select(builder.fcmp_ordered(">", away, _equal(LOWEST)), power, _equal(0.0))


exponential = _in_place(1, lambda builder, x, _: _exp(builder, x))
"""x := exp(x), x between LOWEST and HIGHEST."""

gate = _in_place(2, _gated, types.int64)
"""x := silu(x) * up, with the address of the ups."""

weight = _in_place(2, _weighed, types.float32)
"""x := exp(x - top), with the largest of the row; zero where the difference is LOWEST at most."""
