"""The queue of calibrations: what was submitted, who runs it, and what came of it.

A job is run under two fenced leases, one on the job and one on the device it runs on: one worker a job, one job a device. A worker
renews both; one that is silent for longer than an expiry, or known to be dead, loses them, and the next worker of that kind of device
takes the job up where its measurements end. Whatever a worker writes about a job is checked against its lease, so what an earlier
holder still has to say changes nothing.

Leases are locked in one order everywhere: the device's, the job's, then the job itself.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Select, func, select, tuple_
from sqlalchemy.orm import Session

from casspec.storage.database.connection import Database
from casspec.storage.database.rows import insert_once, now
from casspec.storage.database.tables import JobRow
from casspec.storage.errors import JobNotFound, QueueFull
from casspec.storage.holders import is_dead
from casspec.storage.jobs.documents import ENDED, Job, JobLog, JobProgress, JobRequest, JobStatus
from casspec.storage.jobs.log import append, kept
from casspec.storage.leases import Lease, Leases, check

JOB, DEVICE = "job", "job-device"
"""Kinds of leases: keys are the job's ID, and the device's name across machines."""

EXPIRY_S = 45.0
"""Silence after which a worker is presumed dead; one may wait for the database for 30 s."""

MOST_ATTEMPTS = 10
"""A job that ended that many workers ends the next one too."""

LONGEST_MESSAGE = 2000

MOST_LISTED = 500


@dataclass(frozen=True, slots=True)
class Claim:
    """A job that a worker holds."""

    job: Job
    lease: Lease
    device: Lease


@dataclass(frozen=True, slots=True)
class Place:
    """Where a worker computes.

    Attributes:
        kind: of device, by which jobs ask for it. name: of this very device, across machines.
    """

    kind: str
    name: str


class JobQueue:
    """The jobs of a database.

    Args:
        clock: of the leases, seconds since 1970; None asks the database.
    """

    def __init__(self, database: Database, clock: Callable[[], float] | None = None) -> None:
        self._database = database
        self._leases = Leases(database, clock)

    # ---------------------------------------------------------------------------------------------------- who asks

    def submit(self, request: JobRequest, job_id: str | None = None, max_queued: int | None = None) -> Job:
        """A queued job. With the ID of an earlier one that job is returned as it stands, so that whoever is unsure may submit again.

        Raises QueueFull where `max_queued` jobs wait and this would be one more.
        """
        job_id = job_id or uuid.uuid4().hex[:16]
        with self._database.writing() as session:
            _check_room(session, job_id, max_queued)
            insert_once(
                session,
                JobRow,
                job_id=job_id,
                device=request.device,
                status="queued",
                submitted_at=now(),
                request=request.canonical_json(),
                progress=JobProgress().canonical_json(),
                cancel_asked=False,
                attempts=0,
            )
            return _job(session.get_one(JobRow, job_id))

    def check_room(self, max_queued: int, job_id: str | None = None) -> None:
        """Raises QueueFull where `submit` would, as it stands now."""
        with self._database.reading() as session:
            _check_room(session, job_id or "", max_queued)

    def get(self, job_id: str) -> Job:
        """Raises JobNotFound."""
        with self._database.reading() as session:
            row = session.get(JobRow, job_id)
            if row is None:
                raise _missing(job_id)
            return _job(row)

    def listed(
        self, status: JobStatus | None = None, device: str | None = None, limit: int = 50, before: str | None = None
    ) -> list[Job]:
        """The latest submitted first, at most `limit` (of at most MOST_LISTED), of a status and a kind of device where these are given.

        `before`: the ID of a job; those that were submitted earlier.

        Raises JobNotFound where there is no job `before`.
        """
        statement = select(JobRow).order_by(JobRow.submitted_at.desc(), JobRow.job_id.desc())
        if status is not None:
            statement = statement.where(JobRow.status == status)
        if device is not None:
            statement = statement.where(JobRow.device == device)
        with self._database.reading() as session:
            if before is not None:
                last = session.get(JobRow, before)
                if last is None:
                    raise _missing(before)
                place = tuple_(JobRow.submitted_at, JobRow.job_id)
                statement = statement.where(place < (last.submitted_at, last.job_id))
            return [_job(row) for row in session.scalars(statement.limit(min(limit, MOST_LISTED)))]

    def counts(self) -> dict[str, int]:
        """How many there are of each status that any has."""
        with self._database.reading() as session:
            rows = session.execute(select(JobRow.status, func.count()).group_by(JobRow.status))
            return dict(rows.tuples().all())

    def maker_of(self, profile_hash: str) -> Job | None:
        """The latest job that made a profile; None where none of them did."""
        made = select(JobRow).where(JobRow.profile_hash == profile_hash, JobRow.status == "done")
        with self._database.reading() as session:
            row = session.scalar(made.order_by(JobRow.submitted_at.desc()).limit(1))
            return None if row is None else _job(row)

    def ask_to_cancel(self, job_id: str) -> Job:
        """Cancels a queued job at once; a running one ends when its worker hears of it. One that has ended stays as it is.

        Raises JobNotFound.
        """
        with self._database.writing() as session:
            row = _locked(session, job_id)
            if row is None:
                raise _missing(job_id)
            if row.status not in ENDED:
                row.cancel_asked = True
                if row.status == "queued":
                    _end(row, "cancelled")
            return _job(row)

    def log(self, job_id: str, after: int = 0) -> JobLog:
        """What its workers said, the latest lines of it; those with a number above `after`. Raises JobNotFound."""
        with self._database.reading() as session:
            if session.get(JobRow, job_id) is None:
                raise _missing(job_id)
            return kept(session, job_id, after)

    # ---------------------------------------------------------------------------------------------------- who places

    def waiting(self, expiry_s: float = EXPIRY_S, is_dead: Callable[[str], bool] = is_dead) -> list[tuple[str, str]]:
        """ID and kind of device of every job that no living worker holds, in the order they were submitted."""
        chosen = select(JobRow.job_id, JobRow.device).where(JobRow.status.in_(("queued", "running")))
        with self._database.reading() as session:
            found = session.execute(chosen.order_by(JobRow.submitted_at, JobRow.job_id)).all()
        if not found:
            return []
        held = {lease.key for lease in self._leases.living(JOB, "", expiry_s, is_dead)}
        return [(job_id, kind) for job_id, kind in found if job_id not in held]

    # ---------------------------------------------------------------------------------------------------- who works

    def claim(
        self,
        worker: str,
        place: Place,
        expiry_s: float = EXPIRY_S,
        is_dead: Callable[[str], bool] = is_dead,
        only: str | None = None,
    ) -> Claim | None:
        """The job of this kind of device that waits longest, those of dead workers included; None where none waits or the device is held.

        Jobs found on the way that were to be cancelled, or that ended too many workers, end here.

        Args:
            worker: its `holder_name`. is_dead: whether a worker is known to have ended. only: ID of the one job to take.
        """
        wanted = _open_jobs(place.kind)
        wanted = wanted if only is None else wanted.where(JobRow.job_id == only)
        with self._database.reading() as session:
            if session.scalar(wanted.limit(1)) is None:
                return None
        with self._database.joining() as session:
            self._leases.living(DEVICE, place.name, expiry_s, is_dead)
            device = self._leases.acquire(DEVICE, place.name, worker, expiry_s)
            if device is None:
                return None
            self._leases.living(JOB, "", expiry_s, is_dead)
            for job_id in session.scalars(wanted).all():
                lease = self._leases.acquire(JOB, job_id, worker, expiry_s)
                row = None if lease is None else _locked(session, job_id)
                if lease is None or row is None:
                    continue
                if _begin(row, worker):
                    return Claim(_job(row), lease, device)
                self._leases.release(lease)
            self._leases.release(device)
            return None

    def renew(self, claim: Claim) -> Job:
        """One more heartbeat; the job as it stands, which says whether it is to be cancelled. Raises LeaseLost."""
        with self._database.joining() as session:
            self._leases.renew(claim.device)
            self._leases.renew(claim.lease)
            return _job(session.get_one(JobRow, claim.job.job_id))

    def tell(self, claim: Claim, progress: JobProgress) -> None:
        """How far it is now. Raises LeaseLost, and then nothing is written."""
        with self._database.writing() as session:
            check(session, claim.lease)
            session.get_one(JobRow, claim.job.job_id).progress = progress.canonical_json()

    def say(self, claim: Claim, lines: Sequence[str]) -> None:
        """Adds lines to the job's log, of which the latest are kept. Raises LeaseLost, and then nothing is written."""
        with self._database.writing() as session:
            check(session, claim.lease)
            append(session, claim.job.job_id, lines)

    def finish(self, claim: Claim, profile_hash: str) -> Job:
        """It is done. Raises LeaseLost, as all that follow."""
        return self._ended(claim, "done", profile_hash=profile_hash)

    def fail(self, claim: Claim, message: str) -> Job:
        """It has failed; `message` says why, in one line."""
        return self._ended(claim, "failed", message=message)

    def cancel(self, claim: Claim) -> Job:
        """It ends because that was asked for."""
        return self._ended(claim, "cancelled")

    def hand_back(self, claim: Claim, counts: bool = False) -> Job:
        """It is queued again at its old place, for another worker. `counts`: as an attempt that ended its worker."""
        with self._held(claim) as (session, row):
            row.status = "queued"
            row.attempts -= 0 if counts else 1
            if row.cancel_asked:
                _end(row, "cancelled")
            session.flush()
            return _job(row)

    def leave(self, claim: Claim) -> None:
        """Gives up what is still held of a claim and says nothing of the job: whoever is next takes it up."""
        with self._database.joining():
            self._leases.release(claim.device)
            self._leases.release(claim.lease)

    def _ended(
        self, claim: Claim, status: JobStatus, profile_hash: str | None = None, message: str | None = None
    ) -> Job:
        with self._held(claim) as (session, row):
            _end(row, status, message)
            row.profile_hash = profile_hash
            session.flush()
            return _job(row)

    @contextmanager
    def _held(self, claim: Claim) -> Iterator[tuple[Session, JobRow]]:
        """The row of a job whose leases are given up with the transaction."""
        with self._database.joining() as session:
            self._leases.release(claim.device)
            check(session, claim.lease)
            row = _locked(session, claim.job.job_id)
            assert row is not None
            yield session, row
            self._leases.release(claim.lease)


