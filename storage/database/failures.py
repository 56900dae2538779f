"""Turns what a database driver or the file system raises into one StorageError line that says what to do next."""

from __future__ import annotations

import errno
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from casspec.storage.database.location import printable
from casspec.storage.errors import StorageError

ELSEWHERE = "or name another database with --storage or CASSPEC_STORAGE"

FULL = f"has no disk space left: what was saved before is kept; free some space and run again, {ELSEWHERE}"
READ_ONLY = f"is read-only: make the file and its folder writable, {ELSEWHERE}"
CORRUPT = f"is not a readable SQLite database: restore it from a backup, move it away, {ELSEWHERE}"
BUSY = "stays locked by another process: wait for that run to end and run again"
CANNOT_OPEN = f"cannot be opened: check that the folder exists and may be written, {ELSEWHERE}"

SQLITE_ADVICE = {
    "SQLITE_FULL": FULL,
    "SQLITE_READONLY": READ_ONLY,
    "SQLITE_PERM": READ_ONLY,
    "SQLITE_NOTADB": CORRUPT,
    "SQLITE_CORRUPT": CORRUPT,
    "SQLITE_BUSY": BUSY,
    "SQLITE_LOCKED": BUSY,
    "SQLITE_CANTOPEN": CANNOT_OPEN,
}
"""By the beginning of SQLite's error name: extended names such as SQLITE_READONLY_DIRECTORY share the advice."""

POSTGRESQL_ADVICE = {
    "53100": FULL,
    "25006": f"is read-only: ask for a role that may write, {ELSEWHERE}",
    "42501": f"refuses access: ask for a role that may read and write its tables, {ELSEWHERE}",
}
"""By SQLSTATE."""

FILE_ADVICE = {errno.ENOSPC: FULL, errno.EDQUOT: FULL, errno.EROFS: READ_ONLY, errno.EACCES: CANNOT_OPEN}


@contextmanager
def storage_failures(url: URL) -> Iterator[None]:
    """Raises StorageError in place of a driver's or the file system's error inside the block."""
    try:
        yield
    except BrokenPipeError:
        raise  # of whoever reads what is printed meanwhile: no database is a pipe
    except (DBAPIError, PoolTimeout, sqlite3.Error) as error:
        raise StorageError(f"the database {printable(url)} {_advice(error, url)}") from error
    except OSError as error:
        advice = FILE_ADVICE.get(error.errno or 0, f"cannot be used ({error.strerror}): check the path, {ELSEWHERE}")
        raise StorageError(f"the database {printable(url)} {advice}") from error


def _advice(error: Exception, url: URL) -> str:
    if isinstance(error, IntegrityError):
        return "no longer holds the calibration this belongs to (was it deleted meanwhile?): start the run again"
    cause = error.orig if isinstance(error, DBAPIError) else error
    sqlite_name = getattr(cause, "sqlite_errorname", None) or ""
    for name, advice in SQLITE_ADVICE.items():
        if sqlite_name.startswith(name):
            return advice
    sqlstate = getattr(cause, "sqlstate", None)
    if sqlstate in POSTGRESQL_ADVICE:
        return POSTGRESQL_ADVICE[sqlstate]
    what = _first_line(cause, url)
    if url.get_backend_name() == "postgresql" and (sqlstate is None or sqlstate.startswith(("08", "28", "3D", "57P"))):
        return f"cannot be reached ({what}): check that the server runs and the URL is right, {ELSEWHERE}"
    return f"refused a statement ({what}): run `casspec db check`, {ELSEWHERE}"


def _first_line(cause: BaseException | None, url: URL) -> str:
    """What the driver says, in one line without secrets."""
    text = next((line.strip() for line in str(cause).splitlines() if line.strip()), type(cause).__name__)
    for secret in (url.password, url.query.get("password")):
        if secret:
            text = text.replace(str(secret), "***")
    return text
