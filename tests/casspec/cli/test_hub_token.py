"""`casspec hub token`: shown once, listed without what opens, revoked by name."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from casspec.cli.hub_token import ROLES
from casspec.cli.main import main
from casspec.storage import open_repository
from casspec.storage.tokens import ROLES as KNOWN
from casspec.storage.tokens import hash_of


@pytest.fixture
def storage(tmp_path: Path) -> str:
    return str(tmp_path / "casspec.db")


def asked(*words: str) -> int:
    return main(["hub", "token", *words])


def test_a_token_is_printed_once_and_alone(storage: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert asked("create", "ci", "--role", "submit", "--days", "3", "--storage", storage) == 0
    printed = capsys.readouterr()
    (secret,) = printed.out.splitlines()
    assert secret not in printed.err
    with open_repository(storage) as repository:
        token = repository.tokens.find(hash_of(secret))
    assert token is not None
    assert (token.name, token.role) == ("ci", "submit")
    assert asked("list", "--format", "json", "--storage", storage) == 0
    listed = capsys.readouterr().out
    assert secret not in listed
    assert hash_of(secret) not in listed
    (row,) = json.loads(listed)
    assert (row["name"], row["role"], row["state"], row["last_used_on"]) == ("ci", "submit", "valid", None)


def test_a_revoked_token_is_listed_as_such(storage: str, capsys: pytest.CaptureFixture[str]) -> None:
    asked("create", "ci", "--storage", storage)
    assert asked("revoke", "ci", "--storage", storage) == 0
    capsys.readouterr()
    assert asked("list", "--storage", storage) == 0
    table = capsys.readouterr().out
    assert "revoked" in table
    assert "read" in table


def test_none_are_told_in_a_line(storage: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert asked("list", "--storage", storage) == 0
    assert "casspec hub token create" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["create", "../x"], "letters"),
        (["create", "x", "--role", "root"], "--role"),
        (["create", "x", "--days", "0"], "--days"),
        (["revoke", "nobody"], "casspec hub token list"),
    ],
)
def test_bad_input_is_one_line(
    storage: str, words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert asked(*words, "--storage", storage) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line


def test_the_roles_are_those_of_the_store() -> None:
    assert ROLES == KNOWN