def _check_room(session: Session, job_id: str, max_queued: int | None) -> None:
    if max_queued is None or session.get(JobRow, job_id) is not None:
        return
    queued = select(func.count()).select_from(JobRow).where(JobRow.status == "queued")
    if session.scalars(queued).one() >= max_queued:
        raise QueueFull(f"{max_queued} jobs wait, as many as may: submit this one later, or cancel some")


def _open_jobs(kind: str) -> Select[Any]:
    """IDs of those that have not ended, in the order they were submitted."""
    chosen = select(JobRow.job_id).where(JobRow.device == kind, JobRow.status.in_(("queued", "running")))
    return chosen.order_by(JobRow.submitted_at, JobRow.job_id)


def _begin(row: JobRow, worker: str) -> bool:
    """Whether it runs from here on; otherwise it has ended."""
    if row.status in ENDED:
        return False
    if row.cancel_asked:
        _end(row, "cancelled")
        return False
    if row.attempts >= MOST_ATTEMPTS:
        _end(
            row,
            "failed",
            f"it ended {row.attempts} workers, the last was {row.worker}: see its log, then submit it again",
        )
        return False
    row.status, row.worker, row.attempts = "running", worker, row.attempts + 1
    row.started_at = row.started_at or now()
    return True


def _end(row: JobRow, status: JobStatus, message: str | None = None) -> None:
    row.status, row.ended_at = status, now()
    row.message = None if message is None else " ".join(message.split())[:LONGEST_MESSAGE]


def _locked(session: Session, job_id: str) -> JobRow | None:
    """The row as it stands, kept from changing until the transaction ends."""
    return session.get(JobRow, job_id, with_for_update=True, populate_existing=True)


def _missing(job_id: str) -> JobNotFound:
    return JobNotFound(f"no job {job_id!r} here: `casspec job list` shows those that there are")


def _job(row: JobRow) -> Job:
    return Job(
        job_id=row.job_id,
        request=JobRequest.model_validate_json(row.request),
        status=row.status,  # type: ignore[arg-type]
        submitted_at=row.submitted_at,
        started_at=row.started_at,
        ended_at=row.ended_at,
        progress=JobProgress.model_validate_json(row.progress),
        cancel_asked=row.cancel_asked,
        attempts=row.attempts,
        worker=row.worker,
        profile_hash=row.profile_hash,
        message=row.message,
    )
