"""Every route of a hub, whoever adds it, is behind the door."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient
from starlette.routing import Mount, Route

from casspec.hub.access.roles import TABLE, role_of
from casspec.hub.app import create_app
from casspec.hub.settings import HubSettings
from casspec.storage.repository import Repository

OPEN = {
    ("GET", "/health"),
    ("GET", "/version"),
    ("GET", "/"),
    ("GET", "/page/{name}"),
    ("POST", "/session"),
}
"""What anybody may ask."""

LESSER = {"read": [], "submit": ["read"], "admin": ["read", "submit"]}


def routes_of(routes: Iterable[Any]) -> Iterator[tuple[str, str]]:
    """Method and path of everything that an application answers."""
    for route in routes:
        if hasattr(route, "original_router"):
            yield from routes_of(route.original_router.routes)
        elif isinstance(route, Mount):
            yield "GET", f"{route.path}/{{path}}"
        else:
            assert isinstance(route, Route), f"{route} is of a kind that this test does not know"
            yield from ((method, route.path) for method in route.methods or ())


def filled(path: str) -> str:
    return re.sub(r"\{\w+(:\w+)?\}", "0123456789abcdef", path)


@pytest.fixture
def client(repository: Repository, secrets: dict[str, str]) -> TestClient:
    app = create_app(repository, HubSettings(max_rate=1e6))
    return TestClient(app, base_url="http://127.0.0.1", raise_server_exceptions=False, follow_redirects=False)


def asked(client: TestClient, method: str, path: str, secret: str | None = None) -> int:
    headers = {} if secret is None else {"Authorization": f"Bearer {secret}"}
    return client.request(method, filled(path), headers=headers).status_code


def guarded(client: TestClient) -> list[tuple[str, str]]:
    found = set(routes_of(client.app.routes))  # type: ignore[attr-defined]
    assert ("POST", "/v1/jobs") in found
    assert ("GET", "/v1/profiles/{selection}") in found
    return sorted(found - OPEN - {("HEAD", path) for _, path in OPEN})


def test_nothing_is_open_but_what_is_listed_here(client: TestClient) -> None:
    assert [(method, path) for method, path in guarded(client) if role_of(method, filled(path)) is None] == []
    assert {place for place, role in TABLE.items() if role is None} == OPEN


@pytest.mark.parametrize("kind", [None, "unknown", "expired", "revoked"])
def test_no_route_opens_without_a_valid_token(client: TestClient, secrets: dict[str, str], kind: str | None) -> None:
    secret = None if kind is None else secrets[kind]
    assert {place: asked(client, *place, secret) for place in guarded(client)} == dict.fromkeys(guarded(client), 401)


def test_no_route_opens_with_a_lesser_role(client: TestClient, secrets: dict[str, str]) -> None:
    n_refused = 0
    for method, path in guarded(client):
        needs = role_of(method, filled(path))
        assert needs is not None
        for role in LESSER[needs]:
            assert asked(client, method, path, secrets[role]) == 403, (method, path, role)
            n_refused += 1
        assert asked(client, method, path, secrets[needs]) not in (401, 403), (method, path)
    assert n_refused > 0


def test_a_route_that_somebody_adds_is_closed(repository: Repository, secrets: dict[str, str]) -> None:
    app = create_app(repository, HubSettings())
    for method in ("GET", "POST", "DELETE", "PUT", "PATCH"):
        app.add_api_route("/added", lambda: "open", methods=[method])
    app.mount("/mounted", lambda scope, receive, send: None)
    client = TestClient(app, base_url="http://127.0.0.1")
    for method in ("GET", "POST", "DELETE", "PUT", "PATCH"):
        assert asked(client, method, "/added") == 401
        assert asked(client, method, "/added", secrets["read"]) == (200 if method == "GET" else 403)
    assert asked(client, "GET", "/mounted/file") == 401


def test_paths_that_lead_nowhere_tell_nothing_without_a_token(client: TestClient, secrets: dict[str, str]) -> None:
    assert asked(client, "GET", "/nothing") == 401
    assert asked(client, "OPTIONS", "/v1/jobs") == 401
    assert asked(client, "GET", "/nothing", secrets["read"]) == 404
    assert asked(client, "DELETE", "/v1/jobs", secrets["submit"]) == 405
