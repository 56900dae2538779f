"""Timers: what one call takes, in milliseconds, as decoding would feel it.

A decode step reads the logits back before it goes on, so each timed call is waited for. On CUDA the time between two
events is taken, which leaves out the wait itself; elsewhere the clock of the host. Raw values are kept: every summary
can be made later, none can be undone.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from statistics import median
from typing import Protocol

import torch

Call = Callable[[], object]

OUTLIER_FACTOR = 3.0
"""A value this many times the median of its peers was disturbed: on a busy machine threads wait whole time slices."""


class Timer(Protocol):
    def time_ms(self, call: Call, repeats: int) -> list[float]:
        """Milliseconds of each of `repeats` calls, one after the other."""

    def now_s(self) -> float:
        """The host's clock, for budgets."""


class HostTimer:
    """Times with a clock of the host; right wherever a call returns when its work is done."""

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        """`clock`: seconds, never running backwards."""
        self.now_s = clock

    def time_ms(self, call: Call, repeats: int) -> list[float]:
        values = []
        for _ in range(repeats):
            start = self.now_s()
            call()
            values.append((self.now_s() - start) * 1e3)
        return values


class CudaTimer:
    """Times with CUDA events on the current stream of a device."""

    def __init__(self, device: torch.device) -> None:
        self._device = device

    def time_ms(self, call: Call, repeats: int) -> list[float]:
        values = []
        with torch.cuda.device(self._device):
            start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
            for _ in range(repeats):
                start.record()
                call()
                end.record()
                end.synchronize()
                values.append(start.elapsed_time(end))
        return values

    def now_s(self) -> float:
        return time.perf_counter()


def timer_for(device: torch.device | str) -> Timer:
    device = torch.device(device)
    return CudaTimer(device) if device.type == "cuda" else HostTimer()


def is_disturbed(value: float, peers: Sequence[float]) -> bool:
    """Whether `value` is so far above the median of `peers` that something else must have run meanwhile."""
    return len(peers) > 0 and value > OUTLIER_FACTOR * median(peers)
