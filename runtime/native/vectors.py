"""LLVM vectors for numba: the little that its own language has no words for."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from casspec.runtime.native.layout import FLOAT16, FLOAT32, LANES

F32, F16 = ir.FloatType(), ir.HalfType()
I8, I16, I32, I64 = (ir.IntType(bits) for bits in (8, 16, 32, 64))


def vector(kind: ir.Type) -> ir.VectorType:
    return ir.VectorType(kind, LANES)


def pointer(builder: Any, address: Any, kind: ir.Type) -> Any:
    """An address (int64) as a pointer."""
    return builder.inttoptr(address, kind.as_pointer())


def splat(builder: Any, value: Any) -> Any:
    """A vector of equal entries."""
    kind = vector(value.type)
    one = builder.insert_element(ir.Constant(kind, ir.Undefined), value, ir.Constant(I32, 0))
    return builder.shuffle_vector(one, ir.Constant(kind, ir.Undefined), ir.Constant(vector(I32), [0] * LANES))


def fma(builder: Any) -> Any:
    """The fused multiply-add of vectors."""
    kind = vector(F32)
    name = f"llvm.fma.v{LANES}f32"
    return cgutils.get_or_insert_function(builder.module, ir.FunctionType(kind, [kind] * 3), name)


def widened(builder: Any, place: Any, kind: int) -> Any:
    """The vector of float32 at address `place`, stored as FLOAT32, BFLOAT16 or FLOAT16."""
    if kind == FLOAT32:
        return builder.load(pointer(builder, place, vector(F32)), align=4)
    if kind == FLOAT16:
        return builder.fpext(builder.load(pointer(builder, place, vector(F16)), align=2), vector(F32))
    bits = builder.zext(builder.load(pointer(builder, place, vector(I16)), align=2), vector(I32))
    return builder.bitcast(builder.shl(bits, ir.Constant(vector(I32), [16] * LANES)), vector(F32))


def _pointer_to(numba_type: Any) -> Any:
    @intrinsic
    def convert(_context: Any, _address: Any) -> Any:
        def codegen(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
            return builder.inttoptr(arguments[0], context.get_value_type(numba_type).as_pointer())

        return types.CPointer(numba_type)(types.int64), codegen

    return convert


floats = _pointer_to(types.float32)
words = _pointer_to(types.int32)
halves = _pointer_to(types.uint16)
octets = _pointer_to(types.uint8)
numbers = _pointer_to(types.int64)
"""Addresses as what `carray` takes: of float32, int32, uint16, uint8, int64."""


def _bits_as(result: Any, argument: Any, cast: Any) -> Any:
    @intrinsic
    def convert(_context: Any, _value: Any) -> Any:
        return result(argument), lambda _c, builder, _s, arguments: cast(builder, arguments[0])

    return convert


float_of_bits = _bits_as(types.float32, types.int32, lambda builder, value: builder.bitcast(value, F32))
bits_of_float = _bits_as(types.int32, types.float32, lambda builder, value: builder.bitcast(value, I32))
half_of_float = _bits_as(
    types.uint16, types.float32, lambda builder, value: builder.bitcast(builder.fptrunc(value, F16), I16)
)
float_of_half = _bits_as(
    types.float32, types.uint16, lambda builder, value: builder.fpext(builder.bitcast(value, F16), F32)
)
