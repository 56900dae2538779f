"""Floors, and rooms in order on each: a module imports its own room and those below, by absolute names; light modules stay light."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Collection, Iterator, Mapping
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
ROOMS = {
    "runtime": (
        "",
        "native",
        "model",
        "latency",
        "text",
        "decoding",
        "drafters",
        "policies",
        "watch",
        "loading",
        "session",
        "decode",
        "batching",
    ),
    "tuner": (
        "",
        "suites",
        "context",
        "engines",
        "recordings",
        "search",
        "bench",
        "replay",
        "methods",
        "cascade",
        "report_page",
        "mlflow_mirror",
        "calibration",
    ),
}
"""Of a floor, lowest first: folders, and files that stand between them; "" is the ground, all other files beside the folders."""

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


def module_names() -> dict[str, Path]:
    """Every module of the floors by the name it is imported by."""
    packages = {"storage": "casspec.storage", "runtime": "casspec.runtime", "profiler": "casspec.profiler"}
    packages |= {"tuner": "casspec.tuner", "casspec": "casspec"}
    names = {}
    for folder, package in packages.items():
        for path in (ROOT / folder).rglob("*.py"):
            parts = path.relative_to(ROOT / folder).with_suffix("").parts
            names[".".join([package, *(part for part in parts if part != "__init__")])] = path
    return names


def imported_modules(source: str, modules: Collection[str]) -> set[str]:
    """Those of `modules` that a source imports anywhere, in functions too."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            inside = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {name if name in modules else node.module for name in inside}
    return found & set(modules)


def room(module: str, floor: str) -> str:
    """`casspec.tuner.search.study` -> "search"; a file beside the folders is its own room where the order names it, else the ground."""
    first = module.removeprefix(f"casspec.{floor}").strip(".").partition(".")[0]
    return first if first in ROOMS[floor] else ""


def arrows_up(floor: str, imports: Mapping[str, Collection[str]]) -> list[str]:
    """Imports of a floor that point to a room above the importing one."""
    order, prefix = ROOMS[floor], f"casspec.{floor}"
    return [
        f"{module} ({room(module, floor) or 'ground'}) imports {other} ({room(other, floor)})"
        for module, others in sorted(imports.items())
        for other in sorted(others)
        if f"{module}.".startswith(f"{prefix}.")
        and f"{other}.".startswith(f"{prefix}.")
        and order.index(room(other, floor)) > order.index(room(module, floor))
    ]


def circle(imports: Mapping[str, Collection[str]]) -> list[str]:
    """Modules that import each other in a circle, first to last; [] where there is none."""
    done: set[str] = set()
    for start in imports:
        path: list[str] = []
        pending = [(start, iter(sorted(imports[start])))]
        while pending:
            module, others = pending[-1]
            if module not in path:
                path.append(module)
            other = next((one for one in others if one not in done), None)
            if other is None:
                done.add(module)
                path.remove(module)
                pending.pop()
            elif other in path:
                return [*path[path.index(other) :], other]
            else:
                pending.append((other, iter(sorted(imports.get(other, ())))))
    return []


@pytest.fixture(scope="module")
def imports() -> dict[str, set[str]]:
    """What every module imports of the project, itself left out."""
    names = module_names()
    return {name: imported_modules(path.read_text("utf-8"), names) - {name} for name, path in names.items()}


@pytest.mark.parametrize("floor", ROOMS)
def test_every_folder_of_a_floor_has_its_place_in_the_order(floor: str) -> None:
    folders = {path.parent.name for path in (ROOT / floor).glob("*/__init__.py")}
    assert folders <= set(ROOMS[floor])
    assert all((ROOT / floor / name).exists() or (ROOT / floor / f"{name}.py").exists() for name in ROOMS[floor])


@pytest.mark.parametrize("floor", ROOMS)
def test_no_module_imports_a_room_above_its_own(floor: str, imports: dict[str, set[str]]) -> None:
    assert arrows_up(floor, imports) == []


def test_no_modules_import_each_other_in_a_circle(imports: dict[str, set[str]]) -> None:
    assert circle(imports) == []


def test_an_arrow_up_and_a_circle_are_found() -> None:
    upward = {
        "casspec.tuner.search.study": {"casspec.tuner.bench.run"},
        "casspec.tuner.settings": {"casspec.tuner.suites.load"},
    }
    assert len(arrows_up("tuner", upward)) == 2
    assert (
        arrows_up("tuner", {"casspec.tuner.bench.run": {"casspec.tuner.search.study", "casspec.tuner.settings"}}) == []
    )
    assert arrows_up("runtime", {"casspec.runtime.policies.base": {"casspec.runtime.decode"}})
    assert circle({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b", "c", "b"]
    assert circle({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == []


@pytest.mark.parametrize("folder", [*FLOOR_OF_FOLDER])
def test_no_folder_holds_more_files_than_a_reader_takes_in(folder: str) -> None:
    """Fifteen; a method, a command each have a file of their own, however many there are."""
    crowded = {
        str(path.relative_to(ROOT)): len(list(path.glob("*.py")))
        for path in [ROOT / folder, *(ROOT / folder).rglob("*/")]
        if path.name not in ("policies", "cli")
    }
    assert {name: count for name, count in crowded.items() if count > 15} == {}


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


RETRIEVAL = (
    "retrieval",
    "prompt_lookup",
    "token_recycling",
    "mean_recycling",
    "suffix",
    "max_gram",
    "text_chains",
    "chain_trials",
)


def test_retrieval_drafters_load_without_a_model() -> None:
    """Other engines draft with them."""
    wanted = ", ".join(f"casspec.runtime.drafters.{name}" for name in RETRIEVAL)
    statement = f"import sys, {wanted}\nassert 'casspec.runtime.model.target' not in sys.modules"
    assert "transformers" not in modules_loaded_by(statement)


def test_documents_load_without_sqlalchemy_and_torch() -> None:
    assert not (CALIBRATION_LIBRARIES | {"torch"}) & modules_loaded_by("import casspec.storage.schema")


def test_command_modules_load_no_heavy_library() -> None:
    loaded = modules_loaded_by(import_every_module("casspec/cli", "casspec.cli"))
    assert not (CALIBRATION_LIBRARIES | {"torch", "transformers", "scipy"}) & loaded


def test_casspec_itself_loads_no_library() -> None:
    assert not (CALIBRATION_LIBRARIES | {"torch", "transformers", "pydantic", "numpy"}) & modules_loaded_by(
        "import casspec"
    )
