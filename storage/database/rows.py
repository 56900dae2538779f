"""Small helpers that every part of the repository writes rows with."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime
from typing import Any

from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from casspec.storage.database.tables import Base


def insert_once(session: Session, table: type[Base], **values: Any) -> None:
    """Inserts a row unless one with the same key is there already, also when another process is just inserting it."""
    session.execute(_insert(session, table).values(**values).on_conflict_do_nothing())


def insert_or_replace(session: Session, table: type[Base], key: dict[str, Any], **values: Any) -> None:
    """Inserts a row, or gives the one with the same key these values."""
    statement = _insert(session, table).values(**key, **values)
    session.execute(statement.on_conflict_do_update(index_elements=list(key), set_=values))


def _insert(session: Session, table: type[Base]) -> Any:
    dialect = postgresql if session.get_bind().dialect.name == "postgresql" else sqlite
    return dialect.insert(table)


def canonical_json(value: Any) -> str:
    """Plain JSON values with sorted keys and no spaces, as documents write themselves."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def sha256_of(value: Any) -> str:
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


def now() -> str:
    """UTC in ISO 8601 with microseconds: sorts as text."""
    return datetime.now(UTC).isoformat(timespec="microseconds")
