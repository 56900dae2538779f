"""MLflow's client towards servers that are away, wrong, slow, or refuse."""

from __future__ import annotations

import os
import socket
import time
from pathlib import Path

import pytest

from casspec.storage.errors import MirrorError
from casspec.tuner.external_databases import external_databases
from casspec.tuner.mlflow_mirror.client import SETTINGS, mlflow_client, redacted
from casspec.tuner.mlflow_mirror.mirror import MLflowMirror
from tests.tuner.mlflow_mirror.tracking import useless_server


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_BACKOFF_JITTER", "0")


def refusal(uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    with pytest.raises(MirrorError) as told:
        MLflowMirror(external_databases(str(tmp_path / "casspec.db")))
    assert len(str(told.value).splitlines()) == 1
    assert "geheim" not in str(told.value)
    return str(told.value)


@pytest.mark.parametrize("status", [401, 403])
def test_a_server_that_refuses_is_told_with_what_to_set(status, tmp_path, monkeypatch) -> None:
    with useless_server(status) as place:
        told = refusal(f"http://me:geheim@{place}", tmp_path, monkeypatch)
    assert told.startswith(f"MLflow at http://{place} refuses (status {status}: none)")
    assert "MLFLOW_TRACKING_TOKEN" in told


@pytest.mark.parametrize("status", [200, 404, 500, 503])
def test_a_server_of_something_else_or_that_is_broken_is_told_in_one_line(status, tmp_path, monkeypatch) -> None:
    begun_s = time.monotonic()
    with useless_server(status, Retry_After="3600") as place:
        told = refusal(f"http://me:geheim@{place}", tmp_path, monkeypatch)
    assert told.startswith(f"MLflow at http://{place} cannot be used (")
    assert str(status) in told or status == 200
    assert time.monotonic() - begun_s < 600, "it asks for an hour"


def test_a_server_that_never_answers_is_given_up(tmp_path, monkeypatch) -> None:
    with useless_server(None) as place:
        assert "timed out" in refusal(f"http://{place}", tmp_path, monkeypatch)


@pytest.mark.parametrize("scheme", ["http", "postgresql+psycopg"])
def test_a_server_that_is_away_is_told_in_one_line(scheme, tmp_path, monkeypatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        place = f"127.0.0.1:{free.getsockname()[1]}/runs"
    told = refusal(f"{scheme}://me:geheim@{place}", tmp_path, monkeypatch)
    assert f"MLflow at {scheme}://{place} cannot be used" in told
    assert "refused" in told.lower()


@pytest.mark.parametrize("uri", ["nonsense://geheim@somewhere", "http://me:geheim@[1"])
def test_an_address_that_is_none_is_told_in_one_line(uri, tmp_path, monkeypatch) -> None:
    assert "check MLFLOW_TRACKING_URI" in refusal(uri, tmp_path, monkeypatch)


def test_requests_end_soon_unless_the_user_says_otherwise(databases, monkeypatch) -> None:
    for name in SETTINGS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "300")
    mlflow_client(databases)
    assert os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] == "300"
    assert os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] == "2"


def test_no_password_and_no_token_is_repeated(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://me:p%40ss@host:1/x?key=k")
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "t0ken")
    databases = external_databases(str(tmp_path / "casspec.db"))
    text = f"{databases.tracking_uri} p@ss p%40ss t0ken http://you:other@host/"
    assert redacted(text, databases) == "https://host:1/x *** *** *** http://host/"
