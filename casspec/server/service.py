"""What all answers share: the step thread, the room there is, and whether the server is ready."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Literal

from casspec.server.engines import Engines
from casspec.server.errors import ApiError
from casspec.server.gate.admission import Admission
from casspec.server.metrics import Metrics
from casspec.server.replies import Reply
from casspec.server.settings import Settings
from casspec.server.step_thread import Order, StepThread
from casspec.server.tokens import Tokens

State = Literal["loading", "ready", "draining", "failed"]


class Service:
    """One model that is served.

    Args:
        load: makes the engines, on the step thread.

    Attributes:
        state: requests are taken while it is ready. failure: why nothing could be loaded.
        tokens, engines: once loaded. created: when, in seconds of the epoch.
    """

    def __init__(self, settings: Settings, load: Callable[[], Engines]) -> None:
        self.settings, self._load = settings, load
        self.admission = Admission(settings.max_batch, settings.max_queue)
        self.metrics = Metrics(settings.model_name)
        self.state: State = "loading"
        self.failure: BaseException | None = None
        self.created = int(time.time())
        self._heard: list[Callable[[], None]] = []
        self._replies: set[Reply] = set()
        self.tokens: Tokens
        self.steps: StepThread

    def start(self) -> None:
        """Loads; to be called on the event loop."""
        loop = asyncio.get_running_loop()
        self.steps = StepThread(self._load_all, loop, self._on_loaded, self.metrics.stepped)
        self.steps.start()

    def when_loaded(self, tell: Callable[[], None]) -> None:
        """`tell` is called on the event loop once there are engines, or a failure. To be said before `start`."""
        self._heard.append(tell)

    @property
    def engines(self) -> Engines:
        return self.steps.engines

    async def begin(self, orders: list[Order]) -> Reply:
        """Puts a request in line. Raises ApiError where there is no room or no model yet, and what the engine refuses it with."""
        self.check_ready()
        most = self.settings.max_prompt_tokens or self.engines.target.max_context
        longest = max(len(order.prompt) for order in orders)
        if longest > most:
            raise ApiError(
                400,
                f"the prompt has {longest} tokens and at most {most} are taken: shorten it",
                "prompt",
                "context_length_exceeded",
            )
        self.admission.enter(len(orders))
        reply = Reply(self.steps, orders, self.settings.request_seconds, self._over)
        self._replies.add(reply)
        try:
            await reply.accepted()
        except BaseException:
            reply.end()
            raise
        return reply

    def check_ready(self) -> None:
        """Raises ApiError 503 unless requests are taken."""
        if self.state != "ready":
            raise ApiError(
                503, f"the server is {self.state}", code=f"server_{self.state}", headers={"Retry-After": "5"}
            )

    async def drained(self, seconds: float) -> bool:
        """Takes no more requests and waits for those under way; whether all ended in time."""
        was, self.state = self.state, "draining"
        if was != "ready":
            return True
        until = time.monotonic() + seconds
        while self._replies and time.monotonic() < until:
            await asyncio.sleep(0.02)
        return not self._replies

    def cut(self) -> None:
        """Ends what is under way: its clients are told that the server ends."""
        for reply in self._replies:
            reply.cut(ApiError(503, "the server ends", code="server_draining"))

    async def stop(self) -> None:
        """Ends the step thread after the step at hand, and nothing that still loads."""
        loading = self.state == "loading"
        self.state = "draining"
        for reply in list(self._replies):
            reply.end()
        self.steps.stop()
        if not loading:
            await asyncio.to_thread(self.steps.join)

    def _over(self, reply: Reply) -> None:
        self._replies.discard(reply)
        self.admission.leave(len(reply.told), reply.age_s)
        self.metrics.ended(reply)

    def _load_all(self) -> Engines:
        engines = self._load()
        target = engines.target
        self.tokens = Tokens(target.tokenizer, target.vocab_size, target.name)
        return engines

    def _on_loaded(self, error: BaseException | None) -> None:
        self.failure = error
        if self.state == "loading":
            self.state = "ready" if error is None else "failed"
        for tell in self._heard:
            tell()
