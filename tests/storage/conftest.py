"""Storage tests run once on SQLite and once on PostgreSQL, a throwaway cluster of this test session."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from casspec.storage.database.connection import Database, open_database
from casspec.storage.repository import Repository
from tests.storage.postgres import postgres_cluster, postgres_programs


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """Socket folder of a running cluster."""
    programs = postgres_programs()
    if programs is None:
        pytest.skip("PostgreSQL is not installed (no initdb)")
    with postgres_cluster(programs) as cluster:
        yield str(cluster.folder)


@pytest.fixture
def postgres_url(postgres_server: str) -> Iterator[str]:
    """An empty PostgreSQL database."""
    import psycopg

    name = f"test_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(host=postgres_server, user="casspec", dbname="postgres", autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
        yield f"postgresql://casspec@/{name}?host={postgres_server}"
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(params=["sqlite", "postgresql"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where an empty database of either kind is."""
    return str(tmp_path / "casspec.db") if request.param == "sqlite" else request.getfixturevalue("postgres_url")


@pytest.fixture
def database(storage: str) -> Iterator[Database]:
    database = open_database(storage)
    yield database
    database.close()


@pytest.fixture
def repository(database: Database) -> Repository:
    return Repository(database)
