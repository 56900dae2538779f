"""One mirror for all tests of a file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from casspec.tuner.external_databases import ExternalDatabases, external_databases
from casspec.tuner.mlflow_mirror.mirror import MLflowMirror


@pytest.fixture(scope="module")
def databases(tmp_path_factory: pytest.TempPathFactory, with_mirror: Callable[[Path], Path]) -> ExternalDatabases:
    return external_databases(str(with_mirror(tmp_path_factory.mktemp("mirror") / "casspec.db")))


@pytest.fixture(scope="module")
def mlflow_mirror(databases: ExternalDatabases) -> MLflowMirror:
    return MLflowMirror(databases)
