"""Functions over arrays, compiled for this machine when their module is imported.

Signatures are given, so nothing is compiled between two forwards. The machine code is kept beside the sources or, where these cannot be
written, in the user's cache folder (NUMBA_CACHE_DIR names another); where there is no such folder either, it is made anew in every process.
A machine without numba runs each function's plain version instead. The first compilation of a process is information for the logger.

What is kept is told by the age of one source file. So a compiled function that calls parts of other modules, or reads what may change
there, names them: their sources are then in the name it is kept under.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar, cast

try:
    import numba
    import numba.core.event
    import numba.extending
except ImportError:  # no wheel for this Python or machine
    numba = None

array_at: Any = None if numba is None else numba.carray
"""In compiled functions: an array (pointer, shape, type) of memory that somebody else keeps."""

COMPILING = "compiling for this processor, which takes some ten seconds the first time"

_log = logging.getLogger("casspec.progress")

Function = TypeVar("Function", bound=Callable[..., Any])


def compiled(
    *signatures: str, plain: Callable[..., Any] | None = None, parts_of: Sequence[ModuleType] = ()
) -> Callable[[Function], Function]:
    """Compiles for these signatures alone; other arguments raise TypeError. It runs without the interpreter lock.

    Floats are computed as written, nothing is fused or reordered: the same bits on every machine.

    Args:
        plain: does the same without a compiler, and stands in where there is none; by default the function itself does.
        parts_of: other modules it is made of.
    """

    def compile_now(function: Function) -> Function:
        if numba is None:
            return cast(Function, plain or function)
        if parts_of:
            function.__qualname__ += f"_{_number_of(parts_of)}"
        settings = {"nogil": True, "error_model": "numpy"}
        with compilation_told():
            try:
                made = numba.njit(list(signatures), cache=True, **settings)(function)
            except (RuntimeError, OSError):  # no folder to keep it in
                made = numba.njit(list(signatures), **settings)(function)
        return cast(Function, made)

    return compile_now


def part(function: Function | None = None, *, plain: Function | None = None) -> Any:
    """Becomes part of the compiled functions that call it.

    Args:
        plain: stands in without a compiler; by default the function itself does.
    """
    if function is None:
        return lambda function: part(function, plain=plain)
    return (plain or function) if numba is None else numba.njit(error_model="numpy")(function)


_told: set[str] = set()
"""`COMPILING`, once it was said in this process."""


@contextmanager
def compilation_told() -> Iterator[None]:
    """Around what may have to be compiled: says so once a process, when code really is and was not kept from before."""
    if _told:
        yield
        return

    class Teller(numba.core.event.Listener):
        def on_start(self, event: Any) -> None:
            if not _told:
                _told.add(COMPILING)
                _log.info(COMPILING)

        def on_end(self, event: Any) -> None:
            pass

    # Of all events this one alone tells a compilation from code that is read from disk, for C functions too.
    with numba.core.event.install_listener("numba:run_pass", Teller()):
        yield


def _pointer(typing_context: Any, address: Any) -> tuple[Any, Any]:
    signature = numba.types.voidptr(numba.types.int64)

    def made(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.inttoptr(arguments[0], context.get_value_type(signature.return_type))

    return signature, made


pointer_at: Any = None if numba is None else numba.extending.intrinsic(_pointer)
"""In compiled functions: the pointer to an address (int64)."""


def _number_of(modules: Sequence[ModuleType]) -> str:
    """Of their sources."""
    sources = b"".join([Path(str(module.__file__)).read_bytes() for module in modules])
    return hashlib.sha256(sources).hexdigest()[:12]
