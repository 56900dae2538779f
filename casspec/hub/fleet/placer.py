"""Places waiting jobs: one placement a job, no more placements of a kind than there are devices of it.

What runs is the store's to say. A placement that is lost costs nothing: its job waits again once its lease has ended, and is placed
anew. Two placers over one store are no harm, for the second placement of a job finds the lease held.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from casspec.hub.fleet.documents import HostSettings, Outcome, Placement
from casspec.storage.jobs.queue import JobQueue

PAUSE_S = 10.0
"""Before a job whose placement did not run it is placed again."""


@dataclass(frozen=True, slots=True)
class Devices:
    """Of one kind: how many there are, and whether they are GPUs."""

    count: int
    are_gpus: bool


@dataclass(frozen=True, slots=True)
class Ended:
    """A placement that is over: what it returned, or the error it was lost with, in one line."""

    handle: Any
    document: str | None = None
    error: str | None = None


class Cluster(Protocol):
    """What places. Every method raises FleetError where it cannot be reached."""

    def devices(self) -> Mapping[str, Devices]:
        """By kind."""

    def place(self, document: str, kind: str, on_gpu: bool) -> Any:
        """A handle of a placement that begins when a device is free."""

    def ended(self, handles: Sequence[Any]) -> list[Ended]:
        """Those of `handles` that are over."""

    def interrupt(self, handles: Sequence[Any]) -> None:
        """Has placements hand their jobs back, and waits a little for them."""


class Placer:
    """Of one store on one cluster.

    Args:
        say: tells the operator, in a line. clock: seconds.
    """

    def __init__(
        self,
        queue: JobQueue,
        cluster: Cluster,
        host: HostSettings,
        say: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._queue, self._cluster, self._host, self._say, self._clock = queue, cluster, host, say, clock
        self._placed: dict[str, tuple[str, Any]] = {}
        self._not_before: dict[str, float] = {}
        self._missing: set[str] = set()

    def step(self) -> None:
        """Hears of placements that ended, and places what waits. Raises FleetError, and StorageError where the store does not answer."""
        self._collect()
        waiting = self._queue.waiting()
        devices = self._cluster.devices()
        taken = Counter(kind for kind, _ in self._placed.values())
        self._tell_missing({kind for _, kind in waiting} - set(devices))
        known = {job_id for job_id, _ in waiting}
        self._not_before = {job_id: at for job_id, at in self._not_before.items() if job_id in known}
        for job_id, kind in waiting:
            at_hand = devices.get(kind)
            is_pausing = self._clock() < self._not_before.get(job_id, float("-inf"))
            if at_hand is None or taken[kind] >= at_hand.count or job_id in self._placed or is_pausing:
                continue
            taken[kind] += 1
            self._place(job_id, kind, at_hand.are_gpus)

    def end(self) -> None:
        """Has every placed job handed back."""
        self._cluster.interrupt([handle for _, handle in self._placed.values()])

    def _place(self, job_id: str, kind: str, on_gpu: bool) -> None:
        placement = Placement(job_id=job_id, kind=kind, device="cuda" if on_gpu else "cpu", host=self._host)
        self._placed[job_id] = kind, self._cluster.place(placement.canonical_json(), kind, on_gpu)
        self._say(f"job {job_id}: placed on '{kind}'")

    def _collect(self) -> None:
        jobs = {handle: job_id for job_id, (_, handle) in self._placed.items()}
        for ended in self._cluster.ended(list(jobs)) if jobs else []:
            job_id = jobs[ended.handle]
            del self._placed[job_id]
            if ended.document is None:
                self._not_before[job_id] = self._clock() + PAUSE_S
                self._say(f"job {job_id}: its worker is lost, it goes on elsewhere ({ended.error})")
                continue
            outcome = Outcome.model_validate_json(ended.document)
            if outcome.status not in ("done", "failed", "cancelled"):
                self._not_before[job_id] = self._clock() + PAUSE_S
            if outcome.status is not None or outcome.message is not None:
                told = [part for part in (outcome.status, outcome.message) if part is not None]
                self._say(f"job {job_id}: {': '.join(told)}")

    def _tell_missing(self, missing: set[str]) -> None:
        for kind in sorted(missing - self._missing):
            self._say(f"jobs wait for '{kind}', which no machine of the cluster has: see `casspec worker --ray-start`")
        self._missing = missing
