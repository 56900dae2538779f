"""The hub over HTTP, without a worker."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest
from fastapi.testclient import TestClient

from casspec.storage.database.connection import Database
from casspec.storage.errors import StorageError
from casspec.storage.repository import Repository
from tests.casspec.hub.hubs import ASKED, client_of
from tests.casspec.hub.test_suites import LINES

ROUTES = [
    ("GET", "/v1/jobs"),
    ("POST", "/v1/jobs"),
    ("GET", "/v1/jobs/0123456789abcdef"),
    ("GET", "/v1/jobs/0123456789abcdef/events"),
    ("GET", "/v1/jobs/0123456789abcdef/logs"),
    ("POST", "/v1/jobs/0123456789abcdef/cancel"),
    ("GET", "/v1/matrix"),
    ("GET", "/v1/overview"),
    ("GET", "/v1/profiles"),
    ("GET", "/v1/profiles/compare"),
    ("GET", "/v1/profiles/latest"),
    ("GET", "/v1/profiles/latest/summary"),
    ("GET", "/v1/profiles/latest/report"),
    ("POST", "/v1/profiles/latest/promote"),
    ("GET", "/v1/profiles/latest/artifacts/recycling-matrix"),
    ("GET", "/v1/profiles/latest/export"),
    ("GET", "/v1/reports"),
    ("POST", "/v1/reports"),
    ("GET", "/v1/recalibrations"),
]


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/v1/jobs/0123456789abcdef", 404),
        ("/v1/jobs/0123456789abcdef/events", 404),
        ("/v1/jobs/..%2f..%2fetc", 404),
        ("/v1/jobs/zzz", 400),
        ("/v1/jobs?limit=0", 400),
        ("/v1/jobs?before=0123456789abcdef", 404),
        ("/v1/profiles/latest", 404),
        ("/v1/profiles/..%2f..%2fetc%2fpasswd", 404),
        ("/v1/profiles/%00", 400),
        ("/v1/profiles?model=x", 400),
        ("/nothing", 404),
    ],
)
def test_what_is_not_there_is_told(client: TestClient, path: str, status: int) -> None:
    answer = client.get(path)
    assert answer.status_code == status
    assert "\n" not in answer.json()["error"]["message"]


@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_every_route_wants_a_key_where_there_is_one(repository: Repository, method: str, path: str) -> None:
    client = client_of(repository, api_keys=("right",))
    for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "Basic right"}):
        assert client.request(method, path, headers=headers).status_code == 401
    assert client.request(method, path, headers={"Authorization": "Bearer right"}).status_code != 401
    assert client.get("/health").status_code == 200


def test_the_routes_above_are_all_there_are(client: TestClient) -> None:
    paths = client.get("/openapi.json").json()["paths"]
    listed = {(method.upper(), path) for path, methods in paths.items() for method in methods}
    given = {
        (
            method,
            path.replace("0123456789abcdef", "{job_id}")
            .replace("latest", "{selection}")
            .replace("recycling-matrix", "{name}"),
        )
        for method, path in ROUTES
    }
    sessions = {("POST", "/session"), ("GET", "/session"), ("DELETE", "/session")}
    assert listed == given | sessions | {("GET", "/health"), ("GET", "/version")}


def test_a_body_that_is_too_long_is_refused(repository: Repository) -> None:
    client = client_of(repository, max_request_bytes=1000)
    assert client.post("/v1/jobs", json=ASKED | {"prompts": "x" * 2000}).status_code == 413


def test_what_is_not_there_is_told_without_the_place_of_the_store(client: TestClient, repository: Repository) -> None:
    for selection in ("latest", "0123"):
        message = client.get(f"/v1/profiles/{selection}").json()["error"]["message"]
        assert "this hub" in message
        assert repository.place not in message


def test_a_full_queue_takes_no_more_jobs_and_says_when_to_come_again(repository: Repository) -> None:
    client = client_of(repository, max_queued=2)
    first = client.post("/v1/jobs", json=ASKED | {"job_id": "0" * 16})
    client.post("/v1/jobs", json=ASKED)
    refused = client.post("/v1/jobs", json=ASKED | {"prompts": LINES})
    assert refused.status_code == 429
    assert refused.headers["retry-after"].isdigit()
    assert repository.artifact(hashlib.sha256(LINES.encode()).hexdigest()) is None
    again = client.post("/v1/jobs", json=ASKED | {"job_id": "0" * 16})
    assert (again.status_code, again.json()) == (201, first.json())
    client.post(f"/v1/jobs/{'0' * 16}/cancel")
    assert client.post("/v1/jobs", json=ASKED).status_code == 201


def test_a_store_that_fails_is_told_without_its_place(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    def reading(self: Database) -> Any:
        raise StorageError("the database secret.example cannot be reached")

    monkeypatch.setattr(Database, "reading", reading)
    answer = client.get("/v1/jobs")
    assert answer.status_code == 503
    assert "secret" not in answer.text
