"""MLflow takes seconds to create its tables: once for all tests, then the empty database is copied."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.storage.conftest import postgres_server, postgres_url, storage  # noqa: F401


@pytest.fixture(scope="session")
def with_mirror(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Path], Path]:
    """Puts an empty MLflow database beside a casspec database (which need not exist yet) and returns the latter."""
    from casspec.tuner.external_databases import external_databases
    from casspec.tuner.mlflow_mirror.client import mlflow_client

    folder = tmp_path_factory.mktemp("blank")
    mlflow_client(external_databases(str(folder / "blank.db"))).search_experiments()

    def place(database: Path) -> Path:
        shutil.copy(folder / "blank.mlflow.db", database.with_name(f"{database.stem}.mlflow.db"))
        return database

    return place
