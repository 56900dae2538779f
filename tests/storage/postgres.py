"""A throwaway PostgreSQL cluster. initdb refuses root, so root runs it as the `postgres` user."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

CLUSTER_OWNER = "postgres"


def postgres_programs() -> Path | None:
    """The folder with initdb and pg_ctl of the newest installed PostgreSQL."""
    packaged = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    found = shutil.which("initdb")
    return packaged[-1].parent if packaged else (Path(found).parent if found else None)


class PostgresCluster:
    """In a folder of its own. No TCP port at all: the socket lies there too, so that clusters of parallel test sessions never meet."""

    def __init__(self, programs: Path, folder: Path) -> None:
        self._programs, self.folder = programs, folder
        self._as_owner = ["runuser", "-u", CLUSTER_OWNER, "--"] if os.geteuid() == 0 else []
        if self._as_owner:
            shutil.chown(folder, CLUSTER_OWNER)
        self._run("initdb", "-U", "casspec", "-A", "trust", "-E", "UTF8", "--no-sync")

    def start(self) -> None:
        options = f"-k {self.folder} -c listen_addresses= -c fsync=off -c max_connections=30"
        self._run("pg_ctl", "-w", "-o", options, "-l", f"{self.folder}/log", "start")

    def stop(self) -> None:
        """As a power cut would."""
        self._run("pg_ctl", "-w", "-m", "immediate", "stop")

    def new_database(self) -> str:
        """The URL of an empty one."""
        import psycopg

        name = f"test_{uuid.uuid4().hex[:12]}"
        with psycopg.connect(host=str(self.folder), user="casspec", dbname="postgres", autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}")
        return f"postgresql://casspec@/{name}?host={self.folder}"

    def _run(self, program: str, *arguments: str) -> None:
        command = [*self._as_owner, f"{self._programs}/{program}", "-D", f"{self.folder}/data", *arguments]
        done = subprocess.run(command, cwd=self.folder, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr


@contextmanager
def postgres_cluster(programs: Path) -> Iterator[PostgresCluster]:
    """Runs inside the block."""
    folder = Path(tempfile.mkdtemp(prefix="casspec-pg-"))
    try:
        cluster = PostgresCluster(programs, folder)
        cluster.start()
        try:
            yield cluster
        finally:
            cluster.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
