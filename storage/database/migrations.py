"""The schema's version: what a database has, what this release knows, and the way from one to the other.

Runs Alembic through its Python interface, so that an installed wheel migrates without a checkout. The version lives in
a table of our own name: Optuna and MLflow both call theirs `alembic_version`.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text

from casspec.storage.database.tables import Base

VERSION_TABLE = "casspec_schema_version"

UPGRADE_LOCK = 0x_CA55_9EC
"""Key of the PostgreSQL advisory lock that lets one process upgrade at a time."""


def migrations_folder() -> Path:
    """The migration scripts: `casspec/migrations` in an installed wheel, `alembic` in a checkout."""
    root = Path(__file__).resolve().parents[2]
    for folder in (root / "migrations", root / "alembic"):
        if (folder / "env.py").is_file():
            return folder
    raise FileNotFoundError(f"no migration scripts under {root}: the installation is incomplete")


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(migrations_folder()).replace("%", "%%"))
    return config


@cache
def newest_revision() -> str:
    """The schema this release of casspec writes."""
    revision = ScriptDirectory.from_config(_config()).get_current_head()
    assert revision is not None
    return revision


@cache
def known_revisions() -> frozenset[str]:
    """All schemas this release can read or upgrade from."""
    return frozenset(script.revision for script in ScriptDirectory.from_config(_config()).walk_revisions())


def _context(connection: Connection) -> MigrationContext:
    return MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE, "compare_type": True})


def current_revision(connection: Connection) -> str | None:
    """The schema the database has; None when casspec never wrote to it."""
    return _context(connection).get_current_revision()


def upgrade(connection: Connection) -> None:
    """Brings the database to `newest_revision()`. The caller's transaction spans all of it: half an upgrade is none.

    On SQLite that transaction must already hold the write lock; on PostgreSQL a lock is taken here. A second process
    waits, then finds nothing left to do.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": UPGRADE_LOCK})
    config = _config()
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def differences(connection: Connection) -> list[str]:
    """What separates the database's tables from the ones this release expects; empty when they agree.

    Tables of other programs in the same database don't count.
    """
    ours = set(Base.metadata.tables)
    found = []
    for change in compare_metadata(_context(connection), Base.metadata):
        if isinstance(change, tuple) and change[0] == "remove_table" and change[1].name not in ours:
            continue
        if isinstance(change, tuple) and change[0] == "remove_index" and change[1].table.name not in ours:
            continue
        found.append(str(change))
    return found


def integrity_problems(connection: Connection) -> list[str]:
    """What SQLite's own check of pages and foreign keys finds; a PostgreSQL server keeps itself."""
    if connection.dialect.name != "sqlite":
        return []
    pages = [str(row[0]) for row in connection.execute(text("PRAGMA quick_check")) if row[0] != "ok"]
    references = [
        f"{row[0]} row {row[1]} refers to a missing {row[2]}"
        for row in connection.execute(text("PRAGMA foreign_key_check"))
    ]
    return pages + references
