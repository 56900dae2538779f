"""A request on the event loop: what the step thread tells of its texts, in order, until all are over or nobody listens."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

from casspec.runtime.decoding.generation import Generation, Statistics
from casspec.runtime.text.logprobs import TokenLogprobs
from casspec.server.errors import ApiError
from casspec.server.step_thread import Delta, Done, Event, Failed, Order, Scored, StepThread


@dataclass
class Told:
    """All that was told of one text.

    Attributes:
        scores: of the prompt, where they were asked for. generation: what it came to. n_tokens: that came so far.
    """

    order: Order
    scores: list[TokenLogprobs] = field(default_factory=list)
    generation: Generation | None = None
    n_tokens: int = 0

    @property
    def text(self) -> str:
        return (self.generation and self.generation.text) or ""

    @property
    def statistics(self) -> Statistics:
        return self.generation.statistics if self.generation else Statistics()

    @property
    def finish_reason(self) -> str:
        return self.generation.finish_reason if self.generation else "length"


class Reply:
    """Texts of one request.

    Args:
        seconds: in which all have to be over.
        on_end: hears once, when nothing is left of it in the step thread.

    Attributes:
        told: by text. first_s: seconds from the beginning to the first token of any; None before it.
        gaps_s: seconds a token, of every step of every text after its first.
    """

    def __init__(self, steps: StepThread, orders: list[Order], seconds: float, on_end: Callable[[Reply], None]) -> None:
        self._steps, self._on_end = steps, on_end
        self._events: asyncio.Queue[tuple[int, Event]] = asyncio.Queue()
        self._begin, self._deadline = time.perf_counter(), seconds
        self._left = len(orders)
        self._ended = False
        self.told = [Told(order) for order in orders]
        self.first_s: float | None = None
        self.gaps_s: list[float] = []
        self._newest: dict[int, float] = {}
        self._ticket = steps.submit(orders, self._hear)

    @property
    def age_s(self) -> float:
        return time.perf_counter() - self._begin

    @property
    def is_whole(self) -> bool:
        """Whether all texts are over."""
        return self._left == 0

    async def accepted(self) -> None:
        """Waits until all texts are in line. Raises why they cannot be."""
        _, event = await self._next()
        if isinstance(event, Failed):
            raise event.error

    async def events(self) -> AsyncIterator[tuple[int, Event]]:
        """(number of the text, what happened), until all are over. Raises what one failed with, and ApiError once the time is up."""
        while self._left:
            index, event = await self._next()
            if isinstance(event, Failed):
                raise event.error
            if isinstance(event, Scored):
                self.told[index].scores = event.logprobs
            elif isinstance(event, Done):
                self.told[index].generation = event.generation
                self._left -= 1
            yield index, event

    async def whole(self) -> list[Told]:
        """All texts, once they are over."""
        async for _ in self.events():
            pass
        return self.told

    def end(self) -> None:
        """Nobody listens any longer; what is not over is cancelled. Twice is once."""
        if self._ended:
            return
        self._ended = True
        if self._left:
            self._steps.cancel(self._ticket)
        self._on_end(self)

    def cut(self, error: Exception) -> None:
        """Ends it with an error that its client is told."""
        self._events.put_nowait((0, Failed(error)))

    async def _next(self) -> tuple[int, Event]:
        try:
            async with asyncio.timeout(max(self._deadline - self.age_s, 0)):
                return await self._events.get()
        except TimeoutError:
            raise ApiError(504, f"the request took longer than {self._deadline:g} s", code="timeout") from None

    def _hear(self, index: int, event: Event) -> None:
        if isinstance(event, Delta):
            now = self.age_s
            self.told[index].n_tokens += len(event.tokens)
            self.first_s = now if self.first_s is None else self.first_s
            if index in self._newest:
                self.gaps_s.append((now - self._newest[index]) / max(len(event.tokens), 1))
            self._newest[index] = now
        if not self._ended:
            self._events.put_nowait((index, event))
