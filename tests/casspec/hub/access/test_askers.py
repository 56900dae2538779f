from __future__ import annotations

from typing import Any

import pytest

from casspec.hub.access.askers import Askers, check_host
from casspec.server.errors import ApiError
from casspec.storage.database.connection import Database
from casspec.storage.errors import StorageError, UnsupportedOption
from casspec.storage.repository import Repository
from casspec.storage.tokens import Tokens
from tests.casspec.hub.access.conftest import long_ago


@pytest.mark.parametrize("role", ["read", "submit", "admin"])
def test_a_token_opens_as_its_role(repository: Repository, secrets: dict[str, str], role: str) -> None:
    asker = Askers(repository.tokens, (), True).bringing(secrets[role])
    assert (asker.role, asker.name) == (role, role)
    (token,) = (each for each in repository.tokens.listed() if each.name == role)
    assert token.last_used_on == repository.tokens.now()[:10]


@pytest.mark.parametrize(
    ("kind", "code"),
    [("expired", "token_expired"), ("revoked", "token_revoked"), ("unknown", "invalid_token")],
)
def test_nothing_else_opens(repository: Repository, secrets: dict[str, str], kind: str, code: str) -> None:
    with pytest.raises(ApiError) as refusal:
        Askers(repository.tokens, ("key",), True).bringing(secrets[kind])
    assert (refusal.value.status, refusal.value.body["error"]["code"]) == (401, code)
    assert secrets[kind] not in refusal.value.message


def test_a_key_is_an_admin(repository: Repository) -> None:
    askers = Askers(repository.tokens, ("one", "two"), True)
    assert {askers.bringing(key).role for key in ("one", "two")} == {"admin"}
    assert askers.bringing("one").identity != askers.bringing("two").identity
    with pytest.raises(ApiError):
        askers.bringing("three")


def test_only_a_local_hub_that_never_had_a_token_is_open(repository: Repository) -> None:
    assert not Askers(repository.tokens, (), is_local=False).is_open()
    assert not Askers(repository.tokens, ("key",), is_local=True).is_open()
    askers = Askers(repository.tokens, (), is_local=True)
    assert askers.is_open()
    repository.tokens.create("ci", "read", days=1)
    assert not askers.is_open()
    repository.tokens.revoke("ci")
    assert not askers.is_open()
    assert not Askers(repository.tokens, (), is_local=True).is_open()


def test_a_day_that_cannot_be_written_keeps_nobody_out(
    repository: Repository, secrets: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def writing(self: Database) -> Any:
        raise StorageError("the disk is full")

    monkeypatch.setattr(Database, "writing", writing)
    assert Askers(repository.tokens, (), True).bringing(secrets["read"]).role == "read"


def test_no_hub_is_reached_from_elsewhere_without_anything_that_opens_it(
    repository: Repository, database: Database
) -> None:
    Tokens(database, long_ago).create("old", "admin", days=1)
    check_host("127.0.0.1", (), repository.tokens)
    check_host("0.0.0.0", ("key",), repository.tokens)
    with pytest.raises(UnsupportedOption, match="casspec hub token create"):
        check_host("0.0.0.0", (), repository.tokens)
    repository.tokens.create("new", "read", days=1)
    check_host("0.0.0.0", (), repository.tokens)
