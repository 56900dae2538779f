"""Who may work on what: leases that end with their holder, and fencing numbers that keep a holder who comes back from writing.

A lease is on one resource, a kind and a key. Its holder renews it; whoever finds it silent for longer than an expiry may take it over.
A holder can be presumed dead and yet come back, so time alone protects nothing: every take-over raises the resource's fencing number,
and `check` compares it in the transaction of each write that the lease is for.

The clock is the database's, one for all machines.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy import delete, select, text
from sqlalchemy.orm import Session

from casspec.storage.database.connection import Database
from casspec.storage.database.rows import insert_once
from casspec.storage.database.tables import LeaseRow
from casspec.storage.errors import LeaseLost

SQLITE_EPOCH_S = "(julianday('now') - 2440587.5) * 86400.0"
POSTGRESQL_EPOCH_S = "CAST(EXTRACT(EPOCH FROM clock_timestamp()) AS DOUBLE PRECISION)"


@dataclass(frozen=True, slots=True)
class Lease:
    """What a holder holds, as of when it was read. Times are seconds since 1970."""

    kind: str
    key: str
    owner: str
    fencing: int
    """Grows with every take-over of the resource."""
    taken_at: float
    heartbeat_at: float


class Leases:
    """The leases of a database.

    A key that begins with a calibration's ID and a slash belongs to that calibration: its lease is deleted with it.

    Args:
        clock: seconds since 1970; None asks the database.
    """

    def __init__(self, database: Database, clock: Callable[[], float] | None = None) -> None:
        self._database = database
        self._clock = clock

    def acquire(self, kind: str, key: str, owner: str, expiry_s: float) -> Lease | None:
        """Takes the resource when it is free or its holder silent for more than `expiry_s`; None when it is held."""
        with self._database.writing() as session:
            now = self._now(session)
            insert_once(session, LeaseRow, kind=kind, key=key, owner=None, fencing=0, taken_at=now, heartbeat_at=now)
            row = _row(session, kind, key)
            assert row is not None
            if row.owner is not None and now - row.heartbeat_at <= expiry_s:
                return None
            row.owner, row.fencing = owner, row.fencing + 1
            row.taken_at = row.heartbeat_at = now
            return _lease(row)

    def renew(self, lease: Lease) -> Lease:
        """One more heartbeat. Raises LeaseLost where the resource was released or taken over."""
        with self._database.writing() as session:
            row = check(session, lease)
            row.heartbeat_at = self._now(session)
            return _lease(row)

    def release(self, lease: Lease) -> None:
        """Frees the resource, whoever asks: nothing can be written under this lease from now on. One that is lost stays lost."""
        with self._database.writing() as session:
            row = _row(session, lease.kind, lease.key)
            if row is not None and _is_held(row, lease):
                row.owner = None

    def is_current(self, lease: Lease) -> bool:
        """Whether it could be written under this lease now; only `check` says so for a write."""
        with self._database.writing() as session:
            row = _row(session, lease.kind, lease.key)
            return row is not None and _is_held(row, lease)

    def living(
        self, kind: str, prefix: str, expiry_s: float, is_dead: Callable[[str], bool] = lambda owner: False
    ) -> list[Lease]:
        """Leases on keys that begin with `prefix`, after those of the dead were released.

        Args:
            expiry_s: an owner silent for longer is presumed dead.
            is_dead: whether an owner is known to be dead already.
        """
        statement = (
            select(LeaseRow)
            .where(LeaseRow.kind == kind, LeaseRow.owner.is_not(None), LeaseRow.key.startswith(prefix, autoescape=True))
            .order_by(LeaseRow.key)
            .with_for_update()
            .execution_options(populate_existing=True)
        )
        with self._database.writing() as session:
            now, held = self._now(session), []
            for row in session.scalars(statement):
                if now - row.heartbeat_at > expiry_s or is_dead(str(row.owner)):
                    row.owner = None
                else:
                    held.append(_lease(row))
            return held

    def _now(self, session: Session) -> float:
        if self._clock is not None:
            return self._clock()
        is_sqlite = session.get_bind().dialect.name == "sqlite"
        return float(
            session.execute(text(f"SELECT {SQLITE_EPOCH_S if is_sqlite else POSTGRESQL_EPOCH_S}")).scalar_one()
        )


def check(session: Session, lease: Lease) -> LeaseRow:
    """Raises LeaseLost unless the lease is held; until the transaction of `session` ends nobody can take it over."""
    row = _row(session, lease.kind, lease.key)
    if row is None or not _is_held(row, lease):
        now = "nobody's" if row is None or row.owner is None else f"number {row.fencing} of {row.owner}"
        raise LeaseLost(
            f"the lease number {lease.fencing} of {lease.owner} on {lease.kind} {lease.key} is lost, it is {now}: "
            "nothing was written, take the work up again with a new lease"
        )
    return row


def forget(session: Session, calibration_id: str) -> None:
    """Deletes the leases that belong to a calibration."""
    session.execute(delete(LeaseRow).where(LeaseRow.key.startswith(f"{calibration_id}/", autoescape=True)))


def _row(session: Session, kind: str, key: str) -> LeaseRow | None:
    """The row, kept from changing until the transaction ends (SQLite lets one transaction write at a time anyway)."""
    return session.get(LeaseRow, {"kind": kind, "key": key}, with_for_update=True, populate_existing=True)


def _is_held(row: LeaseRow, lease: Lease) -> bool:
    return (row.owner, row.fencing) == (lease.owner, lease.fencing)


def _lease(row: LeaseRow) -> Lease:
    return Lease(row.kind, row.key, str(row.owner), row.fencing, row.taken_at, row.heartbeat_at)
