"""Something that is done now and then on a thread of its own, whatever becomes of it."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from casspec.storage.errors import CasspecError

_log = logging.getLogger("casspec")

LONGEST_WAIT_S = 900.0

SECONDS_TO_END = 2.0


class Repeating:
    """Does it until it is stopped. Of failures in a row the first is a line in the log, and waits between them double.

    Args:
        name: of what is done, as the log names it. act: does it.
    """

    def __init__(self, name: str, act: Callable[[], None], every_s: float) -> None:
        self._name, self._act, self._every_s = name, act, every_s
        self._wait_s = every_s
        self._fails = False
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"casspec-{name.split()[0]}", daemon=True)

    def start(self) -> None:
        """Begins, with a wait."""
        self._thread.start()

    def stop(self) -> None:
        """Ends it; what waits for an answer is left to itself after a moment."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(SECONDS_TO_END)

    def once(self) -> float:
        """Does it now; seconds to wait before the next time."""
        try:
            self._act()
        except Exception as error:
            self._wait_s = min(2.0 * self._wait_s, max(LONGEST_WAIT_S, self._every_s))
            if not self._fails:
                self._tell(error)
            self._fails = True
        else:
            if self._fails:
                _log.warning("%s: it works again", self._name)
            self._wait_s, self._fails = self._every_s, False
        return self._wait_s

    def _run(self) -> None:
        wait_s = self._every_s
        while not self._stop.wait(wait_s):
            wait_s = self.once()

    def _tell(self, error: Exception) -> None:
        if isinstance(error, CasspecError):
            _log.warning("%s: %s; it is tried again", self._name, " ".join(str(error).split()))
        else:
            _log.error("%s failed, and is tried again", self._name, exc_info=error)
