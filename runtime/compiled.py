"""Functions over arrays, compiled for this machine when their module is imported.

Signatures are given, so nothing is compiled between two forwards. The machine code is kept beside the sources or, where these cannot be
written, in the user's cache folder (NUMBA_CACHE_DIR names another); where there is no such folder either, it is made anew in every process.
A machine without numba runs each function's plain version instead.

What is kept is told by the age of one source file. So a compiled function calls only those of its own module, and reads from others only
what never changes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

try:
    import numba
except ImportError:  # no wheel for this Python or machine
    numba = None

Function = TypeVar("Function", bound=Callable[..., Any])


def compiled(*signatures: str, plain: Function) -> Callable[[Function], Function]:
    """Compiles for these signatures alone; other arguments raise TypeError. It runs without the interpreter lock.

    Floats are computed as written, nothing is fused or reordered: the same bits on every machine.

    Args:
        plain: does the same without a compiler, and stands in where there is none.
    """

    def compile_now(function: Function) -> Function:
        if numba is None:
            return plain
        settings = {"nogil": True, "error_model": "numpy"}
        try:
            made = numba.njit(list(signatures), cache=True, **settings)(function)
        except (RuntimeError, OSError):  # no folder to keep it in
            made = numba.njit(list(signatures), **settings)(function)
        return cast(Function, made)

    return compile_now


def part(function: Function) -> Function:
    """Becomes part of the compiled functions of its module that call it."""
    return function if numba is None else cast(Function, numba.njit(error_model="numpy")(function))
