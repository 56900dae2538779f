"""Keeps out what a browser sends for somebody else's page: a hub without keys trusts whoever reaches it, and pages reach this machine."""

from __future__ import annotations

from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from casspec.server.errors import ApiError, error_response
from casspec.server.gate.keys import is_loopback


class SameOrigin:
    """Middleware that refuses requests of another origin, and where `only_here` those under another name than this machine's own.

    A page elsewhere can give its own name the address of this machine; the name it asks for then tells it.
    """

    def __init__(self, app: ASGIApp, only_here: bool) -> None:
        self._app, self._only_here = app, only_here

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and (why := self._refusal(Headers(scope=scope))):
            await error_response(ApiError(403, why, code="foreign_origin"))(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _refusal(self, headers: Headers) -> str | None:
        host, origin = headers.get("host", ""), headers.get("origin")
        try:
            name = urlsplit(f"//{host}").hostname or ""
            is_foreign = origin is not None and urlsplit(origin).netloc != host
        except ValueError:
            return "the Host or Origin header cannot be read"
        if is_foreign:
            return "the request comes from a page of another origin"
        if self._only_here and not is_loopback(name):
            return f"a hub without keys answers to 127.0.0.1 and localhost, not to '{name}'"
        return None
