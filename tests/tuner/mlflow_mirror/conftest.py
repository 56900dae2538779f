"""One mirror for all tests of a file, databases of a team, and a tracking server."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from casspec.tuner.external_databases import TRACKING_VARIABLE, ExternalDatabases, external_databases
from casspec.tuner.mlflow_mirror.mirror import MLflowMirror

PATIENCE_S = 120

Of = Callable[[str], ExternalDatabases]


@pytest.fixture(scope="module")
def databases(tmp_path_factory: pytest.TempPathFactory, with_mirror: Callable[[Path], Path]) -> ExternalDatabases:
    return external_databases(str(with_mirror(tmp_path_factory.mktemp("mirror") / "casspec.db")))


@pytest.fixture(scope="module")
def mlflow_mirror(databases: ExternalDatabases) -> MLflowMirror:
    return MLflowMirror(databases)


@pytest.fixture
def of_host(tmp_path: Path, with_mirror: Callable[[Path], Path], monkeypatch: pytest.MonkeyPatch) -> Of:
    """Databases of the casspec store of a host, by its name; all hosts share one database of MLflow."""
    with_mirror(tmp_path / "team.db")
    monkeypatch.setenv(TRACKING_VARIABLE, f"sqlite:///{tmp_path}/team.mlflow.db")
    return lambda host: external_databases(str(tmp_path / host / "casspec.db"))


@pytest.fixture
def tracking_server(tmp_path: Path, with_mirror: Callable[[Path], Path]) -> Iterator[str]:
    """Address of a real one that keeps artifacts itself, in a folder that no client is told."""
    with_mirror(tmp_path / "server.db")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "server", "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", f"sqlite:///{tmp_path}/server.mlflow.db"]
    command += ["--artifacts-destination", str(tmp_path / "kept")]
    environment = os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env=environment, start_new_session=True)
    url, deadline = f"http://127.0.0.1:{port}", time.monotonic() + PATIENCE_S
    try:
        while not _answers(url):
            assert process.poll() is None, (tmp_path / "log").read_text()
            assert time.monotonic() < deadline, (tmp_path / "log").read_text()
            time.sleep(0.2)
        yield url
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/health", timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False
