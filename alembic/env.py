"""How Alembic reaches our database: the connection of `casspec.storage.database.migrations`, inside its transaction."""

from __future__ import annotations

from alembic import context

from casspec.storage.database.migrations import VERSION_TABLE
from casspec.storage.database.tables import Base

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    version_table=VERSION_TABLE,
    render_as_batch=True,  # SQLite alters a table by rebuilding it
)
with context.begin_transaction():
    context.run_migrations()
