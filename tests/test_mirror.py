"""tests/ mirrors the source: a module that does something has a test file of its name, in the folder of its name."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FOLDERS = ("storage", "runtime", "profiler", "tuner", "casspec")
WITHOUT_TEST = {
    "casspec/__init__.py": "hands names on; test_imports.py holds that it loads nothing before",
    "casspec/__main__.py": "calls casspec/cli/main.py",
    "storage/__init__.py": "opens a repository, as every test of storage does",
}
"""Modules that need no test of their own: why."""


def is_empty(function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """Whether nothing happens in it: a docstring, `...`, `pass`, or a subclass that is missing."""
    return all(
        isinstance(line, ast.Pass)
        or (isinstance(line, ast.Expr) and isinstance(line.value, ast.Constant))
        or (isinstance(line, ast.Raise) and isinstance(line.exc, ast.Name) and line.exc.id == "NotImplementedError")
        for line in function.body
    )


def does_something(source: str) -> bool:
    """Whether a module defines a function, or a class with a method, that has a body. Protocols have none."""
    for node in ast.parse(source).body:
        functions = node.body if isinstance(node, ast.ClassDef) else [node]
        if any(isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef) and not is_empty(each) for each in functions):
            return True
    return False


def namesake(module: Path) -> Path:
    """`runtime/decoding/noise.py` -> `tests/runtime/decoding/test_noise.py`; a package is tested beside its folder."""
    named = module.parent if module.name == "__init__.py" else module.with_suffix("")
    return Path("tests") / named.parent / f"test_{named.name}.py"


def modules() -> list[Path]:
    return sorted(path.relative_to(ROOT) for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("def f():\n    return 1", True),
        ("class A:\n    def f(self):\n        return 1", True),
        ('class A(Protocol):\n    def f(self):\n        """Says f."""', False),
        ("class A:\n    def f(self):\n        raise NotImplementedError", False),
        ("class A(Exception):\n    pass\nLIMIT = 3", False),
        ("@dataclass\nclass A:\n    n: int", False),
        ('def silent(done):\n    """Nobody watches."""', False),
        ("from casspec.storage.schema import SkipSet", False),
    ],
)
def test_data_protocols_and_names_handed_on_need_no_test(source: str, found: bool) -> None:
    assert does_something(source) is found


@pytest.mark.parametrize(
    ("module", "test"),
    [
        ("runtime/decode.py", "tests/runtime/test_decode.py"),
        ("casspec/cli/import_.py", "tests/casspec/cli/test_import_.py"),
        ("storage/export/__init__.py", "tests/storage/test_export.py"),
    ],
)
def test_a_test_stands_where_its_module_stands(module: str, test: str) -> None:
    assert namesake(Path(module)) == Path(test)


def test_every_module_that_does_something_has_a_test_of_its_name() -> None:
    missing = {
        f"{module} has no {namesake(module)}"
        for module in modules()
        if str(module) not in WITHOUT_TEST
        and does_something((ROOT / module).read_text("utf-8"))
        and not (ROOT / namesake(module)).exists()
    }
    assert sorted(missing) == []


def test_every_exception_is_of_a_module_that_would_need_one() -> None:
    for module in WITHOUT_TEST:
        path = ROOT / module
        assert not path.exists() or not (ROOT / namesake(Path(module))).exists(), f"{module} has a test now"
        assert path.exists(), f"{module} is gone"
