"""Events are numbered and named; one that tells of a failure ends them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

from casspec.server.api.responses.events import ResponseEvents
from casspec.server.step_thread import Delta

ANSWER: Any = SimpleNamespace(
    fields=[],
    opened=lambda: {"status": "in_progress"},
    told=lambda one: {"status": "completed"},
    pushed=lambda happened: [("output_text.delta", {"delta": happened.text})] if happened.text else [],
    finished=lambda one: [("output_text.done", {"text": one.text})],
)


def events(*happened: Delta | Exception) -> list[tuple[str, dict[str, Any]]]:
    async def told() -> AsyncIterator[Any]:
        for one in happened:
            if isinstance(one, Exception):
                raise one
            yield 0, one

    async def main() -> list[str]:
        reply: Any = SimpleNamespace(told=[SimpleNamespace(text="ab")], events=told)
        return [one async for one in ResponseEvents(ANSWER).of(reply)]

    written = [one.strip().split("\n") for one in asyncio.run(main())]
    return [(name.removeprefix("event: "), json.loads(data.removeprefix("data: "))) for name, data in written]


def test_a_text_is_told_in_parts_then_whole() -> None:
    told = events(Delta("a", [1], []), Delta("", [2], []), Delta("b", [3], []))
    assert [data["delta"] for name, data in told if name.endswith("delta")] == ["a", "b"]
    assert [data["sequence_number"] for _, data in told] == list(range(len(told)))
    assert all(data["type"] == name for name, data in told)
    assert told[-2] == (
        "response.output_text.done",
        {"type": "response.output_text.done", "sequence_number": 4, "text": "ab"},
    )
    assert told[-1][0] == "response.completed"


def test_a_failure_is_the_last_event() -> None:
    name, data = events(Delta("a", [1], []), RuntimeError("secret"))[-1]
    assert (name, data["response"]["status"]) == ("response.failed", "failed")
    assert "secret" not in data["response"]["error"]["message"]
