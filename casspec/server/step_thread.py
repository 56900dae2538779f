"""The one thread that computes. It owns the engines; everybody else hands it orders and hears of them on the event loop.

What happened within a step reaches the loop in one call, so that a step costs the loop the same however many texts it had.
"""

from __future__ import annotations

import asyncio
import logging
import queue
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from casspec.runtime.batching.engine import BatchedText
from casspec.runtime.decoding.generation import Generation
from casspec.runtime.session import Listener
from casspec.runtime.text.logprobs import TokenLogprobs
from casspec.runtime.text.prompt_logprobs import prompt_logprobs
from casspec.server.engines import Engines, Load, Stepped
from casspec.storage.errors import CasspecError

_log = logging.getLogger("casspec")


@dataclass(frozen=True)
class Order:
    """One text that is asked for.

    Attributes:
        options: of `Decoder.generate`. sequence: number of its noise. method: None for the server's own.
        scored: how many of the likeliest tokens are told of at each place of the prompt; None tells nothing of it.
        generates: whether a text is wanted at all.
    """

    prompt: list[int]
    options: dict[str, Any] = field(default_factory=dict)
    sequence: int = 0
    method: str | None = None
    scored: int | None = None
    generates: bool = True


@dataclass(frozen=True, slots=True)
class Accepted:
    """All orders of a request are in line."""


@dataclass(frozen=True, slots=True)
class Scored:
    """What was asked about the prompt, of all its tokens but the first."""

    logprobs: list[TokenLogprobs]


@dataclass(frozen=True, slots=True)
class Delta:
    """What a step brought of a text. Its text may lag behind its tokens."""

    text: str
    tokens: list[int]
    logprobs: list[TokenLogprobs]


@dataclass(frozen=True, slots=True)
class Done:
    """A text is over; None of an order that wanted none."""

    generation: Generation | None


@dataclass(frozen=True, slots=True)
class Failed:
    """A text failed, or could not begin."""

    error: Exception


Event = Accepted | Scored | Delta | Done | Failed
Tell = Callable[[int, Event], None]
"""Hears on the event loop of the text with a number."""


class Ticket:
    """A request in the step thread. `cancelled` ends its texts within a step."""

    def __init__(self, orders: list[Order], tell: Tell) -> None:
        self.orders, self.tell = orders, tell
        self.cancelled = False


class _Open:
    """An order under way."""

    def __init__(self, ticket: Ticket, index: int) -> None:
        self.ticket, self.index, self.order = ticket, index, ticket.orders[index]
        self.text: BatchedText | None = None
        self.scoring: Iterator[list[TokenLogprobs]] | None = None
        self.scores: list[TokenLogprobs] = []
        self.said = ""
        self.tokens: list[int] = []
        self.logprobs: list[TokenLogprobs] = []

    @property
    def listener(self) -> Listener:
        return Listener(self.tokens.extend, self._hear, self.logprobs.extend)

    def _hear(self, text: str) -> None:
        self.said += text

    def taken(self) -> Delta | None:
        """What came since the last call."""
        if not (self.said or self.tokens):
            return None
        delta = Delta(self.said, self.tokens.copy(), self.logprobs.copy())
        self.said = ""
        self.tokens.clear()
        self.logprobs.clear()
        return delta


