"""Tokens of every kind, in the store of a hub."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from fastapi.testclient import TestClient

from casspec.hub.app import create_app
from casspec.hub.settings import HubSettings
from casspec.storage.database.connection import Database, open_database
from casspec.storage.repository import Repository
from casspec.storage.tokens import Tokens


def long_ago() -> datetime:
    return datetime(2001, 1, 1, tzinfo=UTC)


@pytest.fixture
def database(storage: str, repository: Repository) -> Any:
    database: Database = open_database(storage)
    yield database
    database.close()


@pytest.fixture
def secrets(repository: Repository, database: Database) -> dict[str, str]:
    """By role, and one that has expired, one that is revoked, one that is none."""
    made = {role: repository.tokens.create(role, role, days=1) for role in ("read", "submit", "admin")}
    made["expired"] = Tokens(database, long_ago).create("expired", "admin", days=1)
    made["revoked"] = repository.tokens.create("revoked", "admin", days=1)
    repository.tokens.revoke("revoked")
    return made | {"unknown": "casspec_" + "x" * 43}


def client_at(repository: Repository, url: str = "http://127.0.0.1", **settings: Any) -> TestClient:
    return TestClient(create_app(repository, HubSettings(**settings)), base_url=url, raise_server_exceptions=False)
