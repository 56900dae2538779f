"""The hub over HTTP, without a worker."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from casspec.hub.allowed import AllowedModels
from casspec.hub.app import create_app
from casspec.hub.settings import HubSettings
from casspec.storage.database.connection import Database
from casspec.storage.errors import StorageError
from casspec.storage.jobs.queue import Place
from casspec.storage.repository import Repository
from tests.casspec.hub.test_suites import LINES
from tests.storage import samples

ASKED = {"model": "reference", "device": "cpu", "quick": True}
ROUTES = [
    ("GET", "/v1/jobs"),
    ("POST", "/v1/jobs"),
    ("GET", "/v1/jobs/0123456789abcdef"),
    ("GET", "/v1/jobs/0123456789abcdef/events"),
    ("POST", "/v1/jobs/0123456789abcdef/cancel"),
    ("GET", "/v1/profiles"),
    ("GET", "/v1/profiles/latest"),
    ("GET", "/v1/profiles/latest/artifacts/recycling-matrix"),
    ("GET", "/v1/profiles/latest/export"),
]


def client_of(repository: Repository, **settings: Any) -> TestClient:
    app = create_app(repository, HubSettings(**{"poll_s": 0.01, **settings}))
    return TestClient(app, base_url="http://127.0.0.1", raise_server_exceptions=False)


@pytest.fixture
def client(repository: Repository) -> TestClient:
    return client_of(repository)


def test_a_job_is_submitted_listed_and_cancelled(client: TestClient) -> None:
    job = client.post("/v1/jobs", json=ASKED)
    assert job.status_code == 201
    path = f"/v1/jobs/{job.json()['job_id']}"
    assert client.get(path).json() == job.json()
    assert client.get("/v1/jobs", params={"status": "queued", "device": "cpu"}).json() == {"jobs": [job.json()]}
    assert client.get("/v1/jobs", params={"status": "done"}).json() == {"jobs": []}
    assert client.post(f"{path}/cancel").json()["status"] == "cancelled"


def test_a_job_sent_twice_is_one(client: TestClient) -> None:
    first, second = (client.post("/v1/jobs", json=ASKED | {"job_id": "0" * 16}).json() for _ in range(2))
    assert first == second
    assert len(client.get("/v1/jobs").json()["jobs"]) == 1


def test_prompts_are_kept_with_the_job(client: TestClient, repository: Repository) -> None:
    sha256 = client.post("/v1/jobs", json=ASKED | {"prompts": LINES}).json()["request"]["suite_sha256"]
    assert repository.artifact(sha256) == LINES.encode()
    assert client.post("/v1/jobs", json=ASKED | {"suite_sha256": sha256}).status_code == 201


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"model": "../../etc"}, "is not allowed here"),
        ({"model": "/etc/passwd"}, "is not allowed here"),
        ({"suite": "/etc/passwd"}, "no suite"),
        ({"suite_sha256": "0" * 64}, "no such suite"),
        ({"prompts": "no json"}, "suite"),
        ({"prompts": LINES, "suite": "chat"}, "leave out"),
        ({"device": "\0"}, "device"),
        ({"trust_remote_code": True}, "trust_remote_code"),
        ({"job_id": "../x"}, "job_id"),
        ({"trials": 0}, "trials"),
        ({"seconds": 0.5}, "seconds"),
    ],
)
def test_what_no_worker_would_take_is_refused_in_one_line(
    client: TestClient, changed: dict[str, Any], message: str
) -> None:
    answer = client.post("/v1/jobs", json=ASKED | changed)
    assert answer.status_code == 400
    assert message in answer.json()["error"]["message"]
    assert client.get("/v1/jobs").json() == {"jobs": []}


def test_models_of_an_allowed_directory_are_taken(repository: Repository, tmp_path: Path) -> None:
    (tmp_path / "models" / "tiny").mkdir(parents=True)
    client = client_of(repository, allowed=AllowedModels((), (tmp_path / "models",)))
    assert client.post("/v1/jobs", json=ASKED | {"model": "tiny"}).status_code == 201
    assert client.post("/v1/jobs", json=ASKED | {"model": "../models"}).status_code == 400


def test_events_tell_of_a_job_until_it_has_ended(client: TestClient, repository: Repository) -> None:
    job_id = client.post("/v1/jobs", json=ASKED).json()["job_id"]
    seen = []
    with client.stream("GET", f"/v1/jobs/{job_id}/events") as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        claim = repository.jobs.claim("one", Place("cpu", "here"))
        assert claim is not None
        repository.jobs.finish(claim, "a" * 64)
        for line in answer.iter_lines():
            if line.startswith("data: "):
                seen.append(json.loads(line.removeprefix("data: "))["status"])
    assert seen[-1] == "done"


def test_no_more_streams_are_open_than_set(repository: Repository) -> None:
    client = client_of(repository, max_streams=0)
    job_id = client.post("/v1/jobs", json=ASKED).json()["job_id"]
    assert client.get(f"/v1/jobs/{job_id}/events").status_code == 429


def test_profiles_are_found_by_fingerprint_and_come_with_all_they_have(
    client: TestClient, repository: Repository
) -> None:
    matrix = repository.save_artifact("recycling-matrix", b"matrix")
    profile = repository.save_profile(None, samples.profile(artifacts=(matrix,)))
    asked = {"model": profile.model.identity(), "device": profile.device.identity(), "dtype": profile.dtype}
    (found,) = client.get("/v1/profiles", params=asked).json()["profiles"]
    assert found["profile_hash"] == profile.content_hash()
    assert client.get("/v1/profiles", params=asked | {"model": "0" * 64}).json() == {"profiles": []}
    assert client.get("/v1/profiles", params=asked | {"alias": "production"}).json() == {"profiles": []}
    path = f"/v1/profiles/{found['profile_id']}"
    assert type(profile).model_validate_json(client.get(path).text) == profile
    assert client.get(f"{path}/artifacts/recycling-matrix").content == b"matrix"
    assert client.get(f"{path}/artifacts/other").status_code == 404
    assert client.get(f"{path}/export", params={"to": "json"}).json()["fidelity"] == "full"


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
    assert listed == given | {("GET", "/health"), ("GET", "/version")}


def test_a_body_that_is_too_long_is_refused(repository: Repository) -> None:
    client = client_of(repository, max_request_bytes=1000)
    assert client.post("/v1/jobs", json=ASKED | {"prompts": "x" * 2000}).status_code == 413


def test_a_store_that_fails_is_told_without_its_place(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    def reading(self: Database) -> Any:
        raise StorageError("the database secret.example cannot be reached")

    monkeypatch.setattr(Database, "reading", reading)
    answer = client.get("/v1/jobs")
    assert answer.status_code == 503
    assert "secret" not in answer.text


def test_two_hundred_jobs_are_taken(client: TestClient) -> None:
    assert all(client.post("/v1/jobs", json=ASKED).status_code == 201 for _ in range(200))
    assert len(client.get("/v1/jobs", params={"limit": 500}).json()["jobs"]) == 200
