"""One database: its engine, its units of work, and a schema that is current before anyone reads from it.

SQLite runs in write-ahead mode with a busy timeout, so that several processes of one machine can share a file: readers
never block, writers queue. Every writing unit of work takes the write lock at its start (BEGIN IMMEDIATE), because
SQLite refuses to turn a reading transaction into a writing one once another process has written.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import URL
from sqlalchemy.exc import ArgumentError, NoSuchModuleError
from sqlalchemy.orm import Session

from casspec.storage.database import migrations
from casspec.storage.database.failures import storage_failures
from casspec.storage.database.location import printable, sqlite_file, storage_url
from casspec.storage.errors import StorageError

BUSY_TIMEOUT_MS = 30_000
CONNECT_TIMEOUT_S = 10
WRITES = "casspec_writes"


@dataclass(frozen=True)
class SchemaState:
    """Which schema a database has and which this release writes."""

    current: str | None
    newest: str
    known: bool
    """False when the schema comes from a later release."""

    @property
    def is_current(self) -> bool:
        return self.current == self.newest


class Database:
    """An engine with reading and writing units of work; every failure inside them is a StorageError of one line."""

    def __init__(self, storage: str | None = None) -> None:
        """Connects to nothing yet. `storage`: URL or path, see `location.storage_url`."""
        self._url = storage_url(storage)
        self._engine = _engine(self._url)
        self._writing_engine = self._engine.execution_options(**{WRITES: True})
        self._joined = threading.local()

    def __str__(self) -> str:
        return printable(self._url)

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """A unit of work that sees one state of the database and changes nothing."""
        with storage_failures(self._url), Session(self._engine) as session:
            yield session

    @contextmanager
    def writing(self) -> Iterator[Session]:
        """A unit of work that is kept as a whole or, after any error, not at all; inside `joining` a part of that one."""
        joined: Session | None = getattr(self._joined, "session", None)
        with storage_failures(self._url):
            if joined is not None:
                with joined.begin_nested():
                    yield joined
            else:
                with Session(self._writing_engine) as session, session.begin():
                    yield session

    @contextmanager
    def joining(self) -> Iterator[Session]:
        """As `writing`, and whatever this thread writes inside the block belongs to it: kept with it, or not at all."""
        with self.writing() as session:
            before = getattr(self._joined, "session", None)
            self._joined.session = session
            try:
                yield session
            finally:
                self._joined.session = before

    def schema(self) -> SchemaState:
        file = sqlite_file(self._url)
        if file is not None and not file.exists():  # connecting would create an empty file
            return SchemaState(current=None, newest=migrations.newest_revision(), known=True)
        with storage_failures(self._url), self._engine.connect() as connection:
            return _schema_state(connection)

    def upgrade(self) -> SchemaState:
        """Creates or upgrades the schema. Raises StorageError when the database was written by a later release."""
        with storage_failures(self._url):
            file = sqlite_file(self._url)
            if file is not None:
                file.parent.mkdir(parents=True, exist_ok=True)
            self._refuse_newer(self.schema())
            with self._migrating() as connection:
                self._refuse_newer(_schema_state(connection))  # another process may just have upgraded it
                migrations.upgrade(connection)
        return self.schema()

    @contextmanager
    def _migrating(self) -> Iterator[Connection]:
        """A transaction that may change the schema.

        SQLite alters a table by building another, and dropping the old one would delete what refers to it: foreign
        keys rest meanwhile. That, and write-ahead logging (which the file remembers), can be set outside a transaction
        only.
        """
        with self._writing_engine.connect() as connection:
            driver: Any = connection.connection.driver_connection
            if connection.dialect.name == "sqlite":
                driver.execute("PRAGMA journal_mode = WAL")
                driver.execute("PRAGMA foreign_keys = OFF")
            with connection.begin():
                yield connection
            connection.invalidate()

    def problems(self) -> list[str]:
        """What is wrong with the stored tables, in words; empty when all is well."""
        state = self.schema()
        if state.current is None:
            return ["it holds no casspec schema: run `casspec db upgrade`"]
        self._refuse_newer(state)
        with storage_failures(self._url), self._engine.connect() as connection:
            outdated = [] if state.is_current else [f"schema {state.current} is older than {state.newest}"]
            return outdated + migrations.differences(connection) + migrations.integrity_problems(connection)

    def close(self) -> None:
        self._engine.dispose()

    def _refuse_newer(self, state: SchemaState) -> None:
        if not state.known:
            raise StorageError(
                f"the database {self} has schema {state.current}, written by a newer casspec (this one knows up to "
                f"{state.newest}): upgrade casspec, or name another database with --storage or CASSPEC_STORAGE"
            )


def open_database(storage: str | None = None) -> Database:
    """The database at `storage`, created or upgraded to the current schema where needed.

    A database that is already current is not written to, so that a read-only copy can still be read.
    """
    database = Database(storage)
    try:
        if not database.schema().is_current:
            database.upgrade()
    except BaseException:
        database.close()
        raise
    return database


def _schema_state(connection: Connection) -> SchemaState:
    current = migrations.current_revision(connection)
    known = current is None or current in migrations.known_revisions()
    return SchemaState(current=current, newest=migrations.newest_revision(), known=known)


def _engine(url: URL) -> Engine:
    if url.get_backend_name() == "postgresql":
        try:
            return create_engine(url, connect_args={"connect_timeout": CONNECT_TIMEOUT_S}, pool_pre_ping=True)
        except ModuleNotFoundError:
            raise StorageError(
                "PostgreSQL needs the psycopg driver, which is not installed: pip install 'casspec[postgres]'"
            ) from None
    try:
        engine = create_engine(_as_it_can_be_opened(url), connect_args={"timeout": BUSY_TIMEOUT_MS / 1000})
    except (ArgumentError, NoSuchModuleError) as error:
        raise StorageError(f"the storage URL names an unknown SQLite driver ({error}): use sqlite:///PATH") from None
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _as_it_can_be_opened(url: URL) -> URL:
    """A file in a folder that may not be written (a read-only volume) is opened as one that nobody changes.

    Otherwise SQLite refuses even to read it: write-ahead logging keeps a second file beside it.
    """
    file = sqlite_file(url)
    if file is None or not file.exists() or os.access(file.parent, os.W_OK) or Path(f"{file}-wal").exists():
        return url
    return url.set(database=f"file:{quote(str(file))}", query={"immutable": "1", "uri": "true"})


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # the driver's own implicit BEGIN would come too late
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute("PRAGMA synchronous = NORMAL")


def _begin_sqlite(connection: Connection) -> None:
    writes = connection.get_execution_options().get(WRITES, False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
