"""Requests to a hub over the standard library: a key that goes nowhere else, answers up to a size, errors in one line."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.client import HTTPException, HTTPResponse
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import quote, urlencode, urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from casspec.storage.errors import HubError, HubUnreachable

LARGEST_BYTES = 1 << 30
"""Of an answer; a larger one is refused."""

SCHEMES = {"http": "http", "https": "https", "hub": "http", "hubs": "https"}
"""By the scheme of a hub's URL; hubs is hub over TLS."""


class _NoRedirects(HTTPRedirectHandler):
    """A hub answers itself: whoever sends its clients elsewhere would be handed their key."""

    def redirect_request(self, *arguments: Any) -> None:
        return None


class Transport:
    """To one hub.

    Args:
        url: http://host:port, https://host:port, or the same with hub:// and hubs://. key: where it wants one. timeout_s: of silence.

    Raises HubError for a URL of another kind, or a key that is no ASCII.
    """

    def __init__(self, url: str, key: str | None = None, timeout_s: float = 30.0) -> None:
        self.base = base_of(url)
        if key is not None and not (key.isascii() and key.isprintable()):
            raise HubError("the key of a hub takes printable ASCII characters")
        self._key, self._timeout_s = key, timeout_s
        self._opener = build_opener(_NoRedirects)

    def json(self, method: str, path: list[str], body: Any = None, query: Mapping[str, Any] | None = None) -> Any:
        """The answer as JSON. Raises as `bytes`, and HubError for what is no JSON."""
        content = self.bytes(method, path, body, query)
        try:
            return json.loads(content)
        except ValueError:
            raise HubError(f"{self.base} answers with what is no JSON: is it a hub?") from None

    def bytes(self, method: str, path: list[str], body: Any = None, query: Mapping[str, Any] | None = None) -> bytes:
        """The answer. Raises HubUnreachable where there is none, HubError where it is a refusal or too large."""
        with self._asked(method, path, body, query) as answer:
            content = answer.read(LARGEST_BYTES + 1)
        if len(content) > LARGEST_BYTES:
            raise HubError(f"{self.base} answers with more than {LARGEST_BYTES} bytes")
        return content

    def lines(self, path: list[str]) -> Iterator[str]:
        """Lines of an answer as they come. Raises as `bytes`."""
        with self._asked("GET", path) as answer:
            for line in answer:
                yield line.decode("utf-8", "replace").rstrip("\r\n")

    @contextmanager
    def _asked(
        self, method: str, path: list[str], body: Any = None, query: Mapping[str, Any] | None = None
    ) -> Iterator[HTTPResponse]:
        try:
            with self._opener.open(self._request(method, path, body, query), timeout=self._timeout_s) as answer:
                yield answer
        except HTTPError as error:
            raise _refusal(self.base, error) from None
        except URLError as error:
            if body is not None and isinstance(error.reason, ConnectionResetError | BrokenPipeError):
                raise HubError(
                    f"{self.base} took no more of the request: one that is too large takes a larger --max-request-mib of the hub"
                ) from None
            raise HubUnreachable(_away(self.base, error.reason)) from None
        except (OSError, HTTPException, UnicodeError) as error:  # the last of a host that no name can be
            raise HubUnreachable(_away(self.base, error)) from None

    def _request(self, method: str, path: list[str], body: Any, query: Mapping[str, Any] | None) -> Request:
        asked = {name: value for name, value in (query or {}).items() if value is not None}
        url = "/".join([self.base, "v1", *(quote(part, safe="") for part in path)])
        headers = {"Accept": "application/json, text/event-stream, application/octet-stream"}
        if self._key is not None:
            headers["Authorization"] = f"Bearer {self._key}"
        data = None
        if body is not None:
            data, headers["Content-Type"] = json.dumps(body).encode(), "application/json"
        return Request(f"{url}?{urlencode(asked)}" if asked else url, data, headers, method=method)


def base_of(url: str) -> str:
    """scheme://host:port of a hub's URL. Raises HubError for any other, which is not repeated: it may hold a password."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        parts, port = urlsplit(""), None
    if parts.scheme not in SCHEMES or not parts.hostname or parts.username is not None:
        raise HubError(
            "the URL of the hub cannot be used: expected http://HOST:PORT, https://HOST:PORT, hub:// or hubs://, without a user; "
            "a key goes in CASSPEC_HUB_KEY"
        )
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return f"{SCHEMES[parts.scheme]}://{host}" + ("" if port is None else f":{port}")


def _refusal(base: str, error: HTTPError) -> HubError:
    """What the hub says, in one line. One whose store does not answer, or that a proxy cannot reach, is away."""
    try:
        told = " ".join(str(json.loads(error.read(1 << 16))["error"]["message"]).split())[:1000]
    except (ValueError, KeyError, TypeError, OSError, HTTPException):
        told = f"status {error.code}"
    if error.code >= 500:
        return HubUnreachable(_away(base, told))
    hint = "; set CASSPEC_HUB_KEY" if error.code == 401 else ""
    refusal = HubError(f"{base} refuses: {told}{hint}")
    refusal.status = error.code
    return refusal


def _away(base: str, why: object) -> str:
    return f"the hub at {base} does not answer ({' '.join(str(why).split())}): check the URL, and that `casspec hub` runs there"
