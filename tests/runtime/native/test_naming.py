"""Functions made from one source for different kinds do not share a name; they are kept for as long as no source changes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numba import carray
from numba.core import caching

from casspec.runtime.native import naming
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


def test_where_nothing_can_be_kept_it_is_compiled_for_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(caching.CompileResultCacheImpl, "_locator_classes", [])
    monkeypatch.setattr(caching.CodeLibraryCacheImpl, "_locator_classes", [])

    def doubled(table):
        numbers = carray(table, 1, np.int64)
        numbers[0] *= 2

    table = np.array([21])
    naming.c_function(doubled).ctypes(table.ctypes.data)
    assert table[0] == 42


def test_a_change_of_any_source_makes_another_version(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(naming, "__file__", str(tmp_path / "naming.py"))
    versions = set()
    for source in ("a = 1", "a = 2"):
        (tmp_path / "tiles.py").write_text(source)
        versions.add(naming.version())
    assert len(versions) == 2
