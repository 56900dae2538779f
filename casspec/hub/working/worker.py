"""A worker: takes the jobs of one device from the store, one after the other, and runs each under its leases.

A heart beside the job renews the leases and hears whether the job is to be cancelled. The job hears of it when it next tells how far it
is, and ends there: what was measured is stored, so whoever takes it up goes on from it. A worker that cannot reach the store for as
long as others wait for it stops too, for another may have its job by then.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Literal

from casspec.hub.working.lines import Lines
from casspec.profiler.progress import Progress
from casspec.storage.errors import CasspecError, LeaseLost, StorageError
from casspec.storage.holders import holder_name
from casspec.storage.jobs.documents import Job, JobProgress
from casspec.storage.jobs.queue import EXPIRY_S, Claim, JobQueue, Place
from casspec.storage.repository import Repository

_log = logging.getLogger("casspec")

HEARTBEAT_S = 3.0
POLL_S = 1.0
TELL_EVERY_S = 0.5
NOTE_EVERY_S = 10.0
"""Between notes that go into the job's log."""

INSIST_EVERY_S = 1.0
"""Between attempts to tell a store that is away how a job ended."""

Reason = Literal["cancel", "lost"]


class Stopped(BaseException):
    """Raised inside a job that is to end: no error, and nothing that handles errors is to catch it."""


