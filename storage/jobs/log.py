"""The log of a job: lines its workers said, the latest of them, in one row that stays small whatever a worker has to say."""

from __future__ import annotations

import re
from collections.abc import Sequence

from sqlalchemy.orm import Session

from casspec.storage.database.rows import insert_once, now
from casspec.storage.database.tables import JobLogRow
from casspec.storage.jobs.documents import JobLog, LogLine

MOST_LINES = 500
MOST_BYTES = 64 << 10
"""Of all texts of a log."""

LONGEST_LINE = 2000

PASSWORD = re.compile(r"(://[^\s/:@]{0,200}):[^\s/@]{1,1000}@")
"""Of a URL; the first group is what stands before it."""


def append(session: Session, job_id: str, lines: Sequence[str]) -> None:
    """Adds lines, and drops the earliest where there are too many. The caller holds the job's lease."""
    if not lines:
        return
    insert_once(session, JobLogRow, job_id=job_id, document=JobLog().canonical_json())
    row = session.get_one(JobLogRow, job_id, populate_existing=True)
    before = JobLog.model_validate_json(row.document).lines
    first, at = (before[-1].number if before else 0) + 1, now()
    added = [LogLine(number=number, at=at, text=plain(line)) for number, line in enumerate(lines, first)]
    row.document = JobLog(lines=_latest([*before, *added])).canonical_json()


def kept(session: Session, job_id: str, after: int = 0) -> JobLog:
    """The lines there are, with a number above `after`."""
    row = session.get(JobLogRow, job_id)
    found = JobLog() if row is None else JobLog.model_validate_json(row.document)
    return JobLog(lines=tuple(line for line in found.lines if line.number > after))


def plain(text: str) -> str:
    """One line of printable text without passwords, of at most LONGEST_LINE characters."""
    line = "".join(letter if letter.isprintable() else " " for letter in text[: 2 * LONGEST_LINE])
    return PASSWORD.sub(r"\1:***@", " ".join(line.split()))[:LONGEST_LINE]


def _latest(lines: Sequence[LogLine]) -> tuple[LogLine, ...]:
    """As many from the end as a log may hold."""
    n_bytes, chosen = 0, list[LogLine]()
    for line in reversed(lines[-MOST_LINES:]):
        n_bytes += len(line.text.encode())
        if n_bytes > MOST_BYTES:
            break
        chosen.append(line)
    return tuple(reversed(chosen))
