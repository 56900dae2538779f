"""Bodies up to a size: a longer one is refused before it is read whole, a slow one after a time."""

from __future__ import annotations

import asyncio

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from casspec.server.errors import ApiError, error_response

MOST_BYTES = "casspec.most_bytes"
"""Of a request's scope: a smaller limit, where whoever let it in has one."""

READ_SECONDS = 60.0
"""In which a body has to arrive."""


class BodyLimit:
    """Middleware that reads a request's body before anybody else does.

    Args:
        max_bytes: of a body. seconds: in which it has to be there.
    """

    def __init__(self, app: ASGIApp, max_bytes: int, seconds: float = READ_SECONDS) -> None:
        self._app, self._max_bytes, self._seconds = app, max_bytes, seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] in ("GET", "HEAD"):
            await self._app(scope, receive, send)
            return
        try:
            async with asyncio.timeout(self._seconds):
                body = await self._body(scope, receive)
        except TimeoutError:
            late = ApiError(408, f"the body did not arrive within {self._seconds:g} s", code="timeout")
            await error_response(late)(scope, receive, send)
            return
        except ApiError as error:
            error.headers["Connection"] = "close"
            await error_response(error)(scope, receive, send)
            return
        if body is None:
            return
        first: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

        async def read() -> Message:
            return first.pop() if first else await receive()

        await self._app(scope, read, send)

    async def _body(self, scope: Scope, receive: Receive) -> bytes | None:
        """All of it; None where the client went away."""
        most = min(self._max_bytes, scope.get(MOST_BYTES, self._max_bytes))
        announced = dict(scope["headers"]).get(b"content-length", b"0")
        if announced.isdigit() and int(announced) > most:
            raise _too_long(most)
        parts, size, more = [], 0, True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return None
            parts.append(message.get("body", b""))
            size += len(parts[-1])
            if size > most:
                raise _too_long(most)
            more = message.get("more_body", False)
        return b"".join(parts)


def _too_long(most: int) -> ApiError:
    return ApiError(413, f"the body is longer than {most} bytes: split it", code="request_too_large")
