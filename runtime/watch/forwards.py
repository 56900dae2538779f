"""Latency of plans, minute by minute.

A machine that is busy for a while is none that changed. So a minute is one observation, slow where more than half of its forwards
are: slow minutes in a row tell, about a quarter of an hour of them.
"""

from __future__ import annotations

from dataclasses import dataclass

from casspec.runtime.watch.drift import Drift
from casspec.runtime.watch.range_watch import RangeWatch
from casspec.storage.watched import WatchedPlan

TOLERANCE = 1.25
"""Of predictions, where they are known no worse."""

WINDOW_S, LEAST_FORWARDS = 60.0, 16
"""Of an observation: seconds, and forwards of the plan at least."""

MOST_OFTEN = 0.5
"""Share of minutes that may be slow, or fast, without being a drift."""


@dataclass
class _Window:
    """Forwards of a plan since `began_s`; slow, fast: those beyond the tolerance."""

    began_s: float
    began_tokens: int
    forwards: int = 0
    slow: int = 0
    fast: int = 0
    predicted_ms: float = 0.0
    measured_ms: float = 0.0


class _PlanWatch:
    """Of one plan. What is told of it is the mean over the windows beyond the tolerance."""

    def __init__(self, tokens_between_false_alarms: float, now_s: float, n_tokens: int) -> None:
        self.window = _Window(now_s, n_tokens)
        self._slow, self._fast = (RangeWatch(0.0, MOST_OFTEN, tokens_between_false_alarms) for _ in range(2))
        self._predicted_ms = self._measured_ms = 0.0

    def end_window(self, now_s: float, n_tokens: int) -> None:
        """Takes it as an observation; a new one begins."""
        window = self.window
        for watch, beyond in ((self._slow, window.slow), (self._fast, window.fast)):
            watch.observe(float(2 * beyond > window.forwards), 1.0, n_tokens - window.began_tokens, 1.0)
        if 2 * max(window.slow, window.fast) > window.forwards:
            self._predicted_ms += window.predicted_ms
            self._measured_ms += window.measured_ms
        elif not self._has_left:
            self._predicted_ms = self._measured_ms = 0.0
        self.window = _Window(now_s, n_tokens)

    @property
    def _has_left(self) -> bool:
        return self._slow.left is not None or self._fast.left is not None

    @property
    def times(self) -> float | None:
        """How many times as long as predicted forwards take; None where that is within the tolerance."""
        return self._measured_ms / self._predicted_ms if self._has_left else None


class LatencyWatch:
    """Of every plan whose forwards are told of.

    Args:
        tokens_between_false_alarms: of slow minutes and of fast ones, of each plan.
        tolerance: times longer than predicted, or shorter, that is no other machine.
    """

    def __init__(self, tokens_between_false_alarms: float, tolerance: float = TOLERANCE) -> None:
        self._tokens_between_false_alarms, self._tolerance = tokens_between_false_alarms, tolerance
        self._plans: dict[str, _PlanWatch] = {}
        self._seen: dict[str, list[float]] = {}

    def forward(self, plan: str, predicted_ms: float, measured_ms: float, now_s: float, n_tokens: int) -> bool:
        """Hears of a forward. Whether that ended a window.

        Args:
            predicted_ms: by the profile, not corrected. now_s: a clock that only goes forward. n_tokens: emitted so far.
        """
        watch = self._plans.get(plan)
        if watch is None:
            watch = self._plans[plan] = _PlanWatch(self._tokens_between_false_alarms, now_s, n_tokens)
            self._seen[plan] = [0, 0.0, 0.0]
        ends = now_s - watch.window.began_s >= WINDOW_S and watch.window.forwards >= LEAST_FORWARDS
        if ends:
            watch.end_window(now_s, n_tokens)
        window, seen = watch.window, self._seen[plan]
        window.forwards += 1
        window.slow += measured_ms > self._tolerance * predicted_ms
        window.fast += measured_ms * self._tolerance < predicted_ms
        window.predicted_ms += predicted_ms
        window.measured_ms += measured_ms
        seen[0] += 1
        seen[1] += predicted_ms
        seen[2] += measured_ms
        return ends

    @property
    def drifts(self) -> list[Drift]:
        """Of plans that take another time now than was predicted."""
        found = [(plan, watch.times) for plan, watch in self._plans.items()]
        return [Drift("latency", plan, None, times, 1.0) for plan, times in found if times is not None]

    @property
    def seen(self) -> tuple[WatchedPlan, ...]:
        """Sums by plan."""
        return tuple(
            WatchedPlan(plan=plan, forwards=int(n), predicted_ms=predicted, measured_ms=measured)
            for plan, (n, predicted, measured) in self._seen.items()
        )
