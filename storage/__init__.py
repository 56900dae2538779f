"""Floor 1: the documents casspec exchanges, the database that keeps them, and their exports to other engines.

`schema.py` has the documents that cross floors, over `document.py` (frozen, one canonical JSON, one content hash); `plans.py`,
`latency.py` and `predictions.py` have parts of them, `watched.py` sums of what was served. `repository.py` and `measurements.py` are
documents in and out; `leases.py` says who may work on what, `holders.py` which process that is. `jobs/` has the calibrations that
wait for a worker, `reports/` what servers report and what that led to, `tokens.py` what opens a hub, `engines/` what other engines were
measured at. `errors.py` has every error casspec raises on purpose, `folders.py` where files lie on this machine, `export/` profiles for
other engines.

Read `schema.py`, then `repository.py`. To add a document or a field, edit `schema.py`; to add a table, `database/tables.py` and a
migration in `alembic/versions/`; to add an export, see `export/__init__.py`.

`casspec.storage.schema` and `casspec.storage.errors` need pydantic only; the database needs the `calibrate` extra and
is imported when it is first opened.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from casspec.storage.errors import StorageError

if TYPE_CHECKING:
    from casspec.storage.repository import Repository


@contextmanager
def open_repository(storage: str | None = None) -> Iterator[Repository]:
    """The repository of the database at `storage` (URL or path; None: CASSPEC_STORAGE, then the user data directory).

    A missing or older schema is created or upgraded first. Raises StorageError in one line when that cannot be done.
    """
    try:
        from casspec.storage.database.connection import open_database
        from casspec.storage.repository import Repository
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in {"sqlalchemy", "alembic"}:
            raise
        raise StorageError(
            f"the profile database needs {error.name}, which is not installed: "
            "pip install 'casspec[calibrate]', or name a profile by its JSON file"
        ) from None

    database = open_database(storage)
    try:
        yield Repository(database)
    finally:
        database.close()
