"""The compiled forward: one a kind, kept on disk. What it computes is the matter of test_native_forward.py."""

from __future__ import annotations

import subprocess
import sys

from casspec.runtime.native import program
from casspec.runtime.native.layout import BFLOAT16, FLOAT32

COMPILED_AGAIN = f"""
from numba.core import event
from casspec.runtime.native import program
with event.install_recorder("numba:compile") as seen:
    assert program.address({FLOAT32}, {FLOAT32})
print(len(seen.buffer))
"""


def test_forwards_of_the_same_kinds_are_one_function() -> None:
    assert program.address(FLOAT32, FLOAT32) == program.address(FLOAT32, FLOAT32) != 0


def test_other_kinds_are_another_function() -> None:
    assert program.address(BFLOAT16, BFLOAT16) not in (0, program.address(FLOAT32, FLOAT32))


def test_another_process_takes_from_disk_what_this_one_compiled() -> None:
    program.address(FLOAT32, FLOAT32)
    done = subprocess.run([sys.executable, "-c", COMPILED_AGAIN], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["0"]
