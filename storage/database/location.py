"""Where the database is: a URL or a plain path, from the command line, the environment or the user data directory."""

from __future__ import annotations

import os
from pathlib import Path

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from casspec.storage.errors import StorageError
from casspec.storage.folders import user_data_directory

ENVIRONMENT_VARIABLE = "CASSPEC_STORAGE"


def storage_url(storage: str | None = None) -> URL:
    """The database URL for what the user named; None falls back to CASSPEC_STORAGE, then to the user data directory.

    Raises StorageError for anything but SQLite and PostgreSQL. A text that cannot be read is never repeated in the
    message: it may hold a password.
    """
    text = storage or os.environ.get(ENVIRONMENT_VARIABLE) or str(user_data_directory() / "casspec.db")
    if "://" not in text:
        return URL.create("sqlite", database=str(Path(text).expanduser().absolute()))
    try:
        url = make_url(text)
    except (ArgumentError, ValueError):
        raise StorageError(
            "the storage URL cannot be read: expected sqlite:///PATH or postgresql://USER:PASSWORD@HOST:PORT/DATABASE, "
            "with special characters percent-encoded"
        ) from None
    backend = url.get_backend_name()
    if backend in {"postgresql", "postgres"}:
        return url.set(drivername="postgresql+psycopg")
    if backend != "sqlite" or not url.database or url.database == ":memory:":
        raise StorageError(
            f"storage cannot live in {backend}{'' if url.database else ' without a database name'}: "
            "expected a path, sqlite:///PATH or postgresql://HOST/DATABASE"
        )
    file = sqlite_file(url)
    return url if file is None else url.set(database=str(file.expanduser().absolute()))


def sqlite_file(url: URL) -> Path | None:
    """The file behind a SQLite URL; None for a server and for a `file:` URI, which SQLite reads itself."""
    if url.get_backend_name() != "sqlite" or (url.database or "").startswith("file:"):
        return None
    return Path(str(url.database))


def printable(url: URL) -> str:
    """How messages name the database: never with a password, neither of the user part nor of the query."""
    file = sqlite_file(url)
    return str(file) if file is not None else url.set(query={}).render_as_string(hide_password=True)
