"""Functions compiled once for each kind of weight, told apart by name.

What numba keeps on disk of one process may be loaded beside what it kept of another, and code is linked by name: two functions made
from one source for different kinds must not share theirs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numba import njit


def compiled_for(*kinds: object) -> Callable[[Any], Any]:
    """`njit` under a name that says for which kinds the function was made."""

    def compile_named(function: Any) -> Any:
        function.__qualname__ = "_".join([function.__qualname__, *map(str, kinds)])
        return njit(function)

    return compile_named
