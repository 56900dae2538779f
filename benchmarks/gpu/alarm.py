"""A bound for work that does not look at the clock itself."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

AGAIN_S = 2.0
"""An exception may be lost, for instance in a finaliser or a callback: it is raised again after so long, and nobody is told."""


class OutOfTime(BaseException):
    """Not an Exception, so that nobody takes it for a failure of what they called."""


@contextmanager
def at_most(seconds: float) -> Iterator[None]:
    """Raises OutOfTime in the block once it has taken so long. Of the main thread only.

    Whoever else counts on the same timer gets it back with the time that was left.
    """
    begin = time.monotonic()
    handler, told = signal.signal(signal.SIGALRM, _ring), sys.unraisablehook
    sys.unraisablehook = lambda lost: None if isinstance(lost.exc_value, OutOfTime) else told(lost)
    others_s, interval_s = signal.setitimer(signal.ITIMER_REAL, max(seconds, 1e-3), AGAIN_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, handler)
        sys.unraisablehook = told
        if others_s:
            signal.setitimer(signal.ITIMER_REAL, max(others_s - (time.monotonic() - begin), 1e-3), interval_s)


def _ring(number: int, frame: FrameType | None) -> None:
    raise OutOfTime
