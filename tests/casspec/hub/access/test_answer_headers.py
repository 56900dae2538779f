from __future__ import annotations

import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from casspec.hub.access.answer_headers import HEADERS, POLICY, AnswerHeaders
from casspec.storage.repository import Repository
from tests.casspec.hub.access.conftest import client_at


@pytest.mark.parametrize("path", ["/v1/jobs", "/v1/jobs/x", "/health", "/nothing", "/openapi.json", "/session"])
def test_every_answer_says_what_a_browser_may_do_with_it(repository: Repository, path: str) -> None:
    for settings in ({}, {"api_keys": ("key",)}):
        headers = client_at(repository, **settings).get(path).headers
        assert {name: headers[name] for name in HEADERS} == HEADERS


def test_the_policy_lets_in_nothing_from_elsewhere_and_nothing_inline() -> None:
    rules = dict(rule.split(" ", 1) for rule in POLICY.split("; "))
    assert rules["default-src"] == rules["frame-ancestors"] == rules["base-uri"] == rules["form-action"] == "'none'"
    assert rules["script-src"] == rules["style-src"] == rules["connect-src"] == "'self'"
    assert "unsafe" not in POLICY
    assert "*" not in POLICY


def test_a_route_may_have_its_own_way() -> None:
    own = {"Content-Security-Policy": "sandbox", "Cache-Control": "max-age=60"}
    app = Starlette(routes=[Route("/", lambda request: PlainTextResponse("ok", headers=own))])
    app.add_middleware(AnswerHeaders)
    headers = TestClient(app).get("/").headers
    assert {name: headers[name] for name in own} == own
    assert headers["x-content-type-options"] == "nosniff"
