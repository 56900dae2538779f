"""Where a step's time goes: forwards (draft, verify, prefill) against everything else.

A forward is timed from embedding lookup to logits and nothing else. On CUDA, events are recorded and read once at the end, so that
measuring adds no synchronisation to a step.
"""

from __future__ import annotations

import time
from collections import defaultdict, deque
from contextlib import AbstractContextManager

import torch

from casspec.runtime.model.plan import Plan

MOST_FORWARDS_REMEMBERED = 64
"""Forwards kept for a policy that asks for them; it does so at every step or never."""


class RanForward(AbstractContextManager[None]):
    """A forward that is timed and then, where its plan was named, told of as a latency model predicts it: of `plan`, over `n_tokens`
    queries after `context_tokens` rows."""

    __slots__ = ("_begin", "_clock", "_kind", "_named", "context_tokens", "milliseconds", "n_tokens", "plan")

    def __init__(self, clock: ForwardClock, kind: str, plan: Plan | None, n_tokens: int, context_tokens: int) -> None:
        self._clock, self._kind, self._named = clock, kind, plan is not None
        if plan is not None:
            self.plan = plan
        self.n_tokens, self.context_tokens = n_tokens, context_tokens
        self.milliseconds = 0.0

    def __enter__(self) -> None:
        self._begin = time.perf_counter()

    def __exit__(self, *error: object) -> None:
        self.ended((time.perf_counter() - self._begin) * 1e3)

    def ended(self, milliseconds: float) -> None:
        """Counts it."""
        self.milliseconds = milliseconds
        clock = self._clock
        clock.milliseconds[self._kind] += milliseconds
        if self._named:
            clock.ran.append(self)


class _DeviceForward(RanForward):
    __slots__ = ("_end", "_start")

    def __enter__(self) -> None:
        self._start, self._end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        self._start.record()

    def __exit__(self, *error: object) -> None:
        self._end.record()
        self._clock.pending.append(self)

    def read(self) -> None:
        """Counts it, now that the device has passed it."""
        self.ended(self._start.elapsed_time(self._end))


class ForwardClock:
    """Sums of forward time by kind, milliseconds; and the last forwards of plans, one by one.

    Attributes:
        milliseconds: by kind, of the forwards counted so far. ran: the last of those that named a plan.
        pending: those that a device has yet to pass.
    """

    def __init__(self, device: torch.device) -> None:
        self._timed = _DeviceForward if device.type == "cuda" else RanForward
        self.milliseconds: dict[str, float] = defaultdict(float)
        self.ran: deque[RanForward] = deque(maxlen=MOST_FORWARDS_REMEMBERED)
        self.pending: list[_DeviceForward] = []

    def measure(
        self, kind: str, plan: Plan | None = None, n_tokens: int = 0, context_tokens: int = 0
    ) -> AbstractContextManager[None]:
        """Times the body of a `with` as a forward of this kind, and remembers it where its plan is named."""
        return self._timed(self, kind, plan, n_tokens, context_tokens)

    def recent(self) -> list[RanForward]:
        """Forwards of named plans that ended since the last call. On CUDA the device must have been waited for, as reading the
        target's tokens does."""
        self._read_pending()
        ran = list(self.ran)
        self.ran.clear()
        return ran

    def total_ms(self, kind: str) -> float:
        """Milliseconds spent in forwards of this kind so far; waits for the device on CUDA."""
        if self.pending:
            torch.cuda.synchronize()
            self._read_pending()
        return self.milliseconds[kind]

    def _read_pending(self) -> None:
        for forward in self.pending:
            forward.read()
        self.pending.clear()
