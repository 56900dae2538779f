"""Where a step's time goes: forwards (draft, verify, prefill) against everything else.

A forward is timed from embedding lookup to logits and nothing else. On CUDA, events are recorded and read once at the end, so that
measuring adds no synchronisation to a step.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager

import torch


class ForwardClock:
    """Sums of forward time by kind, milliseconds."""

    def __init__(self, device: torch.device) -> None:
        self._cuda = device.type == "cuda"
        self._total_ms: dict[str, float] = defaultdict(float)
        self._pending: list[tuple[str, torch.cuda.Event, torch.cuda.Event]] = []

    @contextmanager
    def measure(self, kind: str) -> Iterator[None]:
        if self._cuda:
            start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
            start.record()
            yield
            end.record()
            self._pending.append((kind, start, end))
        else:
            begin = time.perf_counter()
            yield
            self._total_ms[kind] += (time.perf_counter() - begin) * 1e3

    def total_ms(self, kind: str) -> float:
        """Milliseconds spent in forwards of this kind so far; waits for the device on CUDA."""
        if self._pending:
            torch.cuda.synchronize()
            for name, start, end in self._pending:
                self._total_ms[name] += start.elapsed_time(end)
            self._pending.clear()
        return self._total_ms[kind]
