"""Where a step's time goes: forwards (draft, verify, prefill) against everything else.

A forward is timed from embedding lookup to logits and nothing else. On CUDA, events are recorded and read once at the end, so that
measuring adds no synchronisation to a step.
"""

from __future__ import annotations

import time
from collections import defaultdict, deque
from contextlib import AbstractContextManager
from typing import NamedTuple

import torch

from casspec.runtime.dsia import Plan

MOST_REMEMBERED = 64
"""Forwards kept for a policy that asks for them; it does so at every step or never."""


class RanForward(NamedTuple):
    """A forward that ran, as a latency model predicts it: of `plan`, over `n_tokens` queries after `context_tokens` rows."""

    plan: Plan
    n_tokens: int
    context_tokens: int
    milliseconds: float


class ForwardClock:
    """Sums of forward time by kind, milliseconds; and the last forwards of plans, one by one."""

    def __init__(self, device: torch.device) -> None:
        self._cuda = device.type == "cuda"
        self._total_ms: dict[str, float] = defaultdict(float)
        self._ran: deque[RanForward] = deque(maxlen=MOST_REMEMBERED)
        self._pending: list[_DeviceSpan] = []

    def measure(
        self, kind: str, plan: Plan | None = None, n_tokens: int = 0, context_tokens: int = 0
    ) -> AbstractContextManager[None]:
        """Times the body of a `with` as a forward of this kind, and remembers it where its plan is named."""
        span = _DeviceSpan if self._cuda else _HostSpan
        return span(self, kind, plan, n_tokens, context_tokens)

    def recent(self) -> list[RanForward]:
        """Forwards of named plans that ended since the last call. On CUDA the device must have been waited for, as reading the
        target's tokens does."""
        self._read_pending()
        ran = list(self._ran)
        self._ran.clear()
        return ran

    def total_ms(self, kind: str) -> float:
        """Milliseconds spent in forwards of this kind so far; waits for the device on CUDA."""
        if self._pending:
            torch.cuda.synchronize()
            self._read_pending()
        return self._total_ms[kind]

    def _read_pending(self) -> None:
        for span in self._pending:
            self.add(span, span.start.elapsed_time(span.end))
        self._pending.clear()

    def add(self, span: _Span, milliseconds: float) -> None:
        """A span that ended."""
        self._total_ms[span.kind] += milliseconds
        if span.plan is not None:
            self._ran.append(RanForward(span.plan, span.n_tokens, span.context_tokens, milliseconds))

    def add_pending(self, span: _DeviceSpan) -> None:
        """A span whose events are read later."""
        self._pending.append(span)


class _Span(AbstractContextManager[None]):
    __slots__ = ("_clock", "context_tokens", "kind", "n_tokens", "plan")

    def __init__(self, clock: ForwardClock, kind: str, plan: Plan | None, n_tokens: int, context_tokens: int) -> None:
        self._clock, self.kind, self.plan = clock, kind, plan
        self.n_tokens, self.context_tokens = n_tokens, context_tokens


class _HostSpan(_Span):
    __slots__ = ("_begin",)

    def __enter__(self) -> None:
        self._begin = time.perf_counter()

    def __exit__(self, *error: object) -> None:
        self._clock.add(self, (time.perf_counter() - self._begin) * 1e3)


class _DeviceSpan(_Span):
    def __enter__(self) -> None:
        self.start, self.end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        self.start.record()

    def __exit__(self, *error: object) -> None:
        self.end.record()
        self._clock.add_pending(self)
