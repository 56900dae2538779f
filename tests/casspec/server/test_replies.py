"""A request on the event loop: told in order, within its time, and cancelled when nobody listens."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from casspec.runtime.decoding.generation import Generation, Statistics
from casspec.server.errors import ApiError
from casspec.server.replies import Reply
from casspec.server.step_thread import Accepted, Delta, Done, Failed, Order, Scored
from casspec.storage.errors import ContextOverflow


class Steps:
    """A step thread that says what it is told to."""

    def __init__(self) -> None:
        self.cancelled = 0

    def submit(self, orders: list[Order], tell: Any) -> str:
        self.tell = tell
        return "ticket"

    def cancel(self, ticket: str) -> None:
        assert ticket == "ticket"
        self.cancelled += 1


def reply(steps: Steps, n: int = 1, seconds: float = 60.0, ended: list[Reply] | None = None) -> Reply:
    ended = [] if ended is None else ended
    return Reply(steps, [Order([1])] * n, seconds, ended.append)  # type: ignore[arg-type]


def over(text: str) -> Done:
    return Done(Generation([1, 2], Statistics(reused_tokens=3), text))


def test_everything_told_of_each_text_is_kept() -> None:
    async def main() -> None:
        steps, ended = Steps(), list[Reply]()
        one = reply(steps, 2, ended=ended)
        for index, event in [
            (0, Accepted()),
            (1, Scored([])),
            (0, Delta("a", [1, 2], [])),
            (1, Delta("", [1], [])),
            (0, Delta("b", [1], [])),
            (0, over("ab")),
            (1, over("c")),
        ]:
            steps.tell(index, event)
        await one.accepted()
        told = await one.whole()
        assert [(text.text, text.n_tokens, text.statistics.reused_tokens) for text in told] == [
            ("ab", 3, 3),
            ("c", 1, 3),
        ]
        assert one.is_whole
        assert one.first_s is not None
        assert len(one.gaps_s) == 1
        one.end()
        one.end()
        assert (steps.cancelled, ended) == (0, [one])

    asyncio.run(main())


def test_a_request_that_nobody_listens_to_is_cancelled_once() -> None:
    async def main() -> None:
        steps, ended = Steps(), list[Reply]()
        one = reply(steps, ended=ended)
        one.end()
        one.end()
        steps.tell(0, over("late"))
        assert (steps.cancelled, ended) == (1, [one])

    asyncio.run(main())


def test_why_it_failed_is_raised() -> None:
    async def main() -> None:
        steps = Steps()
        refused, failed, cut = reply(steps), None, None
        steps.tell(0, Failed(ContextOverflow("too long")))
        with pytest.raises(ContextOverflow):
            await refused.accepted()
        failed = reply(steps)
        steps.tell(0, Failed(RuntimeError("kaput")))
        with pytest.raises(RuntimeError, match="kaput"):
            await failed.whole()
        cut = reply(steps)
        cut.cut(ApiError(503, "the server ends"))
        with pytest.raises(ApiError, match="the server ends"):
            await cut.whole()

    asyncio.run(main())


def test_its_time_is_up() -> None:
    async def main() -> None:
        with pytest.raises(ApiError, match="longer than 0 s"):
            await reply(Steps(), seconds=0.0).whole()

    asyncio.run(main())
