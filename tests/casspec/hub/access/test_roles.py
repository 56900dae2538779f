from __future__ import annotations

import pytest

from casspec.hub.access.roles import role_of, suffices


@pytest.mark.parametrize(
    ("method", "path", "role"),
    [
        ("GET", "/health", None),
        ("HEAD", "/health", None),
        ("POST", "/health", "submit"),
        ("GET", "/health/", "read"),
        ("GET", "//health", "read"),
        ("GET", "/Health", "read"),
        ("GET", "/", None),
        ("GET", "/page/hub.js", None),
        ("GET", "/page/../v1/jobs", "read"),
        ("GET", "/openapi.json", "read"),
        ("GET", "/v1/jobs", "read"),
        ("POST", "/v1/jobs", "submit"),
        ("DELETE", "/v1/anything", "submit"),
        ("PUT", "/v1/anything", "submit"),
        ("POST", "/v1/profiles/latest/promote", "admin"),
        ("POST", "/v1/profiles/latest/promote\n", "admin"),
        ("DELETE", "/v1/profiles/latest", "admin"),
        ("GET", "/not/there", "read"),
    ],
)
def test_what_is_not_listed_needs_a_token(method: str, path: str, role: str | None) -> None:
    assert role_of(method, path) == role


def test_each_role_may_do_what_those_before_it_may() -> None:
    roles = ("read", "submit", "admin")
    allowed = [[suffices(has, needs) for needs in roles] for has in roles]
    assert allowed == [[True, False, False], [True, True, False], [True, True, True]]
