"""A body is read up to a size and for a time, then handed on as it came."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

from casspec.server.gate.body_limit import BodyLimit

Messages = list[dict[str, Any]]


def passed(messages: Messages, headers: Any = (), seconds: float = 60.0, method: str = "POST") -> tuple[Any, Messages]:
    """The body that reached the application, and what was answered."""
    reached: list[bytes] = []
    sent: Messages = []

    async def app(scope: Any, receive: Callable[[], Awaitable[Any]], send: Any) -> None:
        reached.append((await receive()).get("body", b""))
        assert (await receive())["type"] == "http.disconnect"

    async def receive() -> dict[str, Any]:
        if messages:
            return messages.pop(0)
        return await asyncio.get_running_loop().create_future()  # type: ignore[no-any-return]

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    scope = {"type": "http", "method": method, "headers": list(headers)}
    asyncio.run(BodyLimit(app, 10, seconds)(scope, receive, send))
    return (reached or [None])[0], sent


def part(body: bytes, more: bool = False) -> dict[str, Any]:
    return {"type": "http.request", "body": body, "more_body": more}


GONE = {"type": "http.disconnect"}


def code(sent: Messages) -> tuple[int, str]:
    return sent[0]["status"], json.loads(sent[1]["body"])["error"]["code"]


def test_parts_are_joined_and_what_follows_is_heard() -> None:
    assert passed([part(b"abc", True), part(b"def"), GONE]) == (b"abcdef", [])
    assert passed([part(b"x"), GONE], method="GET") == (b"x", [])


def test_a_long_body_is_refused_whether_it_is_announced_or_not() -> None:
    assert code(passed([], [(b"content-length", b"11")])[1]) == (413, "request_too_large")
    assert code(passed([part(b"123456", True), part(b"78901", True)])[1]) == (413, "request_too_large")


def test_a_body_that_does_not_come_is_not_waited_for() -> None:
    assert code(passed([part(b"1", True)], seconds=0.01)[1]) == (408, "timeout")


def test_nobody_is_answered_who_went_away() -> None:
    assert passed([part(b"1", True), dict(GONE)]) == (None, [])
