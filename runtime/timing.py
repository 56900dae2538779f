"""Where a step's time goes: forwards (draft, verify, prefill) against everything else.

A forward is timed from embedding lookup to logits and nothing else. On CUDA, events are recorded and read once at the end, so that
measuring adds no synchronisation to a step.
"""

from __future__ import annotations

import time
from collections import defaultdict
from contextlib import AbstractContextManager

import torch


class ForwardClock:
    """Sums of forward time by kind, milliseconds."""

    def __init__(self, device: torch.device) -> None:
        self._cuda = device.type == "cuda"
        self._total_ms: dict[str, float] = defaultdict(float)
        self._pending: list[tuple[str, torch.cuda.Event, torch.cuda.Event]] = []

    def measure(self, kind: str) -> AbstractContextManager[None]:
        """Times the body of a `with` as a forward of this kind."""
        return _DeviceSpan(self._pending, kind) if self._cuda else _HostSpan(self._total_ms, kind)

    def total_ms(self, kind: str) -> float:
        """Milliseconds spent in forwards of this kind so far; waits for the device on CUDA."""
        if self._pending:
            torch.cuda.synchronize()
            for name, start, end in self._pending:
                self._total_ms[name] += start.elapsed_time(end)
            self._pending.clear()
        return self._total_ms[kind]


class _HostSpan(AbstractContextManager[None]):
    __slots__ = ("_begin", "_kind", "_total_ms")

    def __init__(self, total_ms: dict[str, float], kind: str) -> None:
        self._total_ms, self._kind = total_ms, kind

    def __enter__(self) -> None:
        self._begin = time.perf_counter()

    def __exit__(self, *error: object) -> None:
        self._total_ms[self._kind] += (time.perf_counter() - self._begin) * 1e3


class _DeviceSpan(AbstractContextManager[None]):
    def __init__(self, pending: list[tuple[str, torch.cuda.Event, torch.cuda.Event]], kind: str) -> None:
        self._pending, self._kind = pending, kind
        self._start, self._end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)

    def __enter__(self) -> None:
        self._start.record()

    def __exit__(self, *error: object) -> None:
        self._end.record()
        self._pending.append((self._kind, self._start, self._end))
