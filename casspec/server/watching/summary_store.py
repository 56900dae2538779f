"""Keeps what was seen of profiles beside them in the store. Serving goes on where that cannot be."""

from __future__ import annotations

import logging

from casspec.server.watching.watches import Summaries
from casspec.storage import open_repository
from casspec.storage.errors import CasspecError

_log = logging.getLogger("casspec")


class SummaryStore:
    """Of one server; for one thread at a time.

    Args:
        storage: database URL or path; None means CASSPEC_STORAGE, then the user data directory.
    """

    def __init__(self, storage: str | None) -> None:
        self._storage = storage
        self._has_warned = False

    def keep(self, summaries: Summaries) -> None:
        """Stores them, each in the place of what stood under its name. Where one cannot be stored a line says so, once."""
        if not summaries:
            return
        try:
            with open_repository(self._storage) as repository:
                for name, summary in summaries.items():
                    repository.save_watched(name, summary)
        except CasspecError as error:
            if not self._has_warned:
                _log.warning("what is seen of the profile is not stored: %s", " ".join(str(error).split()))
            self._has_warned = True
