from __future__ import annotations

import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from casspec.hub.origin import SameOrigin


def answered(only_here: bool, host: str, origin: str | None) -> int:
    app = Starlette(routes=[Route("/", lambda request: PlainTextResponse("ok"))])
    app.add_middleware(SameOrigin, only_here=only_here)
    headers = {"host": host} if origin is None else {"host": host, "origin": origin}
    return TestClient(app).get("/", headers=headers).status_code


@pytest.mark.parametrize(
    ("only_here", "host", "origin", "status"),
    [
        (True, "127.0.0.1:8100", None, 200),
        (True, "localhost:8100", "http://localhost:8100", 200),
        (True, "[::1]:8100", None, 200),
        (True, "evil.example", None, 403),
        (True, "evil.example:8100", "http://evil.example:8100", 403),
        (True, "127.0.0.1:8100", "http://evil.example", 403),
        (True, "127.0.0.1:8100", "null", 403),
        (True, "127.0.0.1:8100", "http://127.0.0.1:9000", 403),
        (True, "[broken", None, 403),
        (False, "hub.example", None, 200),
        (False, "hub.example", "https://hub.example", 200),
        (False, "hub.example", "https://evil.example", 403),
    ],
)
def test_only_its_own_pages_and_programs_are_answered(
    only_here: bool, host: str, origin: str | None, status: int
) -> None:
    assert answered(only_here, host, origin) == status
