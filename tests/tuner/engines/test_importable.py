"""casspec inside another environment."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from casspec.tuner.engines.importable import importable


def test_a_bare_interpreter_imports_casspec_and_nothing_beside_it(tmp_path: Path) -> None:
    for _ in range(2):
        folder = importable(tmp_path / "path")
    assert [each.name for each in folder.iterdir()] == ["casspec"]
    program = (
        "import sys, casspec.storage.errors, casspec.tuner.engines.guard, casspec.runtime.drafters.prompt_lookup as p\n"
        "print(p.__file__); import importlib.util as u; print(u.find_spec('optuna'))"
    )
    done = subprocess.run(
        [sys.executable, "-S", "-c", program],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(folder)},
        cwd=tmp_path,
        check=True,
    )
    place, other = done.stdout.split()
    assert place == str(folder / "casspec" / "runtime" / "drafters" / "prompt_lookup.py")
    assert other == "None"
