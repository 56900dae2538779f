"""What all answers share: the step thread, the room there is, and whether the server is ready."""

from __future__ import annotations

import asyncio
import copy
import time
from collections.abc import Callable
from typing import Literal

from casspec.runtime.batching.draft_switch import Said
from casspec.runtime.watch.traffic import TrafficRecorder
from casspec.server.engines import Engines
from casspec.server.errors import ApiError
from casspec.server.gate.admission import Admission
from casspec.server.metrics import Metrics
from casspec.server.replies import Reply
from casspec.server.settings import Settings
from casspec.server.step_thread import Order, StepThread
from casspec.server.tokens import Tokens
from casspec.server.watching.watch_metrics import WatchMetrics
from casspec.server.watching.watches import FoundDrift, Summaries

KEPT_EVERY_S = 300.0
"""Seconds between two times that what was seen of profiles is stored."""

State = Literal["loading", "ready", "draining", "failed"]


class Service:
    """One model that is served.

    Args:
        load: makes the engines, on the step thread.
        keep: stores what was seen of profiles, on a thread of its own; called now and then, and at the end.

    Attributes:
        state: requests are taken while it is ready. failure: why nothing could be loaded.
        recorder: of requests, where they are recorded. tokens, engines: once loaded. created: when, in seconds of the epoch.
    """

    def __init__(
        self,
        settings: Settings,
        load: Callable[[], Engines],
        keep: Callable[[Summaries], None] = lambda summaries: None,
    ) -> None:
        self.settings, self._load, self._keep = settings, load, keep
        self.admission = Admission(settings.max_batch, settings.max_queue)
        self.metrics = Metrics(settings.model_name)
        self.metrics.register(WatchMetrics(settings.model_name, self.drifts, self.gates))
        self.state: State = "loading"
        self.failure: BaseException | None = None
        self.created = int(time.time())
        self.recorder: TrafficRecorder | None = None
        self._heard: list[Callable[[], None]] = []
        self._replies: set[Reply] = set()
        self.tokens: Tokens
        self.steps: StepThread

    def start(self) -> None:
        """Loads; to be called on the event loop."""
        loop = asyncio.get_running_loop()
        self.steps = StepThread(self._load_all, loop, self._on_loaded, self.metrics.stepped)
        self.steps.start()
        self._keeping = loop.create_task(self._keep_now_and_then())

    def when_loaded(self, tell: Callable[[], None]) -> None:
        """`tell` is called on the event loop once there are engines, or a failure. To be said before `start`."""
        self._heard.append(tell)

    @property
    def engines(self) -> Engines:
        return self.steps.engines

    @property
    def loaded(self) -> Engines | None:
        """The engines; None where they are not there."""
        return getattr(getattr(self, "steps", None), "engines", None)

    def drifts(self) -> list[FoundDrift]:
        """Figures that the profile in use no longer fits."""
        return [] if self.loaded is None else self.loaded.watches.drifts

    def gates(self) -> list[Said]:
        """Whether drafts pay, by size of the batch and decoding mode."""
        return [] if self.loaded is None else self.loaded.gates

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
        self._keeping.cancel()
        if not loading:
            await asyncio.to_thread(self.steps.join)
            await asyncio.to_thread(self._keep_summaries)
            if self.recorder is not None:
                await asyncio.to_thread(self.recorder.close)

    async def _keep_now_and_then(self) -> None:
        while True:
            await asyncio.sleep(KEPT_EVERY_S)
            await asyncio.to_thread(self._keep_summaries)

    def _keep_summaries(self) -> None:
        if self.loaded is not None:
            self._keep(self.loaded.watches.summaries())

    def _over(self, reply: Reply) -> None:
        self._replies.discard(reply)
        self.admission.leave(len(reply.told), reply.age_s)
        self.metrics.ended(reply)

    def _load_all(self) -> Engines:
        engines = self._load()
        target = engines.target
        self.tokens = Tokens(target.tokenizer, target.vocab_size, target.name)
        if self.settings.record_traffic is not None:
            own = copy.deepcopy(target.tokenizer)  # it has a thread of its own
            self.recorder = TrafficRecorder(self.settings.record_traffic, self.settings.record_bytes, own)
        return engines

    def _on_loaded(self, error: BaseException | None) -> None:
        self.failure = error
        if self.state == "loading":
            self.state = "ready" if error is None else "failed"
        for tell in self._heard:
            tell()
