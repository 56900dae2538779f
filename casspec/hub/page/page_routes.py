"""Hands out the page's files. They are open: what they show they ask for."""

from __future__ import annotations

from pathlib import Path

from fastapi import APIRouter
from starlette.responses import Response

from casspec.server.errors import ApiError

FOLDER = Path(__file__).parent

KINDS = {".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; "
    "frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
)
"""What a browser lets the page do: nothing from elsewhere, nothing inline."""

HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}


def page_routes() -> APIRouter:
    """The routes / and /page."""
    routes = APIRouter(include_in_schema=False)
    files = {path.name: path.read_bytes() for path in FOLDER.iterdir() if path.suffix in KINDS}

    @routes.get("/")
    async def page() -> Response:
        return _answer("index.html", files["index.html"])

    @routes.get("/page/{name}")
    async def file(name: str) -> Response:
        if name not in files:
            raise ApiError(404, f"the page has no file {name!r}", code="not_found")
        return _answer(name, files[name])

    return routes


def _answer(name: str, content: bytes) -> Response:
    return Response(content, headers=HEADERS, media_type=KINDS[Path(name).suffix])
