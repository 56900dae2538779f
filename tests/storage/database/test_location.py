"""Where the database lies, and how its place is told without a password."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from casspec.storage import open_repository
from casspec.storage.database.connection import open_database
from casspec.storage.database.location import printable, storage_url


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


def test_a_relative_file_is_the_same_one_by_path_and_by_url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert storage_url("sqlite:///my.db") == storage_url("my.db") == storage_url(str(tmp_path / "my.db"))
    uri = storage_url("sqlite:///file:my.db?mode=ro&uri=true")
    assert (uri.database, uri.query["mode"]) == ("file:my.db", "ro")


def test_passwords_are_never_printable() -> None:
    url = storage_url("postgresql://user:secret@host/x?password=hidden&sslmode=require")
    assert printable(url) == "postgresql+psycopg://user:***@host/x"
