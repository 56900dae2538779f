"""`casspec ui` as a process: it says where to look, and nothing of it stays behind."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from urllib.error import URLError

import pytest

from casspec.cli.main import main
from casspec.tuner.external_databases import external_databases
from casspec.tuner.mlflow_mirror import mirror, telling
from casspec.tuner.mlflow_mirror.mirror import MLflowMirror
from casspec.tuner.mlflow_mirror.owed import Debt, Owed

PATIENCE_S = 120


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> str:
    database = str(tmp_path_factory.mktemp("mirror") / "casspec.db")
    MLflowMirror(external_databases(database))
    return database


@pytest.fixture
def taken() -> Iterator[socket.socket]:
    """A port another program listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


def answers(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5) as answer:
            return answer.status == 200
    except (URLError, OSError):
        return False


def test_a_port_in_use_is_refused_in_one_line(storage: str, taken: socket.socket, capsys) -> None:
    port = taken.getsockname()[1]
    assert main(["ui", "--port", str(port), "--storage", storage]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert f"127.0.0.1:{port}" in line


def test_where_a_tracking_server_has_an_interface_its_address_is_printed(tmp_path, capsys, monkeypatch) -> None:
    made_up: list[Path] = []
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://me:geheim@mlflow.example/team/")
    monkeypatch.setattr(mirror, "MLflowMirror", lambda databases: SimpleNamespace(page="#/experiments/7"))
    monkeypatch.setattr(telling, "make_up", lambda repository, databases: made_up.append(databases.owed))
    storage = str(tmp_path / "casspec.db")
    assert main(["ui", "--storage", storage]) == 0
    assert capsys.readouterr().out == "https://mlflow.example/team/#/experiments/7\n"
    assert made_up == []
    databases = external_databases(storage)
    Owed(databases.owed).add(Debt("a" * 64))
    assert main(["ui", "--storage", storage]) == 0
    assert made_up == [databases.owed]


def test_a_tracking_server_that_is_away_is_told_in_one_line(tmp_path, capsys, monkeypatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", url)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    assert main(["ui", "--storage", str(tmp_path / "casspec.db")]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert f"MLflow at {url} cannot be used" in line


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="ends a process by a POSIX signal")
def test_it_serves_the_runs_and_takes_the_server_along_when_it_is_ended(storage: str, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "casspec", "ui", "--port", str(port), "--storage", storage]
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    deadline = time.monotonic() + PATIENCE_S
    try:
        while not answers(port) and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.2)
        assert answers(port), (tmp_path / "log").read_text()
    finally:
        process.send_signal(signal.SIGTERM)
        code = process.wait(PATIENCE_S)
    assert code == 128 + signal.SIGTERM
    assert not answers(port)
    assert f"http://127.0.0.1:{port}/#/experiments/" in (tmp_path / "log").read_text()
