"""A line a request, with what its answer noted."""

from __future__ import annotations

import asyncio
import io
import json
from pathlib import Path
from typing import Any

import pytest

from casspec.server.gate.access_log import AccessLog, Logged
from casspec.storage.errors import UnsupportedOption


def logged(path: str, status: int | None) -> list[dict[str, Any]]:
    stream = io.StringIO()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        scope["state"]["note"] |= {"tokens": 3, "user": None}
        if status is not None:
            await send({"type": "http.response.start", "status": status})

    async def send(message: Any) -> None:
        pass

    scope = {"type": "http", "method": "GET", "path": path, "client": ("1.2.3.4", 5)}
    asyncio.run(Logged(app, AccessLog(None, stream))(scope, None, send))  # type: ignore[arg-type]
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_line_has_who_what_and_how_long() -> None:
    (line,) = logged("/v1/models", 200)
    assert {name: line[name] for name in ("client", "method", "path", "status", "tokens")} == {
        "client": "1.2.3.4",
        "method": "GET",
        "path": "/v1/models",
        "status": 200,
        "tokens": 3,
    }
    assert line["milliseconds"] >= 0
    assert "user" not in line


def test_a_client_that_went_away_has_a_status_too() -> None:
    assert logged("/v1/models", None)[0]["status"] == 499


def test_what_breaks_is_logged_as_that() -> None:
    stream = io.StringIO()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        raise RuntimeError("kaput")

    with pytest.raises(RuntimeError):
        asyncio.run(Logged(app, AccessLog(None, stream))({"type": "http", "method": "GET", "path": "/"}, None, None))  # type: ignore[arg-type]
    assert json.loads(stream.getvalue())["status"] == 500


@pytest.mark.parametrize(("status", "lines"), [(200, 0), (503, 0), (500, 1)])
def test_what_machines_ask_every_second_is_quiet(status: int, lines: int) -> None:
    assert len(logged("/ready", status)) == lines


def test_lines_are_appended_to_a_file(tmp_path: Path) -> None:
    place = tmp_path / "log"
    place.write_text("before\n", "utf-8")
    AccessLog(place).write({"a": 1})
    assert place.read_text("utf-8") == 'before\n{"a": 1}\n'
    with pytest.raises(UnsupportedOption, match="cannot be written"):
        AccessLog(tmp_path / "none" / "log")
    AccessLog(None).write({"a": 1})
