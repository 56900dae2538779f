from __future__ import annotations

import pytest
from starlette.datastructures import Headers

from casspec.hub.access.origin import check_here, check_origin
from casspec.server.errors import ApiError


def answered(only_here: bool, host: str, origin: str | None) -> int:
    headers = Headers({"host": host} if origin is None else {"host": host, "origin": origin})
    try:
        check_origin(headers)
        if only_here:
            check_here(headers)
    except ApiError as refusal:
        return refusal.status
    return 200


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
