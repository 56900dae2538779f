"""Ctrl-C while a text is decoded: the text ends after the step at hand, and what was found out is kept."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType
from typing import Any


class Interruption:
    """Whether somebody pressed Ctrl-C. As a criterion of a request it ends the text then.

    Attributes:
        requested: whether the text is to end. is_final: whether the command is to end with it, as a SIGTERM asks.
    """

    def __init__(self) -> None:
        self.requested = self.is_final = False

    def __call__(self, ids: Any, scores: Any) -> bool:
        return self.requested


@contextlib.contextmanager
def interruptible() -> Iterator[Interruption]:
    """The first Ctrl-C (or SIGTERM) within asks the text to end, a second one ends the command."""
    interruption = Interruption()

    def ask(number: int, frame: FrameType | None) -> None:
        if interruption.requested:
            raise KeyboardInterrupt
        interruption.requested, interruption.is_final = True, number == signal.SIGTERM

    before = {}
    with contextlib.suppress(ValueError):  # not the main thread: whoever called from it handles signals
        for number in (signal.SIGINT, signal.SIGTERM):
            before[number] = signal.signal(number, ask)
    try:
        yield interruption
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
