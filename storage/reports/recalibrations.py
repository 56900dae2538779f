"""Re-calibrations as they stand: every step is one write that holds only if nobody took it before."""

from __future__ import annotations

import hashlib

from sqlalchemy import select

from casspec.storage.database.connection import Database
from casspec.storage.database.rows import insert_once
from casspec.storage.database.tables import RecalibrationRow
from casspec.storage.reports.documents import OPEN, Decision, Recalibration
from casspec.storage.schema import CascadeProfile

MOST_LISTED = 500


class Recalibrations:
    """The re-calibrations in a database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def begin(self, profile: CascadeProfile, alias: str, at: str, says: str) -> Recalibration | None:
        """One that waits for traffic; None where one is under way, or another process began it.

        Its ID follows from the profile, the alias and the one before it, so that two hubs that decide at once begin one.

        Args:
            at: UTC, ISO 8601. says: why.
        """
        before = self.last(profile)
        if before is not None and before.state in OPEN:
            return None
        told = "\n".join([profile.content_hash(), alias, before.recalibration_id if before else ""])
        begun = Recalibration(
            recalibration_id=hashlib.sha256(told.encode()).hexdigest()[:16],
            profile_hash=profile.content_hash(),
            alias=alias,
            state="wanted",
            began_at=at,
            decisions=(Decision(at=at, says=says),),
        )
        with self._database.writing() as session:
            if session.get(RecalibrationRow, begun.recalibration_id, with_for_update=True) is not None:
                return None
            insert_once(
                session,
                RecalibrationRow,
                recalibration_id=begun.recalibration_id,
                profile_hash=begun.profile_hash,
                model_hash=profile.model.identity(),
                device_hash=profile.device.identity(),
                state=begun.state,
                began_at=at,
                document=begun.canonical_json(),
            )
            kept = session.get_one(RecalibrationRow, begun.recalibration_id)
            return begun if kept.document == begun.canonical_json() else None

    def change(self, before: Recalibration, after: Recalibration) -> bool:
        """Writes the next step; False, and nothing is written, where another process took one meanwhile."""
        with self._database.writing() as session:
            row = session.get(RecalibrationRow, before.recalibration_id, with_for_update=True, populate_existing=True)
            if row is None or row.document != before.canonical_json():
                return False
            row.state, row.document = after.state, after.canonical_json()
            return True

    def open(self) -> list[Recalibration]:
        """Those under way, the earliest first."""
        statement = select(RecalibrationRow.document).where(RecalibrationRow.state.in_(sorted(OPEN)))
        with self._database.reading() as session:
            found = session.scalars(statement.order_by(RecalibrationRow.began_at))
            return [Recalibration.model_validate_json(text) for text in found]

    def listed(self, profile_hash: str | None = None, limit: int = 50) -> list[Recalibration]:
        """The latest first, of a profile where one is given."""
        statement = select(RecalibrationRow.document).order_by(RecalibrationRow.began_at.desc())
        if profile_hash is not None:
            statement = statement.where(RecalibrationRow.profile_hash == profile_hash)
        with self._database.reading() as session:
            found = session.scalars(statement.limit(min(limit, MOST_LISTED)))
            return [Recalibration.model_validate_json(text) for text in found]

    def last(self, profile: CascadeProfile) -> Recalibration | None:
        """The latest of this profile's model and device, whichever profile it began with."""
        statement = select(RecalibrationRow.document).where(
            RecalibrationRow.model_hash == profile.model.identity(),
            RecalibrationRow.device_hash == profile.device.identity(),
        )
        with self._database.reading() as session:
            text = session.scalar(statement.order_by(RecalibrationRow.began_at.desc()).limit(1))
            return None if text is None else Recalibration.model_validate_json(text)
