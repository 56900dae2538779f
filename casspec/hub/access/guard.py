"""The door: whatever is not let in here reaches no route, and no body of it is read."""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Awaitable, Callable

from starlette.requests import HTTPConnection, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from casspec.hub.access.askers import Asker, Askers, unknown
from casspec.hub.access.origin import check_here, check_origin
from casspec.hub.access.rate import RateLimit
from casspec.hub.access.roles import SAFE, role_of, suffices
from casspec.hub.access.sessions import COOKIE, CSRF_HEADER, Session, Sessions
from casspec.server.errors import ApiError, error_response
from casspec.server.gate.body_limit import MOST_BYTES
from casspec.storage.errors import StorageError
from casspec.storage.tokens import Role

OPEN_BYTES = 4096
"""Of a body that anybody may send."""

WhenStoreFails = Callable[[Request, Exception], Awaitable[Response]]


class Guard:
    """Middleware that lets in who may, and tells routes who it is: `request.state.asker`, and `request.state.session` of a browser.

    Args:
        when_store_fails: answers where the store cannot say who asks.
    """

    def __init__(
        self, app: ASGIApp, askers: Askers, sessions: Sessions, limit: RateLimit, when_store_fails: WhenStoreFails
    ) -> None:
        self._app, self._askers, self._sessions, self._limit = app, askers, sessions, limit
        self._when_store_fails = when_store_fails

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
            return
        request = Request(scope)
        try:
            request.state.asker, request.state.session = await self._let_in(request)
        except ApiError as error:
            await error_response(error)(scope, receive, send)
        except StorageError as error:
            await (await self._when_store_fails(request, error))(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _let_in(self, request: Request) -> tuple[Asker | None, Session | None]:
        """Who asks, and in which session. Raises ApiError: 401, 403, 429."""
        check_origin(request.headers)
        address = f"address {request.client.host}" if request.client else "address"
        failures = f"guesses of {address}"
        needs = role_of(request.method, request.scope["path"])  # the URL is put together from the Host header too
        if needs is None:
            request.scope[MOST_BYTES] = OPEN_BYTES
            await self._pass_by(request, failures)
            return None, None
        try:
            asker, session = await self._asker(request, address)
        except ApiError:
            self._limit.draw(failures)
            raise
        self._limit.draw(asker.identity)
        _check_role(asker, needs)
        if session is not None:
            _check_csrf(request, session)
        return asker, session

    async def _pass_by(self, request: Request, failures: str) -> None:
        """Lets in who asks for what is open. What only tells costs no more than a refusal, and monitors are never refused."""
        if request.method not in SAFE:
            if await asyncio.to_thread(self._askers.is_open):
                check_here(request.headers)
            self._limit.draw(failures)

    async def _asker(self, request: Request, address: str) -> tuple[Asker, Session | None]:
        scheme, _, brought = request.headers.get("authorization", "").partition(" ")
        if scheme:
            if scheme.lower() != "bearer":
                raise unknown()
            return await asyncio.to_thread(self._askers.bringing, brought.strip()), None
        session = self._sessions.find(request.cookies.get(COOKIE))
        if session is not None:
            return await asyncio.to_thread(self._askers.of_hash, session.token_hash), session
        if not await asyncio.to_thread(self._askers.is_open):
            raise unknown()
        check_here(request.headers)
        return Asker(address, "admin"), None


def _check_role(asker: Asker, needs: Role) -> None:
    if not suffices(asker.role, needs):
        raise ApiError(403, f"this needs a token of role {needs}; '{asker.name}' has {asker.role}", code="role_needed")


def _check_csrf(connection: HTTPConnection, session: Session) -> None:
    """A page elsewhere makes a browser send its cookies, and cannot know what stands in this header."""
    if connection.scope["method"] in SAFE:
        return
    brought = connection.headers.get(CSRF_HEADER, "")
    if not hmac.compare_digest(brought.encode("utf-8", "surrogateescape"), session.csrf.encode()):
        raise ApiError(403, "send X-CSRF-Token with what GET /session answers", code="csrf_token_needed")
