"""Running a native function in the OpenMP team torch uses: no second pool of threads, and one call a forward.

`GOMP_parallel` is what a compiler emits for `#pragma omp parallel`: it runs a function on every thread of the team, in torch's own
copy of libgomp, so that its threads are those torch's operators woke a moment ago.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import cache
from pathlib import Path

import torch


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