class StepThread:
    """Runs engines from `start` to `stop`.

    Args:
        load: makes the engines, on this thread.
        loop: where everything is told.
        on_loaded: hears once that engines are there, or why not.
        on_step: hears of every step, and of what engines hold after it.

    Attributes:
        engines: once they are loaded.
    """

    def __init__(
        self,
        load: Callable[[], Engines],
        loop: asyncio.AbstractEventLoop,
        on_loaded: Callable[[BaseException | None], None],
        on_step: Callable[[list[Stepped], Load], None] = lambda steps, load: None,
    ) -> None:
        self._load, self._loop, self._on_loaded, self._on_step = load, loop, on_loaded, on_step
        self._inbox: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._open: list[_Open] = []
        self._outbox: list[tuple[Tell, int, Event]] = []
        self._thread = threading.Thread(target=self._run, name="casspec-steps", daemon=True)
        self.engines: Engines

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Ends the thread after the step at hand; texts under way end with it, untold."""
        self._inbox.put(None)

    def join(self) -> None:
        """Waits until the thread has ended."""
        self._thread.join()

    def submit(self, orders: list[Order], tell: Tell) -> Ticket:
        """Hands over a request. `tell` hears of Accepted, then of every text, or of one that Failed."""
        ticket = Ticket(orders, tell)
        self._inbox.put(lambda: self._accept(ticket))
        return ticket

    def cancel(self, ticket: Ticket) -> None:
        """Ends what is left of a request; nothing is told of it any longer."""
        ticket.cancelled = True
        self._inbox.put(lambda: None)  # an idle thread wakes

    def call(self, function: Callable[[Engines], None]) -> None:
        """Runs a function between two steps."""
        self._inbox.put(lambda: function(self.engines))

    # ------------------------------------------------------------------------------------------------- on the thread

    def _run(self) -> None:
        try:
            self.engines = self._load()
        except BaseException as error:
            self._post(self._on_loaded, error)
            return
        self._post(self._on_loaded, None)
        while self._take():
            try:
                self._score()
                steps = self.engines.step()
            except Exception as error:  # whatever broke: its clients are told, and the thread goes on
                _log.exception("a step failed; its %d texts are given up", len(self._open))
                self._give_up(error)
                steps = []
            self._collect()
            self._flush(steps)

    def _take(self) -> bool:
        """Runs what was handed over, waiting for it where nothing else is to do; False to end."""
        waits = not self._open
        while True:
            try:
                what = self._inbox.get(block=waits)
            except queue.Empty:
                break
            waits = False
            if what is None:
                return False
            try:
                what()
            except Exception:
                _log.exception("a call between steps failed")
        for one in [one for one in self._open if one.ticket.cancelled]:
            self._open.remove(one)
            if one.text is not None:
                self.engines.cancel(one.text)
        return True

    def _accept(self, ticket: Ticket) -> None:
        opened = [_Open(ticket, index) for index in range(len(ticket.orders))]
        try:
            for one in opened:
                if one.order.scored is not None:
                    one.scoring = prompt_logprobs(self.engines.target, one.order.prompt, one.order.scored)
                else:
                    self._submit(one)
        except Exception as error:
            for one in opened:
                if one.text is not None:
                    self.engines.cancel(one.text)
            self._outbox.append((ticket.tell, 0, Failed(error)))
            self._flush([])
            return
        self._open += opened
        self._outbox.append((ticket.tell, 0, Accepted()))

    def _submit(self, one: _Open) -> None:
        order = one.order
        if order.generates:
            one.text = self.engines.submit(order.prompt, one.listener, order.sequence, order.method, order.options)

    def _score(self) -> None:
        """A forward of every prompt that is read for its probabilities; the text of one that is read through begins."""
        for one in [one for one in self._open if one.scoring is not None]:
            assert one.scoring is not None
            part = next(one.scoring, None)
            if part is not None:
                one.scores += part
                continue
            one.scoring = None
            self._outbox.append((one.ticket.tell, one.index, Scored(one.scores)))
            try:
                self._submit(one)
            except CasspecError as error:
                self._open.remove(one)
                self._outbox.append((one.ticket.tell, one.index, Failed(error)))

    def _collect(self) -> None:
        """What the step brought."""
        left = []
        for one in self._open:
            delta, text = one.taken(), one.text
            if delta is not None:
                self._outbox.append((one.ticket.tell, one.index, delta))
            if text is not None and text.error is not None:
                self._outbox.append((one.ticket.tell, one.index, Failed(text.error)))
            elif one.scoring is None and (text is None or text.is_over):
                self._outbox.append((one.ticket.tell, one.index, Done(None if text is None else text.generation)))
            else:
                left.append(one)
        self._open = left

    def _give_up(self, error: Exception) -> None:
        for one in self._open:
            self._outbox.append((one.ticket.tell, one.index, Failed(error)))
        self._open = []
        self.engines.restart()

    def _flush(self, steps: list[Stepped]) -> None:
        events, self._outbox = self._outbox, []
        self._post(self._deliver, events, steps, self.engines.load())

    def _deliver(self, events: list[tuple[Tell, int, Event]], steps: list[Stepped], load: Load) -> None:
        for tell, index, event in events:
            tell(index, event)
        self._on_step(steps, load)

    def _post(self, function: Callable[..., None], *arguments: Any) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(function, *arguments)
