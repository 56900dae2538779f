"""How many texts a server takes: those under way, and a bounded line of those that wait."""

from __future__ import annotations

from casspec.server.errors import ApiError

LEAST_WAIT_S, MOST_WAIT_S = 1, 60
"""Seconds after which a client is told to come again."""

MEMORY = 0.9
"""Weight of the past in how long a text takes."""


class Admission:
    """Counts texts in and out; on the event loop only.

    Args:
        max_batch: texts under way. max_queue: texts that wait.

    Attributes:
        n_open: texts taken and not over.
    """

    def __init__(self, max_batch: int, max_queue: int) -> None:
        self._max_batch, self._most = max_batch, max_batch + max_queue
        self._usual_s = 1.0
        self.n_open = 0

    def enter(self, n_texts: int) -> None:
        """Takes so many texts. Raises ApiError: 400 for more than ever fit, 429 where the line is full."""
        if n_texts > self._most:
            raise ApiError(
                400,
                f"the request asks for {n_texts} texts and the server holds {self._most} at a time: split it",
                code="too_many_texts",
            )
        if self.n_open + n_texts > self._most:
            seconds = self.retry_after_s
            raise ApiError(
                429,
                f"{self.n_open} texts are under way or wait, and the server holds {self._most}: come again in {seconds} s",
                code="queue_full",
                headers={"Retry-After": str(seconds)},
            )
        self.n_open += n_texts

    def leave(self, n_texts: int, seconds: float) -> None:
        """So many texts are over, which were taken so long ago."""
        self.n_open -= n_texts
        self._usual_s = MEMORY * self._usual_s + (1 - MEMORY) * seconds

    @property
    def retry_after_s(self) -> int:
        """When a place is likely to be free: what a text takes, over how many end side by side."""
        wait = self._usual_s * max(self.n_open - self._max_batch, 1) / self._max_batch
        return min(max(round(wait), LEAST_WAIT_S), MOST_WAIT_S)
