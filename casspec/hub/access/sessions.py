"""Sessions of browsers: what a cookie stands for. Kept in memory, so that they end with the hub."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass

from casspec.storage.tokens import hash_of

COOKIE = "casspec_hub_session"
CSRF_HEADER = "x-csrf-token"

LIFE_S = 12 * 3600
MOST_OF_ONE, MOST = 16, 1024
"""Of one token, and of all; the eldest ends."""


@dataclass(frozen=True, slots=True)
class Session:
    """Of one browser.

    Attributes:
        token_hash: of the token it was begun with, which still has to be valid. csrf: what a page of ours sends along, and no other can.
    """

    token_hash: str
    csrf: str
    ends_s: float


class Sessions:
    """Those of one hub; on the event loop only.

    Args:
        clock: seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._sessions: dict[str, Session] = {}  # by the hash of the cookie, the eldest first

    def __len__(self) -> int:
        return len(self._sessions)

    def begin(self, token_hash: str) -> tuple[str, Session]:
        """The cookie of a new session, and the session."""
        self._sessions = {key: each for key, each in self._sessions.items() if each.ends_s > self._clock()}
        own = [key for key, each in self._sessions.items() if each.token_hash == token_hash]
        if len(own) >= MOST_OF_ONE:
            del self._sessions[own[0]]
        elif len(self._sessions) >= MOST:
            del self._sessions[next(iter(self._sessions))]
        cookie, session = (
            secrets.token_urlsafe(32),
            Session(token_hash, secrets.token_urlsafe(32), self._clock() + LIFE_S),
        )
        self._sessions[hash_of(cookie)] = session
        return cookie, session

    def find(self, cookie: str | None) -> Session | None:
        """None where it has ended, or never was."""
        session = None if cookie is None else self._sessions.get(hash_of(cookie))
        return session if session is not None and session.ends_s > self._clock() else None

    def end(self, cookie: str | None) -> None:
        """Ends a session, where there is one."""
        if cookie is not None:
            self._sessions.pop(hash_of(cookie), None)
