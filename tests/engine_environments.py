"""Environments that have other engines, for tests with the marker `engines`. `python -m benchmarks.engine_environments` makes them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from benchmarks.engine_environments import interpreter_of
from casspec.storage.folders import user_cache_directory

FOLDER = user_cache_directory() / "peers" / "environments"
"""The user's own: tests move the cache elsewhere later."""


def python_with(engine: str) -> Path:
    """The interpreter that CASSPEC_TEST_VLLM_PYTHON and the like name, else that of the environment; skips the test without one."""
    variable = f"CASSPEC_TEST_{engine.upper()}_PYTHON"
    named = os.environ.get(variable)
    found = Path(named) if named else interpreter_of(engine, FOLDER)
    if found is None or not found.is_file():
        pytest.skip(
            f"no environment with {engine} here: `make test-engines` makes it, or {variable} names its interpreter"
        )
    return found
