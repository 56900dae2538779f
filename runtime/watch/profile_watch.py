"""Watches a profile while it is served: acceptance by drafter, latency by plan, and whether both are still what was calibrated."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from threading import Lock

from casspec.runtime.decoding.generation import Statistics
from casspec.runtime.watch.drift import Drift
from casspec.runtime.watch.figures import figures
from casspec.runtime.watch.forwards import TOLERANCE, LatencyWatch
from casspec.runtime.watch.texts import AcceptanceWatch
from casspec.storage.schema import CascadeProfile, Mode
from casspec.storage.watched import WatchSummary

TOKENS_BETWEEN_FALSE_ALARMS = 1e6
"""Of all that is watched of a profile together, on average at least."""

_log = logging.getLogger("casspec")


class ProfileWatch:
    """Of one profile from now on. Whoever serves tells it of texts and forwards; any thread may ask it.

    A drift is logged when it is found, with what to run, and when it is over.

    Args:
        profile: as it is served: with the cascade of its task.
        model: as it was named to casspec. suite: the file that requests are recorded to, if they are.
        options: of the command that calibrates for what is served.
        clock: seconds, only going forward.
    """

    def __init__(
        self,
        profile: CascadeProfile,
        model: str,
        suite: str | None = None,
        clock: Callable[[], float] = time.monotonic,
        options: Sequence[str] = (),
    ) -> None:
        promised = figures(profile)
        n_plans = 1 + sum(spec.kind == "self" for spec in profile.drafters)
        each = TOKENS_BETWEEN_FALSE_ALARMS * 2 * (len(promised) + n_plans)  # both ends of every range
        self._texts = AcceptanceWatch(promised, each)
        self._forwards = LatencyWatch(each, max(TOLERANCE, 1.0 + profile.latency.cv_p90_error))
        self._profile_id, self._model, self._suite, self._clock = profile.profile_id, model, suite, clock
        self._options = tuple(options)
        self._began_at = _now()
        self._tokens = 0
        self._told: set[tuple[str, str, str | None]] = set()
        self._lock = Lock()

    def text(self, mode: Mode, statistics: Statistics) -> None:
        """A text is over, whether it came to its end or was cancelled."""
        with self._lock:
            self._tokens += statistics.emitted_tokens
            self._texts.text(mode, statistics)
            self._tell()

    def forward(self, plan: str, predicted_ms: float, measured_ms: float) -> None:
        """A forward of a plan ran, `predicted_ms` by the profile's latency model without correction."""
        with self._lock:
            if self._forwards.forward(plan, predicted_ms, measured_ms, self._clock(), self._tokens):
                self._tell()

    @property
    def drifts(self) -> tuple[Drift, ...]:
        """What no longer is as the profile says; () while it fits."""
        with self._lock:
            return self._found()

    def remedy(self, drift: Drift) -> str:
        """The command to run."""
        return drift.remedy(self._model, self._suite, self._options)

    def summary(self) -> WatchSummary:
        """What was seen so far."""
        with self._lock:
            return WatchSummary(
                profile_id=self._profile_id,
                began_at=self._began_at,
                ended_at=_now(),
                tokens=self._tokens,
                drafters=self._texts.seen,
                plans=self._forwards.seen,
            )

    def _found(self) -> tuple[Drift, ...]:
        return (*self._texts.drifts, *self._forwards.drifts)

    def _tell(self) -> None:
        """Logs what is new."""
        found = {(drift.kind, drift.subject, drift.mode): drift for drift in self._found()}
        for key in found.keys() - self._told:
            _log.warning("%s; run: %s", found[key].says, self.remedy(found[key]))
        for kind, subject, _ in self._told - found.keys():
            _log.warning("the profile fits again: %s of %s is as calibrated", kind, subject)
        self._told = set(found)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
