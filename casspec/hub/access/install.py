"""Puts everything that a request passes around an application."""

from __future__ import annotations

from fastapi import FastAPI

from casspec.hub.access.answer_headers import AnswerHeaders
from casspec.hub.access.askers import Askers
from casspec.hub.access.guard import Guard, WhenStoreFails
from casspec.hub.access.plain_bodies import PlainBodies
from casspec.hub.access.rate import RateLimit
from casspec.hub.access.session_routes import session_routes
from casspec.hub.access.sessions import Sessions
from casspec.hub.settings import HubSettings
from casspec.server.gate.body_limit import BodyLimit
from casspec.storage.tokens import Tokens


def install(app: FastAPI, tokens: Tokens, settings: HubSettings, when_store_fails: WhenStoreFails) -> None:
    """Guards all of an application, and adds the routes of sessions.

    Args:
        when_store_fails: see `Guard`.
    """
    askers = Askers(tokens, settings.api_keys, settings.is_local)
    sessions = Sessions()
    app.include_router(session_routes(askers, sessions))
    # The last one added is passed first.
    app.add_middleware(BodyLimit, max_bytes=settings.max_request_bytes)
    app.add_middleware(PlainBodies)
    app.add_middleware(
        Guard,
        askers=askers,
        sessions=sessions,
        limit=RateLimit(settings.max_rate),
        when_store_fails=when_store_fails,
    )
    app.add_middleware(AnswerHeaders)
