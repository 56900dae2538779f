"""Tokens open until they expire or are revoked, and nothing in the store opens anything."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import text

from casspec.storage.database.connection import Database
from casspec.storage.errors import TokenNotFound, UnsupportedOption
from casspec.storage.tokens import PREFIX, ROLES, Token, Tokens, hash_of


@dataclass
class FakeClock:
    time: datetime = datetime(2030, 1, 1, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.time


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def tokens(database: Database, clock: FakeClock) -> Tokens:
    return Tokens(database, clock)


def found(tokens: Tokens, secret: str) -> Token:
    token = tokens.find(hash_of(secret))
    assert token is not None
    return token


@pytest.mark.parametrize("role", ROLES)
def test_a_token_is_found_by_what_it_hashes_to(tokens: Tokens, role: str) -> None:
    secret = tokens.create("ci", role, days=2)
    token = found(tokens, secret)
    assert (token.name, token.role, token.state(tokens.now())) == ("ci", role, "valid")
    assert token.expires_at == "2030-01-03T00:00:00.000000+00:00"
    assert tokens.find(hash_of(secret + "x")) is None
    assert tokens.find(hash_of("\udcff")) is None


def test_tokens_are_long_known_by_their_beginning_and_never_the_same(tokens: Tokens) -> None:
    secrets = {tokens.create(f"t{n}", "read", days=1) for n in range(20)}
    assert len(secrets) == 20
    assert all(each.startswith(PREFIX) and len(each) >= len(PREFIX) + 43 for each in secrets)


def test_the_store_holds_nothing_that_opens(tokens: Tokens, database: Database) -> None:
    secret = tokens.create("ci", "admin", days=1)
    with database.reading() as session:
        (row,) = session.execute(text("SELECT * FROM hub_tokens")).all()
    assert secret.removeprefix(PREFIX) not in str(row)


def test_a_token_ends_with_its_days(tokens: Tokens, clock: FakeClock) -> None:
    secret = tokens.create("ci", "read", days=1)
    clock.time += timedelta(days=1) - timedelta(microseconds=1)
    assert found(tokens, secret).state(tokens.now()) == "valid"
    assert tokens.open_something()
    clock.time += timedelta(microseconds=1)
    assert found(tokens, secret).state(tokens.now()) == "expired"
    assert not tokens.open_something()
    assert tokens.exist()


def test_a_revoked_token_opens_nothing_and_its_name_is_free(tokens: Tokens) -> None:
    secret = tokens.create("ci", "read", days=1)
    with pytest.raises(UnsupportedOption, match="valid token is named 'ci'"):
        tokens.create("ci", "read", days=1)
    assert tokens.revoke("ci") == 1
    assert found(tokens, secret).state(tokens.now()) == "revoked"
    other = tokens.create("ci", "admin", days=1)
    assert found(tokens, other).state(tokens.now()) == "valid"
    assert found(tokens, secret).state(tokens.now()) == "revoked"
    assert [token.role for token in tokens.listed() if token.revoked_at is None] == ["admin"]


def test_what_cannot_be_revoked_is_told(tokens: Tokens) -> None:
    tokens.create("ci", "read", days=1)
    tokens.revoke("ci")
    for name in ("ci", "other"):
        with pytest.raises(TokenNotFound, match="casspec hub token list"):
            tokens.revoke(name)


@pytest.mark.parametrize("name", ["", " ", "../x", "a b", "x\n", "-x", "a" * 65, "é"])
def test_names_are_words(tokens: Tokens, name: str) -> None:
    with pytest.raises(UnsupportedOption):
        tokens.create(name, "read", days=1)
    assert not tokens.exist()


def test_the_day_of_the_last_use_is_kept(tokens: Tokens, clock: FakeClock) -> None:
    secret = tokens.create("ci", "read", days=9)
    assert found(tokens, secret).last_used_on is None
    tokens.used(found(tokens, secret))
    assert found(tokens, secret).last_used_on == "2030-01-01"
    clock.time += timedelta(days=1)
    tokens.used(found(tokens, secret))
    assert found(tokens, secret).last_used_on == "2030-01-02"


def test_the_latest_stands_first(tokens: Tokens, clock: FakeClock) -> None:
    for name in ("one", "two", "three"):
        tokens.create(name, "read", days=1)
        clock.time += timedelta(hours=1)
    assert [token.name for token in tokens.listed()] == ["three", "two", "one"]
