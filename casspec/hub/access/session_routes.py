"""Sessions over HTTP: a browser brings its token once and holds a cookie from then on, which no script can read."""

from __future__ import annotations

import asyncio
from typing import Any

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import JSONResponse, Response

from casspec.hub.access.askers import Asker, Askers
from casspec.hub.access.sessions import COOKIE, LIFE_S, Session, Sessions


class Login(BaseModel):
    """What a browser brings."""

    model_config = ConfigDict(extra="forbid")

    token: str = Field(min_length=1, max_length=512)


def session_routes(askers: Askers, sessions: Sessions) -> APIRouter:
    """The routes under /session."""
    routes = APIRouter(prefix="/session")

    @routes.post("")
    async def begin(request: Request, body: Login) -> Response:
        if await asyncio.to_thread(askers.is_open):
            return JSONResponse(_told(Asker("", "admin"), None))
        asker = await asyncio.to_thread(askers.bringing, body.token)
        sessions.end(request.cookies.get(COOKIE))
        cookie, session = sessions.begin(asker.identity)
        answer = JSONResponse(_told(asker, session), 201)
        is_tls = request.url.scheme == "https"
        answer.set_cookie(COOKIE, cookie, max_age=LIFE_S, secure=is_tls, httponly=True, samesite="strict")
        return answer

    @routes.get("")
    async def one(request: Request) -> Response:
        return JSONResponse(_told(request.state.asker, request.state.session))

    @routes.delete("")
    async def end(request: Request) -> Response:
        sessions.end(request.cookies.get(COOKIE))
        answer = JSONResponse({"csrf": None})
        answer.delete_cookie(COOKIE, httponly=True, samesite="strict")
        return answer

    return routes


def _told(asker: Asker, session: Session | None) -> dict[str, Any]:
    """`csrf` has to stand in the header X-CSRF-Token of whatever changes something; None where nothing has to."""
    return {"csrf": None if session is None else session.csrf, "role": asker.role, "name": asker.name}
