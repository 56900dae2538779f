"""What a job says: lines for its log in the store, written under the lease of whoever runs it."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from casspec.storage.errors import LeaseLost, StorageError
from casspec.storage.jobs.log import MOST_LINES
from casspec.storage.jobs.queue import Claim, JobQueue

_log = logging.getLogger("casspec")


class Lines:
    """Of one claim. Lines that the store does not take yet wait, the latest of them; a lost lease ends them."""

    def __init__(self, queue: JobQueue, claim: Claim) -> None:
        self._queue, self._claim = queue, claim
        self._waiting: list[str] = []
        self._adding, self._writing = threading.Lock(), threading.Lock()

    def add(self, line: str) -> None:
        """One line, written with the next `flush`."""
        with self._adding:
            self._waiting = [*self._waiting, line][-MOST_LINES:]

    def flush(self) -> None:
        """Writes what waits, where the store answers."""
        with self._writing:
            with self._adding:
                lines, self._waiting = self._waiting, []
            try:
                if lines:
                    self._queue.say(self._claim, lines)
            except LeaseLost:
                return
            except StorageError:
                with self._adding:
                    self._waiting = [*lines, *self._waiting][-MOST_LINES:]

    def end(self, line: str) -> None:
        """The last line, written at once."""
        self.add(line)
        self.flush()

    @contextmanager
    def heard(self) -> Iterator[None]:
        """Warnings of casspec inside the block are lines too."""
        handler = _Handler(self)
        _log.addHandler(handler)
        try:
            yield
        finally:
            _log.removeHandler(handler)


class _Handler(logging.Handler):
    def __init__(self, lines: Lines) -> None:
        super().__init__(logging.WARNING)
        self._lines = lines

    def emit(self, record: logging.LogRecord) -> None:
        self._lines.add(f"{record.levelname.lower()}: {record.getMessage()}")
