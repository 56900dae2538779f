"""Recorded requests, asked again at the pace they came: a file of OpenAI's batch format with arrival times, as `casspec serve` records."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from casspec.storage.errors import SuiteError
from casspec.tuner.engines.asked import CHAT, COMPLETIONS, RESPONSES, STREAMED
from casspec.tuner.engines.endpoint import Asked

LIMITS = {
    CHAT: ("max_tokens", "max_completion_tokens"),
    COMPLETIONS: ("max_tokens",),
    RESPONSES: ("max_output_tokens",),
}
"""Paths of recorded requests, and how they limit the answer."""


def is_traffic(path: Path) -> bool:
    """Whether a file's first line is a recorded request."""
    try:
        with path.open("rb") as file:
            return _arrival(json.loads(file.readline())) is not None
    except (OSError, ValueError):
        return False


def recorded_requests(path: Path, model: str, speed: float = 1.0, most: int | None = None) -> list[Asked]:
    """Requests in the order they came, each after the time that passed since the first over `speed`.

    Answers are asked to be as long as they were: the limit is the recorded output where the request set none.

    Raises SuiteError, naming the line, for what is no recorded request.
    """
    lines = path.read_bytes().splitlines()
    found = [_asked(path, number, line, model) for number, line in enumerate(lines, start=1)]
    if not found:
        raise SuiteError(f"{path} holds no request")
    found.sort(key=lambda each: each.after_s or 0.0)
    first = found[0].after_s or 0.0
    return [replace(each, after_s=((each.after_s or 0.0) - first) / speed) for each in found[:most]]


def _asked(path: Path, number: int, line: bytes, model: str) -> Asked:
    """A line as a request, at the time that it came."""
    try:
        row = json.loads(line)
        arrival, url, body = _arrival(row), row["url"], dict(row["body"])
        if "messages" in body:
            body["messages"] = [_as_sent(message) for message in body["messages"]]
        tokens = int(row["casspec"].get("output_tokens") or 1) if arrival is not None else 1
        each = -(-tokens // int(body.get("n") or 1))
    except (ValueError, LookupError, TypeError, AttributeError):
        raise SuiteError(
            f"{path}, line {number} is no recorded request: expected one of `casspec serve --record-traffic`"
        ) from None
    if arrival is None or url not in LIMITS:
        raise SuiteError(f"{path}, line {number} has no arrival time or another path than {', '.join(LIMITS)}")
    names = LIMITS[url]
    limit = {} if any(body.get(name) is not None for name in names) else {names[0]: max(1, each)}
    streamed = {"stream": True} if url == RESPONSES else STREAMED
    return Asked(url, body | limit | {"model": model, **streamed}, arrival)


def _as_sent(message: dict[str, Any]) -> dict[str, Any]:
    """A message as clients send it: those of /v1/responses are recorded as templates take them, with a call's arguments as an object."""
    calls = message.get("tool_calls")
    if not calls:
        return message
    return {**message, "tool_calls": [{**call, "function": _written(call["function"])} for call in calls]}


def _written(function: dict[str, Any]) -> dict[str, Any]:
    arguments = function.get("arguments")
    return function if isinstance(arguments, str) else {**function, "arguments": json.dumps(arguments)}


def _arrival(row: Any) -> float | None:
    about = row.get("casspec") if isinstance(row, dict) else None
    arrived = about.get("arrived_at") if isinstance(about, dict) else None
    return float(arrived) if isinstance(arrived, int | float) else None
