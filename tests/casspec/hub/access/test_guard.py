"""The door of a hub, over HTTP."""

from __future__ import annotations

import logging
import time
from typing import Any

import pytest
from fastapi.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from casspec.storage.database.connection import Database
from casspec.storage.errors import StorageError
from casspec.storage.repository import Repository
from tests.casspec.hub.access.conftest import client_at
from tests.casspec.hub.hubs import ASKED


def bearer(secret: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {secret}"}


def test_a_hub_without_tokens_is_open_here_and_closes_with_the_first(repository: Repository) -> None:
    client = client_at(repository)
    assert client.post("/v1/jobs", json=ASKED).status_code == 201
    secret = repository.tokens.create("ci", "read", days=1)
    assert client.get("/v1/jobs").status_code == 401
    assert client.get("/v1/jobs", headers=bearer(secret)).status_code == 200
    repository.tokens.revoke("ci")
    assert client.get("/v1/jobs", headers=bearer(secret)).status_code == 401
    assert client.get("/v1/jobs").status_code == 401


@pytest.mark.parametrize("name", ["evil.example", "10.0.0.1", "127.0.0.1.evil.example"])
def test_a_hub_without_tokens_answers_to_no_other_name(repository: Repository, name: str) -> None:
    client = client_at(repository, f"http://{name}")
    assert client.get("/v1/jobs").status_code == 403
    assert client.post("/session", json={"token": "x"}).status_code == 403
    assert client_at(repository, f"http://{name}", is_local=False).get("/v1/jobs").status_code == 401


def test_a_page_of_another_origin_is_refused_with_a_token_too(repository: Repository, secrets: dict[str, str]) -> None:
    client = client_at(repository, "http://hub.example")
    headers = bearer(secrets["admin"])
    assert client.get("/v1/jobs", headers=headers).status_code == 200
    assert client.get("/v1/jobs", headers=headers | {"Origin": "http://hub.example"}).status_code == 200
    for origin in ("http://evil.example", "null", "http://hub.example:81"):
        assert client.get("/v1/jobs", headers=headers | {"Origin": origin}).status_code == 403


@pytest.mark.parametrize("host", ["127.0.0.1/health?", "127.0.0.1/health#", "a/page/x?"])
def test_the_host_header_says_nothing_of_the_path(repository: Repository, secrets: dict[str, str], host: str) -> None:
    assert client_at(repository).get("/v1/jobs", headers={"Host": host}).status_code in (400, 401, 403)


@pytest.mark.parametrize(
    "path", ["//v1/jobs", "/page/..%2f..%2fv1%2fjobs", "/health/../v1/jobs", "/page/%2e%2e/v1/jobs", "/v1/jobs/"]
)
def test_no_way_around_leads_in(repository: Repository, secrets: dict[str, str], path: str) -> None:
    assert client_at(repository).get(path, follow_redirects=False).status_code in (401, 404)


@pytest.mark.parametrize("brought", ["Bearer", "Bearer ", "Basic YTpi", "Bearer \xff", "x"])
def test_what_is_no_token_is_refused(repository: Repository, secrets: dict[str, str], brought: str) -> None:
    answer = client_at(repository).get("/v1/jobs", headers={"Authorization": brought.encode("latin-1")})
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"


def test_a_lesser_role_is_told_what_is_needed(repository: Repository, secrets: dict[str, str]) -> None:
    answer = client_at(repository).post("/v1/jobs", json=ASKED, headers=bearer(secrets["read"]))
    assert answer.status_code == 403
    assert "role submit" in answer.json()["error"]["message"]
    assert repository.jobs.listed() == []


def test_nobody_unknown_is_read(repository: Repository, secrets: dict[str, str]) -> None:
    read = []

    def body() -> Any:
        read.append(1)
        yield b"x" * 100

    answer = client_at(repository, max_request_bytes=10).post("/v1/jobs", content=body())
    assert answer.status_code == 401  # and not 413


def test_each_token_has_its_own_rate(repository: Repository, secrets: dict[str, str]) -> None:
    client = client_at(repository, max_rate=0.3)
    statuses = [client.get("/v1/jobs", headers=bearer(secrets["read"])).status_code for _ in range(4)]
    assert statuses == [200, 200, 200, 429]
    refused = client.get("/v1/jobs", headers=bearer(secrets["read"]))
    assert int(refused.headers["retry-after"]) >= 1
    assert client.get("/v1/jobs", headers=bearer(secrets["admin"])).status_code == 200


def test_whoever_guesses_tokens_is_slowed_down_alone(repository: Repository, secrets: dict[str, str]) -> None:
    client = client_at(repository, max_rate=0.3)
    statuses = [client.get("/v1/jobs", headers=bearer(f"guess {n}")).status_code for n in range(5)]
    assert statuses == [401, 401, 401, 429, 429]
    assert client.post("/session", json={"token": "guess"}).status_code == 429
    assert client.get("/v1/jobs", headers=bearer(secrets["read"])).status_code == 200


def test_addresses_are_counted_where_there_are_no_tokens(repository: Repository) -> None:
    client = client_at(repository, max_rate=0.3)
    assert [client.get("/v1/jobs").status_code for _ in range(4)] == [200, 200, 200, 429]
    assert {client.get("/health").status_code for _ in range(9)} == {200}


def test_two_hundred_jobs_are_taken_in_five_seconds_by_default(repository: Repository, secrets: dict[str, str]) -> None:
    """Of this process, for others may compute meanwhile."""
    client, headers = client_at(repository), bearer(secrets["submit"])
    began_s = time.process_time()
    assert {client.post("/v1/jobs", json=ASKED, headers=headers).status_code for _ in range(200)} == {201}
    assert time.process_time() - began_s < 5


def test_a_store_that_fails_lets_nobody_in(
    repository: Repository, secrets: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    client = client_at(repository)

    def reading(self: Database) -> Any:
        raise StorageError("the database secret.example cannot be reached")

    monkeypatch.setattr(Database, "reading", reading)
    for headers in ({}, bearer(secrets["admin"])):
        answer = client.get("/v1/jobs", headers=headers)
        assert answer.status_code == 503
        assert "secret.example" not in answer.text
    assert client.get("/health").status_code == 200


def test_no_token_is_in_any_log(
    repository: Repository, secrets: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    client = client_at(repository)
    for secret in secrets.values():
        answer = client.get("/v1/jobs", headers=bearer(secret))
        login = client.post("/session", json={"token": secret})
        assert secret not in answer.text + login.text + caplog.text


def test_websockets_are_closed(repository: Repository) -> None:
    client: TestClient = client_at(repository)
    with pytest.raises(WebSocketDisconnect), client.websocket_connect("/v1/jobs"):
        pass
