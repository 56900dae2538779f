"""Looks for another profile on the hub, and takes it."""

from __future__ import annotations

from collections.abc import Callable

from casspec.server.errors import ApiError


class Poller:
    """Of one server.

    Args:
        newest: content hash of the profile that the hub has for it now.
        served: ID of the profile in use; None without one.
        take: prepares and swaps; raises ApiError where the profile stays as it was, which it says itself.
    """

    def __init__(self, newest: Callable[[], str], served: Callable[[], str | None], take: Callable[[], None]) -> None:
        self._newest, self._served, self._take = newest, served, take
        self._refused: str | None = None

    def poll(self) -> None:
        """Takes the hub's profile where it is another. One that could not be used is not tried again. Raises what `newest` raises."""
        found = self._newest()
        served = self._served()
        if found == self._refused or (served is not None and found.startswith(served)):
            return
        try:
            self._take()
        except ApiError as error:
            if error.code == "reload_failed":
                self._refused = found
