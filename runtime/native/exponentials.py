"""exp of a vector in registers, and what needs it: activations of the MLP, softmax, soft bounds."""

from __future__ import annotations

from collections.abc import Callable
from math import log, pi, sqrt
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
ERFC = (
    *(0.17087277, -0.82215223, 1.48851587, -1.13520398, 0.27886807),
    *(-0.18628806, 0.09678418, 0.37409196, 1.00002368, -1.26551223),
)
"""erfc(z) = t exp(-z^2 + polynomial in t), t = 1 / (1 + z / 2), to 1.2e-7 of itself (Press et al., Numerical Recipes, 6.2)."""
TANH_SLOPE, TANH_BEND = 2 * sqrt(2 / pi), 2 * sqrt(2 / pi) * 0.044715
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


def _at_most(builder: Any, x: Any, high: float) -> Any:
    return builder.select(builder.fcmp_ordered("<", x, _equal(high)), x, _equal(high))


def _magnitude(builder: Any, x: Any) -> Any:
    return builder.select(builder.fcmp_ordered("<", x, _equal(0.0)), builder.fneg(x), x)


def _up(builder: Any, others: list[Any]) -> Any:
    return builder.load(pointer(builder, others[0], vector(F32)), align=4)


def _over_one_and_exp(builder: Any, x: Any, turned: Any) -> Any:
    """x / (1 + exp(turned))."""
    power = _at_most(builder, _at_least(builder, turned, LOWEST), HIGHEST)
    return builder.fdiv(x, builder.fadd(_equal(1.0), _exp(builder, power)))


def _gated(builder: Any, x: Any, others: list[Any]) -> Any:
    return builder.fmul(_over_one_and_exp(builder, x, builder.fneg(x)), _up(builder, others))


def _gelu_tanh_gated(builder: Any, x: Any, others: list[Any]) -> Any:
    """(1 + tanh(y)) / 2 is 1 / (1 + exp(-2 y))."""
    slope = builder.fadd(_equal(TANH_SLOPE), builder.fmul(_equal(TANH_BEND), builder.fmul(x, x)))
    turned = builder.fneg(builder.fmul(x, slope))
    return builder.fmul(_over_one_and_exp(builder, x, turned), _up(builder, others))


def _gelu_gated(builder: Any, x: Any, others: list[Any]) -> Any:
    size = builder.fmul(_magnitude(builder, x), _equal(sqrt(0.5)))
    size = _at_most(
        builder, size, sqrt(-LOWEST) - 1
    )  # the tail is nothing beyond, and its exponent would leave the range of exp
    t = builder.fdiv(_equal(1.0), builder.fadd(_equal(1.0), builder.fmul(size, _equal(0.5))))
    call, series = fma(builder), _equal(ERFC[0])
    for factor in ERFC[1:]:
        series = builder.call(call, [series, t, _equal(factor)])
    tail = builder.fmul(t, _exp(builder, builder.fsub(series, builder.fmul(size, size))))
    half = builder.fmul(tail, _equal(0.5))
    below = builder.select(builder.fcmp_ordered("<", x, _equal(0.0)), half, builder.fsub(_equal(1.0), half))
    return builder.fmul(
        builder.fmul(_at_least(builder, x, -100.0), below), _up(builder, others)
    )  # a tail times any number is none


def _capped(builder: Any, x: Any, others: list[Any]) -> Any:
    """tanh(y) has the sign of y and the size (1 - exp(-2 |y|)) / (1 + exp(-2 |y|))."""
    largest = splat(builder, others[0])
    size = builder.fdiv(_magnitude(builder, x), largest)
    power = _exp(builder, _at_least(builder, builder.fmul(size, _equal(-2.0)), LOWEST))
    value = builder.fdiv(builder.fsub(_equal(1.0), power), builder.fadd(_equal(1.0), power))
    value = builder.fmul(value, largest)
    return builder.select(builder.fcmp_ordered("<", x, _equal(0.0)), builder.fneg(value), value)


def _weighed(builder: Any, x: Any, others: list[Any]) -> Any:
    away = builder.fsub(x, splat(builder, others[0]))
    power = _exp(builder, _at_least(builder, away, LOWEST))
    return builder.select(builder.fcmp_ordered(">", away, _equal(LOWEST)), power, _equal(0.0))


exponential = _in_place(1, lambda builder, x, _: _exp(builder, x))
"""x := exp(x), x between LOWEST and HIGHEST."""

gate = _in_place(2, _gated, types.int64)
"""x := silu(x) * up, with the address of the ups."""

gelu_tanh_gate = _in_place(2, _gelu_tanh_gated, types.int64)
"""x := gelu(x) * up, by its approximation with tanh (Hendrycks and Gimpel 2016)."""

gelu_gate = _in_place(2, _gelu_gated, types.int64)
"""x := gelu(x) * up."""

cap = _in_place(2, _capped, types.float32)
"""x := largest * tanh(x / largest), with the largest size it may have."""

weight = _in_place(2, _weighed, types.float32)
"""x := exp(x - top), with the largest of the row; zero where the difference is LOWEST at most."""
