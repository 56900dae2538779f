"""How a database is opened: for reading alone, for several processes, and never when it is newer."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from sqlalchemy import text

from casspec.storage import open_repository
from casspec.storage.database.connection import Database, open_database
from casspec.storage.database.migrations import VERSION_TABLE
from casspec.storage.errors import StorageError
from tests.storage.database.test_failures import refusal


def test_a_read_only_database_can_be_read_but_not_written(filled: Path) -> None:
    url = f"sqlite:///file:{filled}?mode=ro&uri=true"
    with open_repository(url) as repository:
        assert len(repository.profiles()) == 1
    assert "is read-only" in refusal(url)


def test_a_database_on_a_read_only_volume_can_be_read(filled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: mode != os.W_OK)
    before = sorted(filled.parent.iterdir())
    with open_repository(str(filled)) as repository:
        assert len(repository.profiles()) == 1
        assert sorted(filled.parent.iterdir()) == before, "reading leaves no files"
    assert "is read-only" in refusal(str(filled))


def test_a_newer_database_is_left_alone(storage: str) -> None:
    database = open_database(storage)
    with database.writing() as session:
        session.execute(text(f"UPDATE {VERSION_TABLE} SET version_num = '99.0.0'"))
    database.close()
    assert "schema 99.0.0, written by a newer casspec" in refusal(storage)
    closed = Database(storage)
    assert closed.schema().current == "99.0.0"
    with pytest.raises(StorageError, match="newer casspec"):
        closed.problems()
    closed.close()


def test_a_damaged_page_is_found_by_check(filled: Path) -> None:
    content = bytearray(filled.read_bytes())
    content[-4096:] = b"\xaa" * 4096
    filled.write_bytes(content)
    database = Database(str(filled))
    try:
        found = " ".join(database.problems())
    except StorageError as error:
        found = str(error)
    database.close()
    assert found


def test_sqlite_is_opened_for_several_processes(tmp_path: Path) -> None:
    database = open_database(str(tmp_path / "casspec.db"))
    with database.reading() as session:
        pragmas = {name: session.execute(text(f"PRAGMA {name}")).scalar() for name in ("journal_mode", "foreign_keys")}
        assert session.execute(text("PRAGMA busy_timeout")).scalar() == 30_000
    assert pragmas == {"journal_mode": "wal", "foreign_keys": 1}
    database.close()
