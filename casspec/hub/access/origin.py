"""Keeps out what a browser sends for somebody else's page: a hub without tokens trusts whoever reaches it, and pages reach this machine."""

from __future__ import annotations

from urllib.parse import urlsplit

from starlette.datastructures import Headers

from casspec.server.errors import ApiError
from casspec.server.gate.keys import is_loopback


def check_origin(headers: Headers) -> None:
    """Raises ApiError 403 for a request of a page of another origin."""
    host, origin = headers.get("host", ""), headers.get("origin")
    try:
        _name(host)
        is_foreign = origin is not None and urlsplit(origin).netloc != host
    except ValueError:
        raise _foreign("the Host or Origin header cannot be read") from None
    if is_foreign:
        raise _foreign("the request comes from a page of another origin")


def check_here(headers: Headers) -> None:
    """Raises ApiError 403 for a request under another name than this machine's own.

    A page elsewhere can give its own name the address of this machine; the name it asks for then tells it.
    """
    name = _name(headers.get("host", ""))
    if not is_loopback(name):
        raise _foreign(f"a hub without tokens answers to 127.0.0.1 and localhost, not to '{name}'")


def _name(host: str) -> str:
    return urlsplit(f"//{host}").hostname or ""


def _foreign(why: str) -> ApiError:
    return ApiError(403, why, code="foreign_origin")
