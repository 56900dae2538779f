from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from casspec.hub.allowed import AllowedModels
from casspec.storage.errors import StorageError
from casspec.storage.jobs.documents import Job
from casspec.storage.jobs.queue import JobQueue, Place
from casspec.storage.repository import Repository
from tests.casspec.hub.hubs import ASKED, client_of
from tests.casspec.hub.test_suites import LINES


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
        ({"against": "0" * 64}, "no such profile"),
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


def test_a_log_is_read_from_a_line_on(client: TestClient, repository: Repository) -> None:
    job_id = client.post("/v1/jobs", json=ASKED).json()["job_id"]
    assert client.get(f"/v1/jobs/{job_id}/logs").json() == {"lines": []}
    claim = repository.jobs.claim("one", Place("cpu", "here"))
    assert claim is not None
    repository.jobs.say(claim, ["one", "two"])
    lines = client.get(f"/v1/jobs/{job_id}/logs", params={"after": 1}).json()["lines"]
    assert [(line["number"], line["text"]) for line in lines] == [(2, "two")]
    assert client.get(f"/v1/jobs/{'0' * 16}/logs").status_code == 404
    assert client.get(f"/v1/jobs/{job_id}/logs", params={"after": -1}).status_code == 400


def test_events_outlast_a_store_that_is_away(
    client: TestClient, repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = client.post("/v1/jobs", json=ASKED).json()["job_id"]
    get, answers = JobQueue.get, ["there", "away", "cancelled"]

    def sometimes(self: JobQueue, job_id: str) -> Job:
        answer = answers.pop(0)
        if answer == "away":
            raise StorageError("away")
        return self.ask_to_cancel(job_id) if answer == "cancelled" else get(self, job_id)

    monkeypatch.setattr(JobQueue, "get", sometimes)
    with client.stream("GET", f"/v1/jobs/{job_id}/events") as answer:
        lines = [line for line in answer.iter_lines() if line]
    assert ": the store is away" in lines
    assert '"cancelled"' in lines[-1]


def test_no_more_streams_are_open_than_set(repository: Repository) -> None:
    client = client_of(repository, max_streams=0)
    job_id = client.post("/v1/jobs", json=ASKED).json()["job_id"]
    assert client.get(f"/v1/jobs/{job_id}/events").status_code == 429


def test_two_hundred_jobs_are_taken(client: TestClient) -> None:
    assert all(client.post("/v1/jobs", json=ASKED).status_code == 201 for _ in range(200))
    assert len(client.get("/v1/jobs", params={"limit": 500}).json()["jobs"]) == 200
