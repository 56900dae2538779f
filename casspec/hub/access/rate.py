"""How often somebody may ask: a bucket each, which requests empty and time fills."""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from collections.abc import Callable

from casspec.server.errors import ApiError

BURST_S = 10.0
"""A bucket holds what fills it in as long."""

MOST_BUCKETS = 10_000
"""The one that was asked for longest ago is forgotten, which fills it."""


class RateLimit:
    """Counts requests; on the event loop only.

    Args:
        per_second: of one asker, in the long run. clock: seconds.
    """

    def __init__(
        self, per_second: float, most: int = MOST_BUCKETS, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._per_second, self._most, self._clock = per_second, most, clock
        self._holds = max(per_second * BURST_S, 1.0)
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._buckets)

    def draw(self, asker: str) -> None:
        """Counts one request. Raises ApiError 429 where the bucket is empty, and says when it is not."""
        now_s = self._clock()
        level, at_s = self._buckets.pop(asker, (self._holds, now_s))
        level = min(level + (now_s - at_s) * self._per_second, self._holds)
        left = level - 1.0 if level >= 1.0 else level
        self._buckets[asker] = (left, now_s)
        if len(self._buckets) > self._most:
            self._buckets.popitem(last=False)
        if level < 1.0:
            seconds = max(math.ceil((1.0 - level) / self._per_second), 1)
            raise ApiError(
                429,
                f"more than {self._per_second:g} requests a second: come again in {seconds} s",
                code="too_many_requests",
                headers={"Retry-After": str(seconds)},
            )
