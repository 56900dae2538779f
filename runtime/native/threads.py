"""Running a native function in the OpenMP team torch uses: no second pool of threads, and one call a forward.

`GOMP_parallel` is what a compiler emits for `#pragma omp parallel`: it runs a function on every thread of the team, in torch's own
copy of libgomp, so that its threads are those torch's operators woke a moment ago.

Within a forward they meet some two hundred times, at a place of ours (`meet`). OpenMP's own barrier spins for milliseconds before it lets
go of its processor. On a machine that does something else as well, a thread spins there while the one it waits for stands in line behind
it, and a forward of ten milliseconds takes a second. Ours spins for microseconds, then lets whoever stands in line go first.
"""

from __future__ import annotations

import ctypes
import platform
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import torch
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from casspec.runtime.native.table import MET_BYTE

SPINS = 400
"""Looks at whether the others are there before a thread lets go of its processor: ten microseconds or so."""

_I32 = ir.IntType(32)
_ON_X86 = platform.machine() in ("x86_64", "AMD64")


@cache
def library() -> ctypes.CDLL | None:
    """GNU OpenMP as torch loaded it, its functions made known to compiled code; None where torch uses another."""
    import llvmlite.binding as llvm

    for folder in (Path(torch.__file__).parent / "lib", Path(torch.__file__).parent.parent / "torch.libs"):
        for path in sorted(folder.glob("libgomp*.so*")):
            llvm.load_library_permanently(str(path))
            return ctypes.CDLL(str(path))
    return None


@cache
def runner() -> Callable[[int, int, int], None]:
    """A call (address of a C function of one pointer, that pointer, threads) that returns when all threads are through."""
    gomp = library()
    assert gomp is not None, "refused before"
    run = gomp.GOMP_parallel
    run.argtypes, run.restype = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint], None
    return lambda function, argument, threads: run(function, argument, threads, 0)


@intrinsic
def meet(_context: Any, _place: Any, _n_threads: Any) -> Any:
    """Waits at address `place` (MEETING_BYTES, zero at first) until all `n_threads` threads of the team are there."""

    def codegen(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        place, n_threads = arguments
        there = builder.inttoptr(place, _I32.as_pointer())
        met = builder.inttoptr(builder.add(place, ir.Constant(place.type, MET_BYTE)), _I32.as_pointer())
        before = builder.load_atomic(met, "monotonic", 4)
        arrived = builder.atomic_rmw("add", there, ir.Constant(_I32, 1), "acq_rel")
        last = builder.icmp_signed("==", arrived, builder.sub(builder.trunc(n_threads, _I32), ir.Constant(_I32, 1)))
        with builder.if_else(last) as (is_last, is_not):
            with is_last:
                builder.store_atomic(ir.Constant(_I32, 0), there, "monotonic", 4)
                builder.store_atomic(builder.add(before, ir.Constant(_I32, 1)), met, "release", 4)
            with is_not:
                _wait(builder, met, before)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), codegen


def _wait(builder: Any, met: Any, before: Any) -> None:
    """Until the number at `met` is another one than `before`."""
    looks = cgutils.alloca_once(builder, _I32)
    builder.store(ir.Constant(_I32, 0), looks)
    head, idle, rest, end = (builder.append_basic_block(name) for name in ("look", "idle", "rest", "met"))
    builder.branch(head)
    builder.position_at_end(head)
    builder.cbranch(builder.icmp_signed("==", builder.load_atomic(met, "acquire", 4), before), idle, end)
    builder.position_at_end(idle)
    looked = builder.add(builder.load(looks), ir.Constant(_I32, 1))
    builder.store(looked, looks)
    if _ON_X86:
        nothing = ir.FunctionType(ir.VoidType(), [])
        builder.call(cgutils.get_or_insert_function(builder.module, nothing, "llvm.x86.sse2.pause"), [])
    builder.cbranch(builder.icmp_signed("<", looked, ir.Constant(_I32, SPINS)), head, rest)
    builder.position_at_end(rest)
    give_way = ir.FunctionType(_I32, [])
    builder.call(cgutils.get_or_insert_function(builder.module, give_way, "sched_yield"), [])
    builder.branch(head)
    builder.position_at_end(end)
