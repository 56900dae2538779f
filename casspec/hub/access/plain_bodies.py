"""Bodies as they are: a packed one is refused, for its length says nothing of what comes out."""

from __future__ import annotations

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from casspec.server.errors import ApiError, error_response


class PlainBodies:
    """Middleware that refuses requests with a Content-Encoding."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            encoding = Headers(scope=scope).get("content-encoding", "identity")
            if encoding.strip().lower() not in ("", "identity"):
                refusal = ApiError(415, "bodies are taken as they are: leave out Content-Encoding", code="encoded_body")
                await error_response(refusal)(scope, receive, send)
                return
        await self._app(scope, receive, send)
