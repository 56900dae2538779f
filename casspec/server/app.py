"""The application: its routes, and what every request passes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

from fastapi import Depends, FastAPI, Request
from starlette.responses import JSONResponse, Response

from casspec.server import errors
from casspec.server.api.answering import answer
from casspec.server.api.chat import Chat, ChatRequest
from casspec.server.api.completions import Completion, CompletionRequest
from casspec.server.api.responses.response import Response as OneResponse
from casspec.server.api.responses.response import ResponseRequest
from casspec.server.api.tokenizing import DetokenizeRequest, TokenizeRequest, detokenized, tokenized
from casspec.server.figures import figures
from casspec.server.gate.access_log import AccessLog, Logged
from casspec.server.gate.body_limit import BodyLimit
from casspec.server.gate.keys import check_admin, check_key
from casspec.server.reload import Reloader
from casspec.server.service import Service

PAGE = Path(__file__).parent / "page" / "index.html"

POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; img-src data:"
"""What a browser lets the page do: nothing from elsewhere."""


def create_app(service: Service, log: AccessLog | None = None, reloader: Reloader | None = None) -> FastAPI:
    """An application of one service, which it starts and stops."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        service.start()
        yield
        await service.stop()

    app = FastAPI(title="casspec serve", version=version("casspec"), docs_url=None, redoc_url=None, lifespan=lifespan)
    errors.install(app)
    settings = service.settings
    app.add_middleware(BodyLimit, max_bytes=settings.max_request_bytes)
    app.add_middleware(Logged, log=log or AccessLog(settings.access_log))

    def guarded(request: Request) -> None:
        check_key(request, settings.api_keys, settings.admin_keys)

    _add_texts(app, service, [Depends(guarded)])
    _add_operation(app, service, [Depends(guarded)])
    _add_page(app, service, [Depends(guarded)])
    if reloader is not None:
        _add_admin(app, service, reloader)
    return app


def _add_texts(app: FastAPI, service: Service, guard: list[Any]) -> None:
    """Endpoints that answer with text or tokens."""

    async def called(request: Request, build: Callable[[], Any], user: str | None) -> Response:
        service.check_ready()
        request.scope["state"]["note"]["user"] = user
        return await answer(service, request, await asyncio.to_thread(build))

    @app.post("/v1/completions", dependencies=guard)
    async def completions(body: CompletionRequest, request: Request) -> Response:
        return await called(request, lambda: Completion(service, body), body.user)

    @app.post("/v1/chat/completions", dependencies=guard)
    async def chat_completions(body: ChatRequest, request: Request) -> Response:
        return await called(request, lambda: Chat(service, body), body.user)

    @app.post("/v1/responses", dependencies=guard)
    async def responses(body: ResponseRequest, request: Request) -> Response:
        return await called(request, lambda: OneResponse(service, body), body.user)

    @app.post("/tokenize", dependencies=guard)
    async def tokenize(body: TokenizeRequest) -> Response:
        service.check_ready()
        return JSONResponse(await asyncio.to_thread(tokenized, service, body))

    @app.post("/detokenize", dependencies=guard)
    async def detokenize(body: DetokenizeRequest) -> Response:
        service.check_ready()
        return JSONResponse(await asyncio.to_thread(detokenized, service, body))


def _add_operation(app: FastAPI, service: Service, guard: list[Any]) -> None:
    """Endpoints that tell of the server."""

    @app.get("/health")
    async def health() -> Response:
        return JSONResponse({"status": "failed" if service.state == "failed" else "alive"})

    @app.get("/ready")
    async def ready() -> Response:
        return JSONResponse({"status": service.state}, 200 if service.state == "ready" else 503)

    @app.get("/version")
    async def own_version() -> Response:
        return JSONResponse({"version": version("casspec")})

    @app.get("/v1/models", dependencies=guard)
    async def models() -> Response:
        service.check_ready()
        return JSONResponse({"object": "list", "data": [_model(service)]})

    @app.get("/v1/models/{name:path}", dependencies=guard)
    async def model(name: str) -> Response:
        service.check_ready()
        if name != service.settings.model_name:
            raise errors.ApiError(404, f"no model '{name}' is served here", "model", "model_not_found")
        return JSONResponse(_model(service))

    @app.get("/metrics", dependencies=guard)
    async def metrics() -> Response:
        page, kind = service.metrics.page()
        return Response(page, headers={"Content-Type": kind})


def _add_page(app: FastAPI, service: Service, guard: list[Any]) -> None:
    """The page at `/`, which asks for figures every second."""

    @app.get("/", include_in_schema=False)
    async def page() -> Response:
        return Response(PAGE.read_bytes(), headers={"Content-Security-Policy": POLICY}, media_type="text/html")

    @app.get("/figures", dependencies=guard)
    async def own_figures() -> Response:
        return JSONResponse(figures(service))


def _add_admin(app: FastAPI, service: Service, reloader: Reloader) -> None:
    """What operators ask for, with a key of their own."""

    @app.post("/admin/reload")
    async def reload(request: Request) -> Response:
        check_admin(request, service.settings.admin_keys)
        return JSONResponse({"message": await reloader.reload()})


def _model(service: Service) -> dict[str, Any]:
    return {
        "id": service.settings.model_name,
        "object": "model",
        "created": service.created,
        "owned_by": "casspec",
        "max_model_len": service.engines.target.max_context,
    }
