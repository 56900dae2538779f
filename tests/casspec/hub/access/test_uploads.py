"""What is sent to a hub to break it is refused: too much of it, too deep, or with a way out of where it belongs."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from casspec.hub.allowed import AllowedModels
from casspec.storage.repository import Repository
from tests.casspec.hub.access.conftest import client_at
from tests.casspec.hub.hubs import ASKED, serving
from tests.storage import samples

WAYS_OUT = [
    "../../etc/passwd",
    "/etc/passwd",
    "..",
    "./../models",
    "....//....//etc/passwd",
    "..\\..\\etc\\passwd",
    "file:///etc/passwd",
    "secret\0",
    "%2e%2e%2fetc%2fpasswd",
]
IN_A_URL = ["..%2f..%2fetc%2fpasswd", "%2fetc%2fpasswd", "%2e%2e", "..%5c..%5cetc", "%00", "a%0ab", "~", "%ff"]


@pytest.mark.parametrize("field", ["model", "suite", "suite_sha256", "job_id"])
@pytest.mark.parametrize("way_out", WAYS_OUT)
def test_no_field_of_a_job_leads_out(repository: Repository, tmp_path: Path, field: str, way_out: str) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "secret").mkdir()
    client = client_at(repository, allowed=AllowedModels((), (tmp_path / "models",)))
    answer = client.post("/v1/jobs", json=ASKED | {field: way_out})
    assert answer.status_code == 400
    assert repository.jobs.listed() == []


@pytest.mark.parametrize(
    "path",
    [
        "/v1/jobs/{}",
        "/v1/jobs/{}/events",
        "/v1/jobs?before={}",
        "/v1/profiles/{}",
        "/v1/profiles?alias={}",
        "/v1/profiles/latest/artifacts/{}",
        "/v1/profiles/latest/export?to={}",
    ],
)
def test_no_path_of_a_request_leads_out(repository: Repository, path: str) -> None:
    matrix = repository.save_artifact("recycling-matrix", b"matrix")
    repository.save_profile(None, samples.profile(artifacts=(matrix,)))
    client = client_at(repository)
    for way_out in IN_A_URL:
        answer = client.get(path.format(way_out), follow_redirects=False)
        assert answer.status_code in (400, 404), (way_out, answer.text)
        assert "root:" not in answer.text


@pytest.mark.parametrize(
    "body", [b"[" * 200_000, b'{"a":' * 200_000, b'{"seed": ' + b"1" * 100_000 + b"}", b"\xff\xfe"]
)
def test_json_that_is_deep_or_none_is_refused(repository: Repository, body: bytes) -> None:
    answer = client_at(repository).post("/v1/jobs", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 400


@pytest.mark.parametrize(
    "prompts", ["[" * 100_000, '{"turns": ' * 100_000, "1" * 100_000, "\ud800", '{"prompt": "\\ud800"}', "\0" * 100]
)
def test_prompts_that_are_deep_or_none_are_refused(repository: Repository, prompts: str) -> None:
    content = json.dumps(ASKED | {"prompts": prompts}).encode()
    answer = client_at(repository).post("/v1/jobs", content=content, headers={"Content-Type": "application/json"})
    assert answer.status_code == 400
    assert repository.jobs.listed() == []


LIMIT = 100_000


@pytest.fixture
def connection(repository: Repository) -> Iterator[http.client.HTTPConnection]:
    with serving(repository, max_request_bytes=LIMIT) as url:
        connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=30)
        yield connection
        connection.close()


def sent(connection: http.client.HTTPConnection, body: Any, headers: dict[str, str]) -> int:
    connection.request("POST", "/v1/jobs", body, {"Content-Type": "application/json"} | headers)
    return connection.getresponse().status


def test_a_body_that_says_it_is_too_long_is_not_waited_for(connection: http.client.HTTPConnection) -> None:
    assert sent(connection, b"", {"Content-Length": str(LIMIT + 1)}) == 413


def test_a_body_that_turns_out_too_long_is_refused(connection: http.client.HTTPConnection) -> None:
    pieces = (b"x" * 1000 for _ in range(LIMIT // 1000 + 1))  # in chunks, without a length
    assert sent(connection, pieces, {}) == 413


def test_a_body_in_chunks_is_taken(connection: http.client.HTTPConnection) -> None:
    assert sent(connection, iter([json.dumps(ASKED).encode()]), {}) == 201


def test_a_body_that_is_longer_than_it_says_is_not_read_on(connection: http.client.HTTPConnection) -> None:
    assert sent(connection, json.dumps(ASKED).encode(), {"Content-Length": "5"}) == 400
