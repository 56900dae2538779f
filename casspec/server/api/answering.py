"""The way of a request for text: into the line, then answered whole or as a stream of events, and out of the line however it ends."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Protocol

from fastapi import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from casspec.server.errors import ApiError
from casspec.server.errors import told as error_told
from casspec.server.replies import Reply, Told
from casspec.server.service import Service
from casspec.server.step_thread import Order
from casspec.server.watching.recording import recorded

_log = logging.getLogger("casspec")

LEFT = 499
"""Status of a request whose client went away."""


class Call(Protocol):
    """A request that was understood.

    Attributes:
        orders: its texts. streams: whether they are wanted as they come. fields: names of its fields.
        given: `messages` or `prompt` of each of its prompts, as the client sent them. options: likewise.
    """

    orders: list[Order]
    streams: bool
    fields: Sequence[str]
    given: Sequence[Mapping[str, Any]]
    options: Mapping[str, Any]

    def whole(self, told: list[Told]) -> dict[str, Any]:
        """The answer."""

    def stream(self, reply: Reply) -> AsyncIterator[str]:
        """Events of the answer, as `event` writes them."""


async def answer(service: Service, request: Request, call: Call) -> Response:
    """Answers a call. Raises ApiError where it is refused before anything was sent."""
    note = request.scope["state"]["note"]
    try:
        reply = await service.begin(call.orders)
    except Exception as error:
        raise _counted(service, error, call) from error
    if call.streams:
        return EventStream(service, call, reply, note)
    try:
        told = await _unless_left(request, reply)
    except Exception as error:
        raise _counted(service, error, call) from error
    finally:
        _end(service, call, reply, note)
    return Response(status_code=LEFT) if told is None else JSONResponse(call.whole(told))


def event(data: dict[str, Any] | str, name: str | None = None) -> str:
    """One event of a stream: an object, or a word as it stands."""
    text = data if isinstance(data, str) else json.dumps(data, ensure_ascii=False)
    return f"data: {text}\n\n" if name is None else f"event: {name}\ndata: {text}\n\n"


class EventStream(StreamingResponse):
    """Events of a call; when its client goes away its texts end."""

    def __init__(self, service: Service, call: Call, reply: Reply, note: dict[str, Any]) -> None:
        super().__init__(
            self._events(),
            media_type="text/event-stream",
            headers={"Cache-Control": "no-cache", "X-Accel-Buffering": "no"},
        )
        self._service, self._call, self._reply, self._note = service, call, reply, note

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            _end(self._service, self._call, self._reply, self._note)

    async def _events(self) -> AsyncIterator[str]:
        try:
            async for one in self._call.stream(self._reply):
                yield one
        except Exception as error:
            yield event(_counted(self._service, error, self._call).body)


def _counted(service: Service, error: Exception, call: Call) -> ApiError:
    """As a client is told of it; what is our own fault is written down."""
    found = error_told(error, call.fields)
    if found.status >= 500 and found is not error:
        _log.error("a request failed", exc_info=error)
    service.metrics.failed(found.code or str(found.status))
    return found


async def _unless_left(request: Request, reply: Reply) -> list[Told] | None:
    """All texts; None where the client goes away before."""
    whole, left = asyncio.ensure_future(reply.whole()), asyncio.ensure_future(_left(request))
    try:
        await asyncio.wait({whole, left}, return_when=asyncio.FIRST_COMPLETED)
        return whole.result() if whole.done() else None
    finally:
        for task in (whole, left):
            task.cancel()


async def _left(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _end(service: Service, call: Call, reply: Reply, note: dict[str, Any]) -> None:
    """A request is over, however it ended: it is noted, and recorded where that is asked for."""
    reply.end()
    _note(service, note, reply)
    if service.recorder is not None:
        for one in recorded(call.given, call.options, reply):
            service.recorder.record(one)


def _note(service: Service, note: dict[str, Any], reply: Reply) -> None:
    """What the access log says of a request for text."""
    prompts = {id(one.order.prompt): one.order.prompt for one in reply.told}
    note |= {
        "texts": len(reply.told),
        "prompt_tokens": sum(map(len, prompts.values())),
        "tokens": sum(one.n_tokens for one in reply.told),
        "first_token_milliseconds": None if reply.first_s is None else round(reply.first_s * 1e3, 1),
        "finished": reply.is_whole,
    }
    if service.settings.log_prompts:
        note["prompts"] = [service.tokens.decoded(prompt) for prompt in prompts.values()]
        note["said"] = [one.text for one in reply.told]
