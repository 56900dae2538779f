"""A line of JSON a request: who asked for what, how it was answered, and what that took. No prompts and no texts, unless asked for."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import IO, Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from casspec.storage.errors import UnsupportedOption

QUIET = {"/health", "/ready", "/metrics", "/figures"}
"""Asked by machines every few seconds; a line only where the server itself fails."""


class AccessLog:
    """Where lines go.

    Args:
        place: a file that is appended to, "-" for stderr, None for nowhere.

    Raises UnsupportedOption for a file that cannot be written.
    """

    def __init__(self, place: Path | str | None, stream: IO[str] | None = None) -> None:
        self._stream = stream
        if place is not None and stream is None:
            try:
                self._stream = sys.stderr if place == "-" else open(place, "a", encoding="utf-8")  # noqa: SIM115
            except OSError as error:
                raise UnsupportedOption(f"--access-log {place} cannot be written: {error}") from error

    def write(self, line: dict[str, Any]) -> None:
        """One line, its empty fields left out."""
        if self._stream is not None:
            told = {name: value for name, value in line.items() if value is not None}
            self._stream.write(json.dumps(told) + "\n")
            self._stream.flush()


class Logged:
    """Middleware that writes a line when an answer is over. Whoever answers adds to `scope["state"]["note"]`."""

    def __init__(self, app: ASGIApp, log: AccessLog) -> None:
        self._app, self._log = app, log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        note: dict[str, Any] = {}
        scope.setdefault("state", {})["note"] = note
        begin, status = time.perf_counter(), 499  # a client that went away before it was answered

        async def watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, watched)
        except Exception:
            status = 500  # answered outside of all middleware
            raise
        finally:
            if scope["path"] not in QUIET or status == 500:
                client = scope.get("client")
                line = {
                    "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
                    "client": client[0] if client else None,
                    "method": scope["method"],
                    "path": scope["path"],
                    "status": status,
                    "milliseconds": round((time.perf_counter() - begin) * 1e3, 1),
                }
                self._log.write(line | note)
