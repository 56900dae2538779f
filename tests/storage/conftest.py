"""Storage tests run once on SQLite and once on PostgreSQL, a throwaway cluster of this test session."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from casspec.storage.database.connection import Database, open_database
from casspec.storage.repository import Repository

CLUSTER_OWNER = "postgres"


def postgres_programs() -> Path | None:
    """The folder with initdb and pg_ctl of the newest installed PostgreSQL."""
    packaged = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    found = shutil.which("initdb")
    return packaged[-1].parent if packaged else (Path(found).parent if found else None)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """Socket folder of a running cluster. initdb refuses root, so root runs it as the `postgres` user."""
    programs = postgres_programs()
    if programs is None:
        pytest.skip("PostgreSQL is not installed (no initdb)")
    as_owner = ["runuser", "-u", CLUSTER_OWNER, "--"] if os.geteuid() == 0 else []
    folder = Path(tempfile.mkdtemp(prefix="casspec-pg-"))
    if as_owner:
        shutil.chown(folder, CLUSTER_OWNER)
    data = folder / "data"

    def run(*command: str) -> None:
        done = subprocess.run([*as_owner, *command], cwd=folder, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr

    try:
        run(f"{programs}/initdb", "-D", str(data), "-U", "casspec", "-A", "trust", "-E", "UTF8", "--no-sync")
        # No TCP port at all: the socket lies in our own folder, so that clusters of parallel test sessions never meet.
        options = f"-k {folder} -c listen_addresses= -c fsync=off -c max_connections=30"
        run(f"{programs}/pg_ctl", "-D", str(data), "-w", "-o", options, "-l", f"{folder}/log", "start")
        try:
            yield str(folder)
        finally:
            run(f"{programs}/pg_ctl", "-D", str(data), "-w", "-m", "immediate", "stop")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


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
