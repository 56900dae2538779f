"""How much time is left, and how long a start of the engine and what is asked of it will take, by what was seen before."""

from __future__ import annotations

import time
from collections.abc import Callable

UNKNOWN_START_S = 90.0
END_S = 5.0
"""Until an engine has ended."""
GRACE_S = 5.0
"""That what is under way may take over the budget before it is given up."""


class Budget:
    """Time that a search may take from now on.

    Args:
        seconds: in all. start_s: what earlier starts took.
    """

    def __init__(
        self, seconds: float, start_s: float | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._clock, self._begun, self.seconds = clock, clock(), seconds
        self._start_s = start_s

    @property
    def left_s(self) -> float:
        return self.seconds - (self._clock() - self._begun)

    @property
    def start_s(self) -> float:
        """Expected time of a start and an end of the engine."""
        return (self._start_s or UNKNOWN_START_S) + END_S

    @property
    def most_s(self) -> float:
        """After which what begins now is given up."""
        return max(self.left_s, 0.0) + GRACE_S

    def started(self, seconds: float) -> None:
        """Notes how long a start took; the longest counts."""
        self._start_s = max(seconds, self._start_s or 0.0)

    def allows(self, asking_s: float, starts: int = 1) -> bool:
        """Whether so many starts with requests of `asking_s` in all fit."""
        return starts * self.start_s + asking_s <= self.left_s
