"""What a user sees when the database cannot be used: one line each, and nothing saved before is lost."""

from __future__ import annotations

import errno
import os
import sqlite3
import sys
from pathlib import Path

import pytest
from sqlalchemy import text

from casspec.storage import open_repository
from casspec.storage.database.connection import open_database
from casspec.storage.database.failures import storage_failures
from casspec.storage.database.location import storage_url
from casspec.storage.errors import StorageError
from casspec.storage.repository import Repository
from tests.storage import samples


def refusal(storage: str | None = None) -> str:
    with pytest.raises(StorageError) as caught, open_repository(storage) as repository:
        repository.save_profile(None, samples.profile())
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_write_permission_is_named(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    assert str(tmp_path) in refusal(str(tmp_path / "new" / "casspec.db"))


@pytest.mark.parametrize("content", [b"this is no database, only text " * 40, b"SQLite format 3\0" + b"\xff" * 4096])
def test_a_corrupt_file_is_named_and_kept(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "casspec.db"
    file.write_bytes(content)
    assert "is not a readable SQLite database" in refusal(str(file))
    assert file.read_bytes() == content


def test_a_full_disk_loses_nothing_that_was_saved(filled: Path) -> None:
    database = open_database(str(filled))
    repository = Repository(database)
    with database.reading() as session:
        pages = session.execute(text("PRAGMA page_count")).scalar_one()
        session.execute(text(f"PRAGMA max_page_count = {pages}"))
    with pytest.raises(StorageError, match="no disk space left: what was saved before is kept") as caught:
        repository.save_artifact("matrix", bytes(1_000_000))
    assert "\n" not in str(caught.value)
    assert repository.profiles() == [samples.profile(seed=99)]
    database.close()


def test_a_full_disk_reported_by_the_file_system_reads_the_same(tmp_path: Path) -> None:
    with (
        pytest.raises(StorageError, match="no disk space left"),
        storage_failures(storage_url(str(tmp_path / "casspec.db"))),
    ):
        raise OSError(errno.ENOSPC, "No space left on device")


def test_a_reader_of_the_output_that_has_gone_is_no_fault_of_the_database(tmp_path: Path) -> None:
    database = open_database(str(tmp_path / "casspec.db"))
    with pytest.raises(BrokenPipeError), Repository(database).alone():
        raise BrokenPipeError(errno.EPIPE, "Broken pipe")
    database.close()


def test_a_directory_is_no_database(tmp_path: Path) -> None:
    assert str(tmp_path) in refusal(str(tmp_path))


def test_a_database_held_by_another_process_is_waited_for_then_named(
    filled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("casspec.storage.database.connection.BUSY_TIMEOUT_MS", 50)
    holder = sqlite3.connect(filled, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    assert "stays locked by another process" in refusal(str(filled))
    holder.close()


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("mysql://root:secret@localhost/x", "cannot live in mysql"),
        ("sqlite://", "without a database name"),
        ("sqlite:///:memory:", "cannot live in sqlite"),
        ("sqlite+nothing:///x.db", "unknown SQLite driver"),
        ("postgresql://user:secret@host:secret/x", "cannot be read"),
        ("://secret", "cannot be read"),
    ],
)
def test_a_wrong_url_is_refused_without_its_password(url: str, expected: str) -> None:
    message = refusal(url)
    assert expected in message
    assert "secret" not in message


def test_an_unreachable_server_is_named_without_its_password() -> None:
    pytest.importorskip("psycopg")
    message = refusal("postgresql://user:secret@127.0.0.1:1/casspec?password=hidden")
    assert "cannot be reached" in message
    assert "127.0.0.1" in message
    assert "secret" not in message
    assert "hidden" not in message


def test_a_missing_postgresql_database_is_named(postgres_url: str) -> None:
    assert "cannot be reached" in refusal(postgres_url.replace("/test_", "/other_"))


def test_a_missing_driver_says_which_extra_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    assert "pip install 'casspec[postgres]'" in refusal("postgresql://host/x")


def test_a_host_without_the_database_libraries_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("sqlalchemy", "casspec.storage.database.connection", "casspec.storage.repository"):
        monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.delitem(sys.modules, "casspec.storage.database.connection")
    monkeypatch.delitem(sys.modules, "casspec.storage.database.location", raising=False)
    assert "pip install 'casspec[calibrate]'" in refusal()
