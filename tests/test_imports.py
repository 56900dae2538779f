"""Floors: a module imports its own floor and those below, by absolute names, and light modules stay light."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FLOOR_OF_FOLDER = {
    "storage": 1,
    "alembic": 1,
    "runtime": 2,
    "profiler": 3,
    "tuner": 4,
    "casspec": 5,
    "examples": 5,
    "tests": 5,
}
FLOOR_OF_PACKAGE = {"storage": 1, "migrations": 1, "runtime": 2, "profiler": 3, "tuner": 4}
FACE = 5
# `alembic` is absent here: as a bare name it is the library.
BARE_FLOORS = {"storage", "runtime", "profiler", "tuner"}


def floor_of_import(name: str) -> int:
    parts = name.split(".")
    return FLOOR_OF_PACKAGE.get(parts[1], FACE) if len(parts) > 1 else FACE


def imported_names(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """(line, absolute name) of everything imported; a relative import gives a name that starts with a dot."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and (node.level or node.module == "casspec"):
            prefix = "." * node.level + (node.module or "")
            yield from ((node.lineno, f"{prefix}.{alias.name}") for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.lineno, node.module or ""


def faults(source: str, floor: int) -> list[str]:
    found = []
    for line, name in imported_names(ast.parse(source)):
        top = name.partition(".")[0]
        if name.startswith("."):
            found.append(f"{line}: relative import {name}")
        elif top in BARE_FLOORS:
            found.append(f"{line}: bare import {name}, expected casspec.{name}")
        elif top == "casspec" and floor_of_import(name) > floor:
            found.append(f"{line}: upward import {name}")
    return found


@pytest.mark.parametrize(
    ("source", "floor", "fault"),
    [
        ("from casspec.tuner.search.study import Study", 3, "upward"),
        ("import casspec.profiler.timing", 2, "upward"),
        ("from casspec import runtime", 1, "upward"),
        ("from casspec import Decoder", 4, "upward"),
        ("def f():\n    from casspec.cli.main import main", 4, "upward"),
        ("import runtime.decode", 5, "bare"),
        ("from storage import schema", 2, "bare"),
        ("from . import schema", 1, "relative"),
        ("from ..storage.schema import SkipSet", 2, "relative"),
    ],
)
def test_each_kind_of_fault_is_found(source: str, floor: int, fault: str) -> None:
    (found,) = faults(source, floor)
    assert fault in found


@pytest.mark.parametrize(
    ("source", "floor"),
    [
        ("from casspec.storage import schema", 1),
        ("from casspec import storage", 2),
        ("from casspec.runtime.decoding.tree import CandidateTree", 4),
        ("from alembic import op", 1),
        ("import torch.profiler", 2),
    ],
)
def test_imports_of_the_same_floor_and_below_pass(source: str, floor: int) -> None:
    assert faults(source, floor) == []


def test_no_module_imports_a_floor_above_its_own() -> None:
    found = []
    for folder, floor in FLOOR_OF_FOLDER.items():
        paths = sorted((ROOT / folder).rglob("*.py"))
        assert paths or folder == "alembic", f"{folder}/ holds no module: the walk looks in the wrong place"
        for path in paths:
            found += [f"{path.relative_to(ROOT)}:{fault}" for fault in faults(path.read_text("utf-8"), floor)]
    assert found == []


def test_migrations_folder_does_not_shadow_the_library() -> None:
    assert not (ROOT / "alembic" / "__init__.py").exists()


def modules_loaded_by(statement: str) -> set[str]:
    """Top-level names in `sys.modules` after `statement` ran in a fresh interpreter."""
    script = (
        f"{statement}\nimport json, sys\nprint(json.dumps(sorted({{name.partition('.')[0] for name in sys.modules}})))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd="/")
    return set(json.loads(done.stdout.splitlines()[-1]))


def import_every_module(folder: str, package: str) -> str:
    names = []
    for path in sorted((ROOT / folder).rglob("*.py")):
        parts = path.relative_to(ROOT / folder).with_suffix("").parts
        names.append(".".join([package, *(part for part in parts if part != "__init__")]))
    return "import importlib\nfor name in " + repr(names) + ":\n    importlib.import_module(name)"


CALIBRATION_LIBRARIES = {"optuna", "mlflow", "sqlalchemy", "sklearn", "alembic", "matplotlib"}


@pytest.mark.slow
def test_every_runtime_module_loads_without_the_calibration_libraries() -> None:
    assert not CALIBRATION_LIBRARIES & modules_loaded_by(import_every_module("runtime", "casspec.runtime"))


def test_documents_load_without_sqlalchemy_and_torch() -> None:
    assert not (CALIBRATION_LIBRARIES | {"torch"}) & modules_loaded_by("import casspec.storage.schema")


def test_command_modules_load_no_heavy_library() -> None:
    loaded = modules_loaded_by(import_every_module("casspec/cli", "casspec.cli"))
    assert not (CALIBRATION_LIBRARIES | {"torch", "transformers", "scipy"}) & loaded


def test_casspec_itself_loads_no_library() -> None:
    assert not (CALIBRATION_LIBRARIES | {"torch", "transformers", "pydantic", "numpy"}) & modules_loaded_by(
        "import casspec"
    )