class Heart:
    """Beats for one claim.

    Args:
        beside: called with every beat.

    Attributes:
        reason: why the job is to end; None while it may go on.
    """

    def __init__(
        self,
        queue: JobQueue,
        claim: Claim,
        every_s: float = HEARTBEAT_S,
        clock: Callable[[], float] = time.monotonic,
        beside: Callable[[], None] = lambda: None,
    ) -> None:
        self._queue, self._claim, self._every_s, self._clock = queue, claim, every_s, clock
        self._beside = beside
        self.reason: Reason | None = None
        self._renewed_s = clock()
        self._stop = threading.Event()

    @contextmanager
    def beating(self) -> Iterator[None]:
        """Beats on a thread of its own inside the block."""
        thread = threading.Thread(target=self._run, name="casspec-heart", daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._stop.set()
            thread.join()

    def must_stop(self) -> bool:
        """Whether the job is to end here."""
        if self._clock() - self._renewed_s > EXPIRY_S:
            self.reason = "lost"
        return self.reason is not None

    def beat(self) -> None:
        """One heartbeat."""
        begun_s = self._clock()
        try:
            job = self._queue.renew(self._claim)
        except LeaseLost:
            self.reason = "lost"
        except StorageError:
            return  # the next one may come through
        else:
            self._renewed_s = begun_s
            if job.cancel_asked and self.reason is None:
                self.reason = "cancel"
            self._beside()

    def _run(self) -> None:
        while self.reason != "lost" and not self._stop.wait(self._every_s):
            self.beat()


class JobStages:
    """The stages of a job, told to the store.

    Args:
        is_stopped: asked at every step, which raises Stopped where it says so. clock: seconds. lines: of the job's log; None makes some.
    """

    def __init__(
        self,
        queue: JobQueue,
        claim: Claim,
        is_stopped: Callable[[], bool],
        clock: Callable[[], float] = time.monotonic,
        lines: Lines | None = None,
    ) -> None:
        self._queue, self._claim, self._is_stopped, self._clock = queue, claim, is_stopped, clock
        self._lines = lines or Lines(queue, claim)
        self._stages: Sequence[str] = ()
        self._now = claim.job.progress.model_copy(update={"done": 0, "total": None, "note": ""})
        self._told_s = self._noted_s = float("-inf")

    def plan(self, stages: Sequence[str], estimate_s: float | None) -> None:
        """Which stages there will be, and about how many seconds all of them take."""
        self._stages = stages
        if estimate_s is not None:
            self._lines.add(f"about {estimate_s:.0f} s in all")
        self._set(JobProgress(stage=self._now.stage, estimate_s=estimate_s), at_once=True)

    @contextmanager
    def stage(self, name: str, total: int | None = None) -> Iterator[Progress]:
        """The progress of a stage."""
        numbered = f"{self._stages.index(name) + 1}/{len(self._stages)} {name}" if name in self._stages else name

        steps = total

        def progress(done: int, /, total: int | None = None, note: str = "") -> None:
            self._note(numbered, note)
            self._set(self._at(numbered, done, steps if total is None else total, note))

        self._lines.add(f"{numbered} begins{'' if total is None else f', {total} steps'}")
        self._set(self._at(numbered, 0, total), at_once=True)
        yield progress

    def _at(self, stage: str, done: int, total: int | None, note: str = "") -> JobProgress:
        return JobProgress(stage=stage, done=done, total=total, note=note[:200], estimate_s=self._now.estimate_s)

    def _note(self, stage: str, note: str) -> None:
        if note and note != self._now.note and self._clock() - self._noted_s >= NOTE_EVERY_S:
            self._noted_s = self._clock()
            self._lines.add(f"{stage}: {note}")

    def _set(self, progress: JobProgress, at_once: bool = False) -> None:
        if self._is_stopped():
            raise Stopped
        self._now = progress
        if at_once or self._clock() - self._told_s >= TELL_EVERY_S:
            self._told_s = self._clock()
            self._lines.flush()
            try:
                self._queue.tell(self._claim, progress)
            except LeaseLost:
                raise Stopped from None


def place_of(device: str, kind: str | None = None) -> Place:
    """Of cpu, cuda or cuda:N on this machine. `kind`: None for cpu, or the name of the GPU.

    Its name says the GPU's number on the machine, whichever of them this process may see.
    """
    if device == "cpu":
        return Place(kind or "cpu", f"{socket.gethostname()}/cpu")
    import torch

    index = int(device.partition(":")[2] or 0)
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
    number = visible[index].strip() if index < len(visible) and visible[index].strip() else str(index)
    return Place(kind or torch.cuda.get_device_name(index), f"{socket.gethostname()}/cuda:{number}")


Run = Callable[[Repository, Job, JobStages], str]
"""Runs a job and returns the content hash of its profile."""


class Worker:
    """Of one device.

    Args:
        run: what a job runs. say: tells the operator, in a line. pause: waits for so many seconds.
    """

    def __init__(
        self,
        repository: Repository,
        place: Place,
        run: Run,
        say: Callable[[str], None] = lambda line: None,
        heartbeat_s: float = HEARTBEAT_S,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self._repository, self._place, self._run, self._say = repository, place, run, say
        self._queue, self._heartbeat_s, self._pause = repository.jobs, heartbeat_s, pause
        self._name = holder_name()

    def work(self, wait: Callable[[], bool]) -> None:
        """Takes jobs until `wait` says False, called where there is none to take or one was handed back."""
        while True:
            try:
                job = self.work_once()
            except StorageError as error:
                self._say(str(error))
                job = None
            if (job is None or not job.has_ended) and not wait():
                return

    def work_once(self, only: str | None = None) -> Job | None:
        """Takes the next job and runs it to its end; the job as it stands then, None where there is none.

        `only`: ID of the one job to take.

        Raises StorageError where the queue cannot be read or written; KeyboardInterrupt after the job was handed back.
        """
        claim = self._queue.claim(self._name, self._place, only=only)
        if claim is None:
            return None
        self._say(f"job {claim.job.job_id}: {claim.job.request.model}, attempt {claim.job.attempts}")
        try:
            job = self._ran(claim)
        except LeaseLost:
            self._queue.leave(claim)
            job = self._queue.get(claim.job.job_id)
        self._say(f"job {job.job_id}: {job.status}{f': {job.message}' if job.message else ''}")
        return job

    def _ran(self, claim: Claim) -> Job:
        lines = Lines(self._queue, claim)
        lines.add(f"attempt {claim.job.attempts} on {self._place.name}, by {self._name}")
        heart = Heart(self._queue, claim, self._heartbeat_s, beside=lines.flush)
        stages = JobStages(self._queue, claim, heart.must_stop, lines=lines)
        try:
            with heart.beating(), lines.heard():
                profile_hash = self._run(self._repository, claim.job, stages)
        except Stopped:
            return self._stopped(claim, heart, lines)
        except KeyboardInterrupt:
            lines.end("handed back, for the worker ends")
            with suppress(StorageError):
                self._queue.hand_back(claim)
            raise
        except StorageError as error:
            self._say(f"job {claim.job.job_id} is handed back: {error}")
            lines.end(f"handed back: {error}")
            return self._insist(lambda: self._queue.hand_back(claim, counts=True))
        except CasspecError as error:
            return self._failed(claim, lines, str(error))
        except Exception as error:
            _log.exception("job %s failed", claim.job.job_id)
            reason = f"{type(error).__name__}: {error} (this is a bug, the worker's log has more)"
            return self._failed(claim, lines, reason)
        lines.end(f"done: profile {profile_hash[:12]}")
        return self._insist(lambda: self._queue.finish(claim, profile_hash))

    def _failed(self, claim: Claim, lines: Lines, reason: str) -> Job:
        lines.end(f"failed: {reason}")
        return self._insist(lambda: self._queue.fail(claim, reason))

    def _stopped(self, claim: Claim, heart: Heart, lines: Lines) -> Job:
        if heart.reason == "cancel":
            lines.end("cancelled")
            return self._insist(lambda: self._queue.cancel(claim))
        self._queue.leave(claim)
        return self._queue.get(claim.job.job_id)

    def _insist(self, write: Callable[[], Job]) -> Job:
        """What `write` returns; it is called again for as long as a store that is away may come back before the leases end."""
        for _ in range(int(EXPIRY_S / INSIST_EVERY_S)):
            try:
                return write()
            except LeaseLost:
                raise
            except StorageError:
                self._pause(INSIST_EVERY_S)
        return write()
