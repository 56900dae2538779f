"""A call is answered whole or as events, errors included, and always leaves the line."""

from __future__ import annotations

import asyncio
import json
from types import SimpleNamespace
from typing import Any

import pytest
from starlette.requests import Request

from casspec.server.api.answering import answer, event
from casspec.server.errors import ApiError
from casspec.storage.errors import UnsupportedOption
from tests.casspec.server.serving import SETTINGS


class Reply:
    """Texts that come, fail, or never come."""

    def __init__(self, error: Exception | None = None, hangs: bool = False) -> None:
        self._error, self._hangs = error, hangs
        self.told: list[Any] = []
        self.first_s, self.is_whole, self.n_ended = None, True, 0

    async def whole(self) -> list[Any]:
        if self._hangs:
            await asyncio.get_running_loop().create_future()
        if self._error:
            raise self._error
        return ["text"]

    def end(self) -> None:
        self.n_ended += 1


class Call:
    orders: Any = ()
    fields = ("top_p",)

    def __init__(self, streams: bool) -> None:
        self.streams = streams

    def whole(self, told: list[Any]) -> dict[str, Any]:
        return {"texts": told}

    async def stream(self, reply: Any) -> Any:
        for text in await reply.whole():
            yield event(text)


def answered(
    reply: Reply, streams: bool, leaves: bool = False, refusal: Exception | None = None
) -> tuple[Any, str, list[str]]:
    """(status, what was sent, reasons of failures)."""
    failures: list[str] = []
    sent: list[dict[str, Any]] = []

    async def begin(orders: Any) -> Reply:
        if refusal:
            raise refusal
        return reply

    async def receive() -> dict[str, Any]:
        if not leaves:
            await asyncio.get_running_loop().create_future()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    async def main() -> Any:
        metrics = SimpleNamespace(failed=failures.append)
        service: Any = SimpleNamespace(begin=begin, settings=SETTINGS, metrics=metrics, recorder=None)
        scope = {"type": "http", "method": "POST", "headers": [], "state": {"note": {}}}
        response = await answer(service, Request(scope, receive), Call(streams))  # type: ignore[arg-type]
        await response(scope, receive, send)
        return response.status_code

    status = asyncio.run(main())
    return status, b"".join(message.get("body", b"") for message in sent).decode(), failures


def test_whole_and_streamed() -> None:
    assert answered(Reply(), False) == (200, '{"texts":["text"]}', [])
    reply = Reply()
    assert answered(reply, True) == (200, "data: text\n\n", [])
    assert reply.n_ended == 1


def test_what_is_refused_before_anything_was_sent_is_raised() -> None:
    for streams in (True, False):
        with pytest.raises(ApiError) as refusal:
            answered(Reply(), streams, refusal=UnsupportedOption("top_p must be small"))
        assert refusal.value.param == "top_p"


def test_what_fails_midway_is_told_where_the_client_listens() -> None:
    reply = Reply(RuntimeError("kaput"))
    with pytest.raises(ApiError) as refusal:
        answered(reply, False)
    assert (refusal.value.status, reply.n_ended) == (500, 1)
    status, text, failures = answered(Reply(RuntimeError("kaput")), True)
    assert (status, failures) == (200, ["internal_error"])
    assert json.loads(text.removeprefix("data: "))["error"]["type"] == "server_error"


def test_a_client_that_goes_away_ends_its_texts() -> None:
    for streams in (True, False):
        reply = Reply(hangs=True)
        status, text, failures = answered(reply, streams, leaves=True)
        assert (text, failures, reply.n_ended) == ("", [], 1)
        assert status == (200 if streams else 499)


def test_events_have_names_where_they_are_given() -> None:
    assert event({"a": "é"}, "named") == 'event: named\ndata: {"a": "é"}\n\n'
