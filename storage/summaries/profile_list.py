"""Keeps what lists show of profiles, and finds it: no list reads a whole profile."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from sqlalchemy import ColumnElement, Select, func, select, tuple_, update
from sqlalchemy.orm import Session

from casspec.storage.database.connection import Database
from casspec.storage.database.rows import canonical_json, insert_once
from casspec.storage.database.tables import BenchReportRow, ProfileRow, ProfileSummaryRow
from casspec.storage.errors import ProfileNotFound
from casspec.storage.schema import BenchReport, CascadeProfile
from casspec.storage.summaries.documents import MatrixCell, ProfileSummary, summary_of
from casspec.storage.summaries.measured import measured_speeds

MOST_LISTED = 500

MOST_CELLS = 1000
"""Of a matrix; the models and devices that were calibrated last are in it."""

Aliases = Mapping[str, Sequence[str]]
"""By content hash of the profile that has them."""

NO_ALIASES: Aliases = MappingProxyType({})

Subject = tuple[str, str, str, str]
"""Model and device by identity, dtype, backend."""

NEWEST_FIRST = (ProfileSummaryRow.saved_at.desc(), ProfileSummaryRow.profile_hash.desc())

SUBJECT = (
    ProfileSummaryRow.model_hash,
    ProfileSummaryRow.device_hash,
    ProfileSummaryRow.dtype,
    ProfileSummaryRow.backend,
)

SHOWN = (ProfileSummaryRow.document, ProfileSummaryRow.measured)


class ProfileList:
    """The summaries of a database.

    Aliases are told from outside: by content hash of the profile that has them, as `Repository.aliases` gives them.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def listed(
        self,
        model: str | None = None,
        device: str | None = None,
        dtype: str | None = None,
        only: Iterable[str] | None = None,
        limit: int = 50,
        before: str | None = None,
        aliases: Aliases = NO_ALIASES,
    ) -> list[ProfileSummary]:
        """The latest first, at most `limit` (of at most MOST_LISTED).

        Args:
            model, device: identities. only: content hashes of which the profile's has to be one. before: content hash of a profile, or
                its unique beginning; those that were saved earlier.

        Raises ProfileNotFound where there is no profile `before`.
        """
        wanted = ((ProfileSummaryRow.model_hash, model), (ProfileSummaryRow.device_hash, device))
        conditions = [column == value for column, value in (*wanted, (ProfileSummaryRow.dtype, dtype)) if value]
        if only is not None:
            conditions.append(ProfileSummaryRow.profile_hash.in_(list(only)))
        with self._database.reading() as session:
            if before is not None:
                conditions.append(_saved_before(session, before))
            statement = select(*SHOWN).where(*conditions).order_by(*NEWEST_FIRST).limit(min(limit, MOST_LISTED))
            return [_summary(row, aliases) for row in session.execute(statement)]

    def one(self, profile_hash: str, aliases: Aliases = NO_ALIASES) -> ProfileSummary:
        """Raises ProfileNotFound."""
        with self._database.reading() as session:
            row = session.execute(select(*SHOWN).where(ProfileSummaryRow.profile_hash == profile_hash)).first()
            if row is None:
                raise _missing(profile_hash)
            return _summary(row, aliases)

    def matrix(
        self, alias: str | None = None, aliases: Aliases = NO_ALIASES, limit: int = MOST_CELLS
    ) -> list[MatrixCell]:
        """A cell for each model, device, dtype and backend, those that were calibrated last first; at most `limit`.

        `alias`: a cell shows the profile that has it; where none has it, and without one, the latest.
        """
        holders = [profile_hash for profile_hash, names in aliases.items() if alias in names]
        with self._database.reading() as session:
            cells = {_subject(row): row for row in session.execute(_latest(limit))}
            held = select(*SHOWN, *SUBJECT).where(ProfileSummaryRow.profile_hash.in_(holders))
            shown = dict(cells) | {_subject(row): row for row in session.execute(held) if _subject(row) in cells}
        return [
            MatrixCell(
                profile=_summary(shown[subject], aliases),
                latest_id=newest.profile_hash[:12],
                n_profiles=newest.n_profiles,
            )
            for subject, newest in cells.items()
        ]

    def count(self) -> int:
        """Of all profiles."""
        with self._database.reading() as session:
            return session.scalar(select(func.count()).select_from(ProfileSummaryRow)) or 0


def keep_summary(session: Session, row: ProfileRow, profile: CascadeProfile) -> None:
    """Keeps what lists show of a profile that was stored; `row` is its own."""
    insert_once(
        session,
        ProfileSummaryRow,
        profile_hash=row.profile_hash,
        model_hash=row.model_hash,
        device_hash=row.device_hash,
        dtype=row.dtype,
        backend=(summary := summary_of(profile, row.saved_at)).backend,
        saved_at=row.saved_at,
        document=canonical_json(summary.model_dump(mode="json", exclude={"measured", "aliases"})),
        measured="{}",
    )


def keep_measured(session: Session, profile_hash: str) -> None:
    """Keeps what the newest benchmarks measured of a profile, after one was stored."""
    newest_first = select(BenchReportRow.document).where(BenchReportRow.profile_hash == profile_hash)
    documents = session.scalars(newest_first.order_by(BenchReportRow.saved_at.desc()).execution_options(yield_per=1))
    speeds = measured_speeds(BenchReport.model_validate_json(text) for text in documents)
    documents.close()
    measured = canonical_json({mode: speed.model_dump(mode="json") for mode, speed in speeds.items()})
    chosen = ProfileSummaryRow.profile_hash == profile_hash
    session.execute(update(ProfileSummaryRow).where(chosen).values(measured=measured))


def _latest(limit: int) -> Select[Any]:
    """The latest summary of each subject, with how many there are of it."""
    ranked = select(
        *SHOWN,
        *SUBJECT,
        ProfileSummaryRow.profile_hash,
        ProfileSummaryRow.saved_at,
        func.row_number().over(partition_by=SUBJECT, order_by=NEWEST_FIRST).label("place"),
        func.count().over(partition_by=SUBJECT).label("n_profiles"),
    ).subquery()
    newest_first = (ranked.c.saved_at.desc(), ranked.c.profile_hash.desc())
    return select(ranked).where(ranked.c.place == 1).order_by(*newest_first).limit(limit)


def _saved_before(session: Session, before: str) -> ColumnElement[bool]:
    starts = ProfileSummaryRow.profile_hash.startswith(before, autoescape=True)
    last = session.execute(select(ProfileSummaryRow.saved_at, ProfileSummaryRow.profile_hash).where(starts)).all()
    if len(last) != 1:
        raise _missing(before)
    return tuple_(ProfileSummaryRow.saved_at, ProfileSummaryRow.profile_hash) < tuple(last[0])


def _subject(row: Any) -> Subject:
    """Of a row that has the columns of SUBJECT."""
    return (row.model_hash, row.device_hash, row.dtype, row.backend)


def _summary(row: Any, aliases: Aliases) -> ProfileSummary:
    """Of a row that has the columns of SHOWN."""
    document = json.loads(row.document)
    document["measured"] = json.loads(row.measured)
    document["aliases"] = list(aliases.get(document["profile_hash"], ()))
    return ProfileSummary.model_validate(document)


def _missing(profile_hash: str) -> ProfileNotFound:
    return ProfileNotFound(f"no profile {profile_hash!r} here: `casspec profiles list` shows the stored IDs")
