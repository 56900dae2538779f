"""A store with profiles in it, and what commands need of other floors' tests: MLflow's empty database, a tiny corpus, precisions."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from casspec.cli.main import main
from casspec.storage import open_repository
from casspec.storage.schema import CascadeProfile
from tests.casspec.reference.conftest import tiny_corpus, tiny_recipe  # noqa: F401
from tests.profiler.conftest import generous  # noqa: F401
from tests.storage import samples
from tests.tuner.conftest import with_mirror  # noqa: F401

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def storage(tmp_path: Path) -> str:
    return str(tmp_path / "store.db")


@pytest.fixture
def run(storage: str, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs a command on the test's database: (exit code, stdout, stderr)."""

    def command(*words: str, storage: str = storage) -> tuple[int, str, str]:
        code = main([*words, "--storage", storage])
        out, err = capsys.readouterr()
        return code, out, err

    return command


@pytest.fixture
def stored(storage: str) -> tuple[CascadeProfile, CascadeProfile]:
    """Two profiles; the first has an artifact and a benchmark, the second is the latest."""
    with open_repository(storage) as repository:
        artifact = repository.save_artifact("recycling-matrix", b"matrix")
        first = repository.save_profile(None, samples.profile(artifacts=(artifact,)))
        second = repository.save_profile(None, samples.profile(seed=1, decision="off"))
        repository.save_bench(first.profile_id, samples.bench_report())
    return first, second
