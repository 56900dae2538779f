"""The application: its routes, and what every request passes."""

from __future__ import annotations

import logging
from importlib.metadata import version

from fastapi import Depends, FastAPI, Request
from starlette.responses import JSONResponse, Response

from casspec.hub.job_routes import job_routes
from casspec.hub.origin import SameOrigin
from casspec.hub.profile_routes import profile_routes
from casspec.hub.reports.routes import report_routes
from casspec.hub.settings import HubSettings
from casspec.server import errors
from casspec.server.gate.body_limit import BodyLimit
from casspec.server.gate.keys import check_key
from casspec.storage.errors import JobNotFound, ProfileNotFound, StorageError
from casspec.storage.repository import Repository

_log = logging.getLogger("casspec")


def create_app(repository: Repository, settings: HubSettings) -> FastAPI:
    """An application over one store, which it neither opens nor closes."""
    app = FastAPI(title="casspec hub", version=version("casspec"), docs_url=None, redoc_url=None)
    errors.install(app)
    app.add_exception_handler(JobNotFound, _not_found)
    app.add_exception_handler(ProfileNotFound, _not_found)
    app.add_exception_handler(StorageError, _unavailable)
    app.add_middleware(BodyLimit, max_bytes=settings.max_request_bytes)
    app.add_middleware(SameOrigin, only_here=not settings.api_keys)

    def guarded(request: Request) -> None:
        check_key(request, settings.api_keys)

    app.include_router(job_routes(repository, settings), dependencies=[Depends(guarded)])
    app.include_router(profile_routes(repository), dependencies=[Depends(guarded)])
    app.include_router(report_routes(repository, settings), dependencies=[Depends(guarded)])

    @app.get("/health")
    async def health() -> Response:
        return JSONResponse({"status": "alive"})

    @app.get("/version")
    async def own_version() -> Response:
        return JSONResponse({"version": version("casspec")})

    return app


async def _not_found(request: Request, error: Exception) -> Response:
    return errors.error_response(errors.ApiError(404, " ".join(str(error).split()), code="not_found"))


async def _unavailable(request: Request, error: Exception) -> Response:
    """The store's place is the operator's to know."""
    _log.error("%s", error)
    told = errors.ApiError(503, "the store does not answer; the hub's log says why", code="store_unavailable")
    return errors.error_response(told)
