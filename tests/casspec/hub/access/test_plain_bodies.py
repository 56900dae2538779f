from __future__ import annotations

import gzip
import json

import pytest

from casspec.storage.repository import Repository
from tests.casspec.hub.access.conftest import client_at
from tests.casspec.hub.hubs import ASKED

JSON = {"Content-Type": "application/json"}


@pytest.mark.parametrize("encoding", ["gzip", "GZIP", "deflate", "br", "zstd", "gzip, gzip", "nonsense"])
def test_a_packed_body_is_refused_and_never_unpacked(repository: Repository, encoding: str) -> None:
    bomb = gzip.compress(b"0" * 4_000_000)
    answer = client_at(repository).post("/v1/jobs", content=bomb, headers=JSON | {"Content-Encoding": encoding})
    assert answer.status_code == 415
    assert "Content-Encoding" in answer.json()["error"]["message"]


def test_a_packed_body_that_says_nothing_of_it_is_no_json(repository: Repository) -> None:
    answer = client_at(repository).post("/v1/jobs", content=gzip.compress(json.dumps(ASKED).encode()), headers=JSON)
    assert answer.status_code == 400


def test_a_body_as_it_is_is_taken(repository: Repository) -> None:
    headers = {"Content-Encoding": "identity"}
    assert client_at(repository).post("/v1/jobs", json=ASKED, headers=headers).status_code == 201
