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
from casspec.storage.database.connection import Database, open_database
from casspec.storage.database.failures import storage_failures
from casspec.storage.database.location import printable, storage_url
from casspec.storage.database.migrations import VERSION_TABLE
from casspec.storage.errors import StorageError
from casspec.storage.repository import Repository
from tests.storage import samples


def refusal(storage: str | None = None) -> str:
    with pytest.raises(StorageError) as caught, open_repository(storage) as repository:
        repository.save_profile(None, samples.profile())
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.fixture
def filled(tmp_path: Path) -> Path:
    file = tmp_path / "casspec.db"
    with open_repository(str(file)) as repository:
        repository.save_profile(None, samples.profile(seed=99))
    return file


def test_default_database_lies_in_the_user_data_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    with open_repository() as repository:
        assert repository.profiles() == []
    assert (tmp_path / "data" / "casspec" / "casspec.db").exists()


def test_environment_names_the_database_and_the_option_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CASSPEC_STORAGE", f"sqlite:///{tmp_path}/environment.db")
    open_database().close()
    open_database(str(tmp_path / "option.db")).close()
    assert sorted(path.name for path in tmp_path.glob("*.db")) == ["environment.db", "option.db"]


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


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_write_permission_is_named(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    assert str(tmp_path) in refusal(str(tmp_path / "new" / "casspec.db"))


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


@pytest.mark.parametrize("content", [b"this is no database, only text " * 40, b"SQLite format 3\0" + b"\xff" * 4096])
def test_a_corrupt_file_is_named_and_kept(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "casspec.db"
    file.write_bytes(content)
    assert "is not a readable SQLite database" in refusal(str(file))
    assert file.read_bytes() == content


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


def test_a_relative_file_is_the_same_one_by_path_and_by_url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert storage_url("sqlite:///my.db") == storage_url("my.db") == storage_url(str(tmp_path / "my.db"))
    uri = storage_url("sqlite:///file:my.db?mode=ro&uri=true")
    assert (uri.database, uri.query["mode"]) == ("file:my.db", "ro")


def test_passwords_are_never_printable() -> None:
    url = storage_url("postgresql://user:secret@host/x?password=hidden&sslmode=require")
    assert printable(url) == "postgresql+psycopg://user:***@host/x"


def test_a_missing_driver_says_which_extra_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    assert "pip install 'casspec[postgres]'" in refusal("postgresql://host/x")


def test_a_host_without_the_database_libraries_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("sqlalchemy", "casspec.storage.database.connection", "casspec.storage.repository"):
        monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.delitem(sys.modules, "casspec.storage.database.connection")
    monkeypatch.delitem(sys.modules, "casspec.storage.database.location", raising=False)
    assert "pip install 'casspec[calibrate]'" in refusal()
