"""Compiled functions: fixed signatures, kept between processes where a folder can be written."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest

from casspec.runtime import compiled as module
from casspec.runtime.compiled import compiled, part


def total(numbers: np.ndarray) -> float:
    found = 0.0
    for number in numbers:
        found += number
    return found


def test_a_function_takes_what_it_was_compiled_for_and_nothing_else() -> None:
    made = compiled("float64(float64[::1])", plain=total)(total)
    assert made(np.array([1.0, 2.5])) == 3.5
    with pytest.raises(TypeError):
        made(np.array([1, 2], np.int64))


def test_it_works_where_nothing_can_be_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    compile_by_numba = module.numba.njit

    def refusing(signatures: list[str], cache: bool = False, **settings: object) -> object:
        if cache:
            raise RuntimeError("cannot cache function: no locator available")
        return compile_by_numba(signatures, **settings)

    monkeypatch.setattr(module.numba, "njit", refusing)
    assert compiled("float64(float64[::1])", plain=total)(total)(np.ones(3)) == 3.0


def test_without_a_compiler_the_plain_version_stands_in(monkeypatch: pytest.MonkeyPatch) -> None:
    def plain(numbers: np.ndarray) -> float:
        return float(numbers.sum())

    monkeypatch.setattr(module, "numba", None)
    assert compiled("float64(float64[::1])", plain=plain)(total) is plain
    assert part(total) is total


COLD_OR_WARM = """
import logging
import sys
logging.basicConfig(level=sys.argv[1], format="%(name)s: %(message)s")
import numpy as np
from casspec.runtime.compiled import compiled

@compiled("float64(float64[::1])")
def first(numbers):
    return numbers[0]

@compiled("float64(float64[::1])")
def last(numbers):
    return numbers[-1]

assert first(np.array([1.0, 2.0])) + last(np.array([1.0, 2.0])) == 3.0
"""


def test_a_compilation_is_told_once_and_only_when_nothing_was_kept(tmp_path) -> None:
    script = tmp_path / "script.py"
    script.write_text(COLD_OR_WARM)

    def told(folder: str, level: str) -> str:
        kept = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path / folder)}
        command = [sys.executable, str(script), level]
        return subprocess.run(command, env=kept, check=True, capture_output=True, text=True).stderr

    assert told("cold", "INFO") == f"casspec.progress: {module.COMPILING}\n"
    assert told("cold", "INFO") == "", "kept by the first"
    assert told("another", "WARNING") == "", "the library is silent unless it is asked"


WITHOUT_NUMBA = """
import sys
sys.modules["numba"] = None
from casspec.runtime.decoding import plain_vocabulary, vocabulary
names = "gumbel_entries", "gumbel_rows", "best_tokens", "walk"
assert all(getattr(vocabulary, name) is getattr(plain_vocabulary, name) for name in names)
"""


def test_the_passes_over_a_vocabulary_can_be_imported_without_numba() -> None:
    subprocess.run([sys.executable, "-c", WITHOUT_NUMBA], check=True)
