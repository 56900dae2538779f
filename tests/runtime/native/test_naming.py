"""Functions made from one source for different kinds do not share a name."""

from __future__ import annotations

from typing import Any

from casspec.runtime.native.naming import compiled_for


def scaled(kind: int) -> Any:
    @compiled_for(kind, "times")
    def run(x: int) -> int:
        return kind * x

    return run


def test_names_tell_the_kinds_apart_and_functions_do_what_they_were_made_for() -> None:
    double, triple = scaled(2), scaled(3)
    assert (double(5), triple(5)) == (10, 15)
    names = [made.py_func.__qualname__ for made in (double, triple)]
    assert names == ["scaled.<locals>.run_2_times", "scaled.<locals>.run_3_times"]
