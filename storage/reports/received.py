"""The reports of servers: the latest of each server and profile, and a bounded history behind it."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Select, delete, func, select
from sqlalchemy.orm import Session

from casspec.storage.database.connection import Database
from casspec.storage.database.rows import insert_or_replace
from casspec.storage.database.tables import ServerReportRow
from casspec.storage.reports.documents import ReceivedReport

HISTORY = 120
"""Reports of a server and profile that are kept."""

MOST_KEPT = 20_000
"""Reports in all; the oldest go first."""

MOST_LISTED = 500


class Reports:
    """The reports in a database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, report: ReceivedReport) -> None:
        """Keeps a report, and lets go of what is beyond the bounds."""
        key = {"server": report.server, "profile_hash": report.profile_hash, "received_at": report.received_at}
        with self._database.writing() as session:
            insert_or_replace(
                session,
                ServerReportRow,
                key,
                says_drift=bool(report.drifts),
                suite_sha256=report.suite_sha256,
                document=report.canonical_json(),
            )
            own = (ServerReportRow.server == report.server, ServerReportRow.profile_hash == report.profile_hash)
            _keep_newest(session, HISTORY, *own)
            _keep_newest(session, MOST_KEPT)

    def latest(
        self, profile_hash: str | None = None, server: str | None = None, limit: int = 50
    ) -> list[ReceivedReport]:
        """The newest report of each server and profile, the newest first."""
        newest = func.max(ServerReportRow.received_at).label("received_at")
        each = select(ServerReportRow.server, ServerReportRow.profile_hash, newest)
        each = _of(each, profile_hash, server).group_by(ServerReportRow.server, ServerReportRow.profile_hash)
        last = each.subquery()
        same = (
            (ServerReportRow.server == last.c.server)
            & (ServerReportRow.profile_hash == last.c.profile_hash)
            & (ServerReportRow.received_at == last.c.received_at)
        )
        return self._read(select(ServerReportRow.document).join(last, same), limit)

    def history(
        self, profile_hash: str | None = None, server: str | None = None, limit: int = 50
    ) -> list[ReceivedReport]:
        """All that is kept, the newest first."""
        return self._read(_of(select(ServerReportRow.document), profile_hash, server), limit)

    def drifting(self, since: str) -> list[str]:
        """Content hashes of profiles that a report received from `since` on (UTC, ISO 8601) says drift of."""
        statement = select(ServerReportRow.profile_hash).distinct()
        statement = statement.where(ServerReportRow.says_drift, ServerReportRow.received_at >= since)
        with self._database.reading() as session:
            return sorted(session.scalars(statement))

    def with_traffic(self, profile_hash: str, since: str) -> ReceivedReport | None:
        """The newest report of a profile that came with requests, received from `since` on."""
        statement = _of(select(ServerReportRow.document), profile_hash, None)
        statement = statement.where(ServerReportRow.suite_sha256.is_not(None), ServerReportRow.received_at >= since)
        return next(iter(self._read(statement, 1)), None)

    def _read(self, statement: Select[Any], limit: int) -> list[ReceivedReport]:
        newest_first = statement.order_by(ServerReportRow.received_at.desc(), ServerReportRow.server)
        with self._database.reading() as session:
            documents = session.scalars(newest_first.limit(min(limit, MOST_LISTED)))
            return [ReceivedReport.model_validate_json(text) for text in documents]


def _of(statement: Any, profile_hash: str | None, server: str | None) -> Any:
    """The statement, of a select of one or several columns, for a profile and a server where these are given."""
    if profile_hash is not None:
        statement = statement.where(ServerReportRow.profile_hash == profile_hash)
    return statement if server is None else statement.where(ServerReportRow.server == server)


def _keep_newest(session: Session, most: int, *where: Any) -> None:
    """Deletes the reports behind the newest `most` of those that are meant."""
    newest_first = select(ServerReportRow.received_at).where(*where).order_by(ServerReportRow.received_at.desc())
    last = session.scalar(newest_first.offset(most).limit(1))
    if last is not None:
        session.execute(delete(ServerReportRow).where(*where, ServerReportRow.received_at <= last))
