"""Turns reported drift into re-calibrations, and their outcome into promotions. Off unless the hub is asked to."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from casspec.hub.allowed import AllowedModels
from casspec.hub.reports.considered import considered, moment
from casspec.hub.reports.drift_settings import DriftSettings
from casspec.hub.reports.steps import Steps
from casspec.storage.errors import StorageError
from casspec.storage.reports.documents import Recalibration
from casspec.storage.repository import Repository

_log = logging.getLogger("casspec")

POLL_S = 5.0


class DriftPolicy:
    """Of one hub; two on one store decide the same.

    Args:
        say: tells the operator each decision, in a line. clock: seconds since 1970.
    """

    def __init__(
        self,
        repository: Repository,
        settings: DriftSettings,
        allowed: AllowedModels,
        say: Callable[[str], None],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._repository, self._settings, self._say, self._clock = repository, settings, say, clock
        self._steps = Steps(repository, allowed)
        self._told: dict[str, str] = {}
        self._has_failed = False
        self._stop = threading.Event()

    @contextmanager
    def running(self, every_s: float = POLL_S) -> Iterator[None]:
        """Decides inside the block, on a thread of its own."""
        thread = threading.Thread(target=self._run, args=(every_s,), name="casspec-drift", daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._stop.set()
            thread.join()

    def tick(self) -> None:
        """Takes the steps that can be taken now. Raises StorageError."""
        for one in self._repository.recalibrations.open():
            after = self._steps.next(one, moment(self._clock()))
            if after is not None and self._repository.recalibrations.change(one, after):
                self._tell(after)
        told = {}
        for each in considered(self._repository, self._settings, self._clock()):
            profile_hash = each.profile.content_hash()
            if each.is_due:
                at = moment(self._clock())
                begun = self._repository.recalibrations.begin(each.profile, each.alias, at, each.says)
                if begun is not None:
                    self._tell(begun)
                continue
            told[profile_hash] = each.says
            if self._told.get(profile_hash) != each.says:
                self._say(f"drift of profile {profile_hash[:12]}: {each.says}")
        self._told = told

    def _run(self, every_s: float) -> None:
        while not self._stop.wait(every_s):
            try:
                self.tick()
                self._has_failed = False
            except StorageError as error:
                if not self._has_failed:
                    self._say(f"drift is not looked at: {' '.join(str(error).split())}")
                self._has_failed = True
            except Exception:
                if not self._has_failed:
                    _log.exception("drift is not looked at")
                self._has_failed = True

    def _tell(self, one: Recalibration) -> None:
        self._say(
            f"re-calibration {one.recalibration_id} of profile {one.profile_hash[:12]}, '{one.alias}': {one.state}: "
            f"{one.decisions[-1].says}"
        )
