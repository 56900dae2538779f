"""What a browser does: it brings a token once, and sends X-CSRF-Token with whatever changes something."""

from __future__ import annotations

import pytest
from fastapi.testclient import TestClient

from casspec.storage.repository import Repository
from tests.casspec.hub.access.conftest import client_at
from tests.casspec.hub.hubs import ASKED


@pytest.fixture
def browser(repository: Repository, secrets: dict[str, str]) -> TestClient:
    """Logged in as an admin."""
    client = client_at(repository)
    assert client.post("/session", json={"token": secrets["admin"]}).status_code == 201
    return client


def test_a_token_is_exchanged_for_a_cookie_that_no_script_and_no_other_page_has(
    repository: Repository, secrets: dict[str, str]
) -> None:
    answer = client_at(repository).post("/session", json={"token": secrets["submit"]})
    assert answer.json()["role"] == "submit"
    cookie = answer.headers["set-cookie"].lower()
    assert {"httponly", "samesite=strict", "path=/"} <= {part.strip() for part in cookie.split(";")}
    assert "secure" not in cookie
    assert secrets["submit"] not in answer.text + cookie
    over_tls = client_at(repository, "https://127.0.0.1").post("/session", json={"token": secrets["submit"]})
    assert "; secure" in over_tls.headers["set-cookie"].lower()


@pytest.mark.parametrize("kind", ["expired", "revoked", "unknown"])
def test_what_does_not_open_begins_no_session(repository: Repository, secrets: dict[str, str], kind: str) -> None:
    answer = client_at(repository).post("/session", json={"token": secrets[kind]})
    assert answer.status_code == 401
    assert "set-cookie" not in answer.headers


@pytest.mark.parametrize(
    "body", [{}, {"token": ""}, {"token": 1}, {"token": "x" * 513}, {"token": "x", "role": "admin"}]
)
def test_what_is_no_login_is_refused(repository: Repository, secrets: dict[str, str], body: dict[str, object]) -> None:
    assert client_at(repository).post("/session", json=body).status_code == 400


def test_a_session_reads_and_changes_with_its_csrf_token(browser: TestClient) -> None:
    told = browser.get("/session").json()
    assert (told["role"], told["name"]) == ("admin", "admin")
    assert browser.get("/v1/jobs").status_code == 200
    assert browser.post("/v1/jobs", json=ASKED, headers={"X-CSRF-Token": told["csrf"]}).status_code == 201


@pytest.mark.parametrize("csrf", [None, "", "x", "\xff"])
def test_a_session_alone_changes_nothing(browser: TestClient, repository: Repository, csrf: str | None) -> None:
    headers = {} if csrf is None else {"X-CSRF-Token": csrf.encode("latin-1")}
    for method, path in (("POST", "/v1/jobs"), ("DELETE", "/session"), ("DELETE", "/v1/profiles/latest")):
        answer = browser.request(method, path, json=ASKED, headers=headers)
        assert (answer.status_code, answer.json()["error"]["code"]) == (403, "csrf_token_needed")
    assert repository.jobs.listed() == []
    assert browser.get("/session").status_code == 200


def test_the_csrf_token_of_another_session_opens_nothing(browser: TestClient, secrets: dict[str, str]) -> None:
    first = browser.get("/session").json()["csrf"]
    browser.post("/session", json={"token": secrets["admin"]})
    assert browser.post("/v1/jobs", json=ASKED, headers={"X-CSRF-Token": first}).status_code == 403


def test_a_session_has_the_role_of_its_token(repository: Repository, secrets: dict[str, str]) -> None:
    client = client_at(repository)
    csrf = client.post("/session", json={"token": secrets["read"]}).json()["csrf"]
    assert client.get("/v1/jobs").status_code == 200
    assert client.post("/v1/jobs", json=ASKED, headers={"X-CSRF-Token": csrf}).status_code == 403
    assert client.delete("/session", headers={"X-CSRF-Token": csrf}).status_code == 200


def test_logging_out_ends_the_session_wherever_its_cookie_is(browser: TestClient) -> None:
    (cookie,) = browser.cookies.values()
    headers = {"X-CSRF-Token": browser.get("/session").json()["csrf"]}
    assert browser.delete("/session", headers=headers).status_code == 200
    assert len(browser.cookies) == 0
    assert browser.get("/session").status_code == 401
    assert browser.get("/v1/jobs", headers={"Cookie": f"casspec_hub_session={cookie}"}).status_code == 401


def test_a_session_ends_with_its_token(browser: TestClient, repository: Repository, secrets: dict[str, str]) -> None:
    repository.tokens.revoke("admin")
    assert browser.get("/v1/jobs").status_code == 401
    assert browser.post("/session", json={"token": secrets["read"]}).status_code == 201  # with the old cookie


def test_a_token_in_the_header_needs_no_csrf_token(browser: TestClient, secrets: dict[str, str]) -> None:
    headers = {"Authorization": f"Bearer {secrets['submit']}"}
    assert browser.post("/v1/jobs", json=ASKED, headers=headers).status_code == 201
    assert browser.get("/session", headers=headers).json() == {"csrf": None, "role": "submit", "name": "submit"}


def test_a_hub_without_tokens_needs_no_session(repository: Repository) -> None:
    client = client_at(repository)
    open_to_all = {"csrf": None, "role": "admin", "name": None}
    assert client.get("/session").json() == open_to_all
    answer = client.post("/session", json={"token": "anything"})
    assert answer.json() == open_to_all
    assert "set-cookie" not in answer.headers


def test_a_key_of_the_command_line_begins_a_session_too(repository: Repository) -> None:
    client = client_at(repository, api_keys=("key",))
    assert client.get("/session").status_code == 401
    assert client.post("/session", json={"token": "key"}).json()["role"] == "admin"
    assert client.get("/v1/jobs").status_code == 200


def test_nobody_sends_a_large_body_without_a_token(repository: Repository, secrets: dict[str, str]) -> None:
    answer = client_at(repository).post("/session", json={"token": "x" * 5000})
    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "request_too_large")
