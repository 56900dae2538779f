"""The thread that computes tells what happens, in order, and outlives whatever goes wrong in it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from itertools import count
from typing import Any

import pytest

from casspec.server.engines import Engines
from casspec.server.step_thread import Accepted, Delta, Done, Event, Failed, Order, Scored, StepThread
from casspec.storage.errors import UnsupportedOption
from tests.casspec.server.serving import alone, methods_of, with_settings

LONG = {"max_new_tokens": 300, "ignore_eos": True}


def with_thread(
    work: Callable[[StepThread], Awaitable[None]], load: Callable[[], Engines] | None = None
) -> BaseException | None:
    """Runs `work` beside a step thread; what loading failed with."""

    async def main() -> BaseException | None:
        loaded: asyncio.Future[BaseException | None] = asyncio.get_running_loop().create_future()
        thread = StepThread(
            load or (lambda: Engines(methods_of(), with_settings())), asyncio.get_running_loop(), loaded.set_result
        )
        thread.start()
        failure = await loaded
        if failure is None:
            await work(thread)
        thread.stop()
        await asyncio.to_thread(thread.join)
        return failure

    return asyncio.run(main())


class Heard:
    """What is told of a request."""

    def __init__(self, thread: StepThread, *orders: Order) -> None:
        self.events: list[tuple[int, Event]] = []
        self._n_over, self._n_orders = 0, len(orders)
        self._over, self.begun = asyncio.Event(), asyncio.Event()
        self.ticket = thread.submit(list(orders), self._hear)

    def _hear(self, index: int, event: Event) -> None:
        self.events.append((index, event))
        self._n_over += isinstance(event, Done)
        if isinstance(event, Delta):
            self.begun.set()
        if isinstance(event, Failed) or self._n_over == self._n_orders:
            self._over.set()

    async def over(self) -> Heard:
        await asyncio.wait_for(self._over.wait(), 60)
        return self

    def text(self, index: int = 0) -> str:
        return "".join(event.text for at, event in self.events if at == index and isinstance(event, Delta))


def test_texts_are_told_as_they_come() -> None:
    async def work(thread: StepThread) -> None:
        orders = [Order([5, 9, 300], {"max_new_tokens": 20, "temperature": 0.8, "seed": 3}, place) for place in (0, 1)]
        heard = await Heard(thread, *orders).over()
        assert isinstance(heard.events[0][1], Accepted)
        for place in (0, 1):
            (generation,) = [event.generation for at, event in heard.events if at == place and isinstance(event, Done)]
            assert generation is not None
            assert heard.text(place) == generation.text
            told = [
                token
                for at, event in heard.events
                if at == place and isinstance(event, Delta)
                for token in event.tokens
            ]
            assert told == generation.token_ids

    assert with_thread(work) is None


def test_a_prompt_is_read_between_the_steps_of_others(unhurried: None) -> None:
    async def work(thread: StepThread) -> None:
        running = Heard(thread, Order([1, 2], LONG))
        await running.begun.wait()
        scored = await Heard(thread, Order([5, 9] * 150, {}, scored=1, generates=False)).over()
        assert not any(isinstance(event, Done) for _, event in running.events)
        (scores,) = [event for _, event in scored.events if isinstance(event, Scored)]
        assert [one.token for one in scores.logprobs] == ([5, 9] * 150)[1:]
        assert scored.events[-1][1] == Done(None)
        await running.over()

    assert with_thread(work) is None


def test_an_order_that_cannot_be_taken_fails_alone_and_takes_the_others_of_its_request_along() -> None:
    async def work(thread: StepThread) -> None:
        running = Heard(thread, Order([5, 9, 300], {"max_new_tokens": 100}))
        bad = await Heard(thread, Order([1], LONG), Order([1], {"top_p": 7.0})).over()
        ((_, event),) = bad.events
        assert isinstance(event, Failed)
        assert isinstance(event.error, UnsupportedOption)
        await running.over()
        assert running.text() == alone([5, 9, 300], max_new_tokens=100).text
        assert thread.engines.load().n_running == 0

    assert with_thread(work) is None


def test_a_cancelled_request_is_gone_within_a_step() -> None:
    async def work(thread: StepThread) -> None:
        left = Heard(thread, Order([1, 2], LONG), Order([1, 2, 3], LONG))
        await left.begun.wait()
        thread.cancel(left.ticket)
        n_running: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        loop = asyncio.get_running_loop()
        thread.call(lambda engines: None)
        await Heard(thread, Order([1], {"max_new_tokens": 1})).over()
        thread.call(lambda engines: loop.call_soon_threadsafe(n_running.set_result, engines.load().n_running))
        assert await n_running == 0
        assert not any(isinstance(event, Done | Failed) for _, event in left.events)

    assert with_thread(work) is None


def test_a_step_that_breaks_fails_its_texts_and_the_next_ones_run(monkeypatch: pytest.MonkeyPatch) -> None:
    async def work(thread: StepThread) -> None:
        step, steps = Engines.step, count(1)

        def breaks(engines: Engines) -> Any:
            if next(steps) < 3:
                return step(engines)
            monkeypatch.setattr(Engines, "step", step)
            raise RuntimeError("kaput")

        monkeypatch.setattr(Engines, "step", breaks)
        broken = Heard(thread, Order([1, 2], LONG))
        await broken.over()
        event = broken.events[-1][1]
        assert isinstance(event, Failed)
        assert str(event.error) == "kaput"
        thread.call(lambda engines: 1 // 0)  # type: ignore[arg-type, return-value]
        again = await Heard(thread, Order([5, 9, 300], {"max_new_tokens": 10})).over()
        assert again.text() == alone([5, 9, 300], max_new_tokens=10).text

    assert with_thread(work) is None


def test_what_loading_fails_with_is_told() -> None:
    def load() -> Engines:
        raise UnsupportedOption("no such device")

    async def work(thread: StepThread) -> None:
        raise AssertionError

    assert str(with_thread(work, load)) == "no such device"
