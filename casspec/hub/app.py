"""The application: its routes, and what every request passes."""

from __future__ import annotations

import logging
from importlib.metadata import version

from fastapi import FastAPI, Request
from starlette.responses import JSONResponse, Response

from casspec.hub.access.install import install
from casspec.hub.api.job_routes import job_routes
from casspec.hub.api.overview_routes import overview_routes
from casspec.hub.api.profile_routes import profile_routes
from casspec.hub.page.page_routes import page_routes
from casspec.hub.reports.routes import report_routes
from casspec.hub.settings import HubSettings
from casspec.server import errors
from casspec.storage.errors import JobNotFound, ProfileNotFound, QueueFull, StorageError
from casspec.storage.repository import Repository

_log = logging.getLogger("casspec")

QUEUE_RETRY_S = 60
"""When to come again where the queue is full: a job takes minutes."""


def create_app(repository: Repository, settings: HubSettings) -> FastAPI:
    """An application over one store, which it neither opens nor closes."""
    app = FastAPI(title="casspec hub", version=version("casspec"), docs_url=None, redoc_url=None)
    errors.install(app)

    async def not_found(request: Request, error: Exception) -> Response:
        """The store's place is the operator's to know."""
        told = " ".join(str(error).replace(repository.place, "this hub").split())
        return errors.error_response(errors.ApiError(404, told, code="not_found"))

    app.add_exception_handler(JobNotFound, not_found)
    app.add_exception_handler(ProfileNotFound, not_found)
    app.add_exception_handler(StorageError, _unavailable)
    app.add_exception_handler(QueueFull, _queue_full)
    install(app, repository.tokens, settings, _unavailable)
    app.include_router(job_routes(repository, settings))
    app.include_router(profile_routes(repository))
    app.include_router(overview_routes(repository))
    app.include_router(report_routes(repository, settings))
    app.include_router(page_routes())

    @app.get("/health")
    async def health() -> Response:
        return JSONResponse({"status": "alive"})

    @app.get("/version")
    async def own_version() -> Response:
        return JSONResponse({"version": version("casspec")})

    return app


async def _queue_full(request: Request, error: Exception) -> Response:
    headers = {"Retry-After": str(QUEUE_RETRY_S)}
    return errors.error_response(errors.ApiError(429, str(error), code="queue_full", headers=headers))


async def _unavailable(request: Request, error: Exception) -> Response:
    """The store's place is the operator's to know."""
    _log.error("%s", error)
    told = errors.ApiError(503, "the store does not answer; the hub's log says why", code="store_unavailable")
    return errors.error_response(told)
