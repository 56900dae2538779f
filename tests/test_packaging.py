"""What a user installs: a wheel that holds casspec under its import names, with its data, and no other name."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE_OF_FOLDER = {
    "casspec": "casspec",
    "storage": "casspec/storage",
    "runtime": "casspec/runtime",
    "profiler": "casspec/profiler",
    "tuner": "casspec/tuner",
    "alembic": "casspec/migrations",
}
BUILD_FILES = ("pyproject.toml", "README.md", "LICENSE")


def why_no_wheel() -> str | None:
    if find_spec("pip") is None:
        return "pip is not installed here"
    try:
        major = int(version("setuptools").partition(".")[0])
    except PackageNotFoundError:
        return "setuptools is not installed here"
    return None if major >= 77 else f"needs setuptools 77 or newer, found {major}"


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[set[str], set[str]]:
    """Paths in a wheel built from a copy of the sources (the checkout stays as it is), and those it should hold."""
    if reason := why_no_wheel():
        pytest.skip(reason)
    source, target = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for folder in PACKAGE_OF_FOLDER:
        shutil.copytree(ROOT / folder, source / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for file in BUILD_FILES:
        shutil.copy(ROOT / file, source)
    wanted = {
        f"{package}/{path.relative_to(source / folder).as_posix()}"
        for folder, package in PACKAGE_OF_FOLDER.items()
        for path in (source / folder).rglob("*")
        if path.is_file()
    }
    pip_wheel = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--quiet"]
    subprocess.run([*pip_wheel, "--wheel-dir", str(target), str(source)], check=True, capture_output=True)
    (wheel,) = target.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist()), wanted


@pytest.mark.slow
def test_a_wheel_has_no_top_level_name_but_casspec(built: tuple[set[str], set[str]]) -> None:
    names, _ = built
    tops = {name.partition("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"casspec"}


@pytest.mark.slow
def test_a_wheel_holds_every_source_file_under_its_import_name(built: tuple[set[str], set[str]]) -> None:
    names, wanted = built
    assert wanted - names == set()


@pytest.mark.slow
@pytest.mark.parametrize(
    "needed", ["casspec/reference/model.safetensors", "casspec/migrations/env.py", "/licenses/LICENSE"]
)
def test_a_wheel_brings_model_migrations_and_licence(built: tuple[set[str], set[str]], needed: str) -> None:
    names, _ = built
    assert any(name.endswith(needed) for name in names)


def test_every_folder_of_modules_is_named_as_a_package() -> None:
    setuptools = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["setuptools"]
    found = {
        f"{package}/{path.parent.relative_to(ROOT / folder).as_posix()}".removesuffix("/.").replace("/", ".")
        for folder, package in PACKAGE_OF_FOLDER.items()
        for path in (ROOT / folder).rglob("*.py")
    }
    assert found == set(setuptools["packages"])


def test_every_dependency_is_pinned_within_its_range() -> None:
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    lines = (ROOT / "constraints.txt").read_text("utf-8").splitlines()
    pairs = (line.split("==") for line in lines if "==" in line)
    pins = {canonicalize_name(name): version for name, version in pairs}
    wanted = [
        *project["dependencies"],
        *(line for extra in project["optional-dependencies"].values() for line in extra),
    ]
    for requirement in map(Requirement, wanted):
        if requirement.name != "casspec":
            assert requirement.specifier.contains(pins[canonicalize_name(requirement.name)]), requirement
