"""Functions compiled once for each kind of weight, told apart by name, and kept on disk.

What numba keeps on disk of one process may be loaded beside what it kept of another, and code is linked by name: two functions made
from one source for different kinds must not share theirs.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from numba import cfunc, njit, types

from casspec.runtime.compiled import compilation_told


def compiled_for(*kinds: object) -> Callable[[Any], Any]:
    """`njit` under a name that says for which kinds the function was made."""

    def compile_named(function: Any) -> Any:
        function.__qualname__ = "_".join([function.__qualname__, *map(str, kinds)])
        return njit(function)

    return compile_named


def version() -> int:
    """A number of the sources here: numba looks at one file only before it takes what it compiled earlier."""
    sources = b"".join(path.read_bytes() for path in sorted(Path(__file__).parent.rglob("*.py")))
    return int.from_bytes(hashlib.sha256(sources).digest()[:6])


def c_function(run: Any) -> Any:
    """A C function of a table's address; kept on disk, unless no folder there can be written."""
    signature = types.void(types.voidptr)
    with compilation_told():
        try:
            return cfunc(signature, cache=True)(run)
        except RuntimeError:
            return cfunc(signature)(run)
