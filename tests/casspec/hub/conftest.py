"""A store with a queue, and a hub over it without a worker."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from casspec.storage import open_repository
from casspec.storage.repository import Repository
from tests.casspec.hub.hubs import client_of


@pytest.fixture
def storage(tmp_path: Path) -> str:
    return str(tmp_path / "casspec.db")


@pytest.fixture
def repository(storage: str) -> Iterator[Repository]:
    with open_repository(storage) as repository:
        yield repository


@pytest.fixture
def client(repository: Repository) -> TestClient:
    return client_of(repository)
