"""What watches the profiles of a server: one watch for as long as its profile is served, and what all of them saw."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass

from casspec.runtime.watch.drift import Drift
from casspec.runtime.watch.profile_watch import ProfileWatch
from casspec.storage.schema import CascadeProfile
from casspec.storage.watched import WatchSummary

Summaries = dict[str, WatchSummary]
"""By a name of their own, under which a later one of the same watch takes the place of an earlier one."""


@dataclass(frozen=True)
class FoundDrift:
    """A drift, and the command to run."""

    drift: Drift
    remedy: str


@dataclass(frozen=True)
class Seen:
    """What was seen of the profile in use since it is in use."""

    summary: WatchSummary
    drifts: tuple[Drift, ...]


@dataclass(frozen=True)
class _Watched:
    """A watch, the hash of what it watches, and the ID by which the profile is stored."""

    name: str
    watch: ProfileWatch
    content: str
    stored_id: str


class Watches:
    """Any thread may ask it; the one that steps says which profile is served.

    Args:
        model: as it was named to casspec. suite: the file that requests are recorded to, if they are.
        options: of the command that calibrates for what is served.
    """

    def __init__(self, model: str, suite: str | None = None, options: Sequence[str] = ()) -> None:
        self._model, self._suite, self._options = model, suite, options
        self._all: list[_Watched] = []
        self._current: _Watched | None = None

    def of(self, profile: CascadeProfile | None, stored_id: str | None = None) -> ProfileWatch | None:
        """The watch of what is served from now on: the one there is where it is the same profile, else a new one; None without one.

        Args:
            profile: with the cascade of its task. stored_id: of the profile in the store, where that is another.
        """
        if profile is None:
            self._current = None
            return None
        content = profile.content_hash()
        if self._current is None or self._current.content != content:
            watch = ProfileWatch(profile, self._model, self._suite, options=self._options)
            self._current = _Watched(secrets.token_hex(8), watch, content, stored_id or profile.profile_id)
            self._all.append(self._current)
        return self._current.watch

    def forget(self) -> None:
        """Begins anew: what was seen so far was nobody's."""
        self._all, self._current = [], None

    @property
    def drifts(self) -> list[FoundDrift]:
        """Of the profile in use."""
        current = self._current
        if current is None:
            return []
        return [FoundDrift(drift, current.watch.remedy(drift)) for drift in current.watch.drifts]

    def seen(self) -> Seen | None:
        """Of the profile in use; None without one, and before its first text."""
        current = self._current
        if current is None:
            return None
        drifts = current.watch.drifts
        summary = _stored(current, current.watch.summary())
        return Seen(summary, drifts) if _has_seen(summary) else None

    def summaries(self) -> Summaries:
        """What was seen of each profile that anything was seen of."""
        found = {one.name: (one, one.watch.summary()) for one in list(self._all)}
        return {name: _stored(one, summary) for name, (one, summary) in found.items() if _has_seen(summary)}


def _has_seen(summary: WatchSummary) -> bool:
    return bool(summary.tokens or summary.plans)


def _stored(one: _Watched, summary: WatchSummary) -> WatchSummary:
    """Under the ID by which the profile is stored."""
    return summary.model_copy(update={"profile_id": one.stored_id})
