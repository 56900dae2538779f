"""Tokens that open a hub. The store keeps the hash of each, so that reading the store opens nothing."""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal, get_args

from sqlalchemy import select

from casspec.storage.database.connection import Database
from casspec.storage.database.tables import TokenRow
from casspec.storage.errors import TokenNotFound, UnsupportedOption

Role = Literal["read", "submit", "admin"]

ROLES: tuple[Role, ...] = get_args(Role)
"""Each may do what those before it may."""

PREFIX = "casspec_"
"""Of every token, so that programs that look for leaked secrets know one."""

NAME = "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"

MOST_DAYS = 3650


@dataclass(frozen=True, slots=True)
class Token:
    """What is kept of a token. Times are UTC, ISO 8601."""

    token_hash: str
    name: str
    role: Role
    created_at: str
    expires_at: str
    revoked_at: str | None = None
    last_used_on: str | None = None
    """Day."""

    def state(self, at: str) -> Literal["valid", "expired", "revoked"]:
        """At a time, ISO 8601 with microseconds."""
        if self.revoked_at is not None:
            return "revoked"
        return "valid" if at < self.expires_at else "expired"


def hash_of(secret: str) -> str:
    """What a token is found by. A search by hash takes a time that says nothing of the token."""
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).hexdigest()


def _utc_now() -> datetime:
    return datetime.now(UTC)


class Tokens:
    """The tokens of a database.

    Args:
        clock: the time, with its zone.
    """

    def __init__(self, database: Database, clock: Callable[[], datetime] = _utc_now) -> None:
        self._database, self._clock = database, clock

    def now(self) -> str:
        """As tokens write times."""
        return self._written(self._clock())

    def create(self, name: str, role: Role, days: int) -> str:
        """Makes a token and returns it, which nothing can do again.

        Raises UnsupportedOption for a name that cannot be written, or that a valid token has.
        """
        if not re.match(NAME, name) or name.endswith("\n"):
            raise UnsupportedOption(
                f"the token's name {name!r} is none: expected letters, digits, '.', '_' and '-', up to 64"
            )
        at, secret = self._clock(), PREFIX + secrets.token_urlsafe(32)
        with self._database.writing() as session:
            same = session.scalars(select(TokenRow).where(TokenRow.name == name))
            if any(_token(row).state(self._written(at)) == "valid" for row in same):
                raise UnsupportedOption(f"a valid token is named '{name}': revoke it first, or choose another name")
            session.add(
                TokenRow(
                    token_hash=hash_of(secret),
                    name=name,
                    role=role,
                    created_at=self._written(at),
                    expires_at=self._written(at + timedelta(days=days)),
                )
            )
        return secret

    def find(self, token_hash: str) -> Token | None:
        """Valid or not."""
        with self._database.reading() as session:
            row = session.get(TokenRow, token_hash)
            return None if row is None else _token(row)

    def used(self, token: Token) -> None:
        """Writes down that a token was used, once a day."""
        today = self.now()[:10]
        if token.last_used_on != today:
            with self._database.writing() as session:
                session.get_one(TokenRow, token.token_hash).last_used_on = today

    def listed(self) -> list[Token]:
        """The latest first."""
        with self._database.reading() as session:
            newest_first = select(TokenRow).order_by(TokenRow.created_at.desc(), TokenRow.token_hash)
            return [_token(row) for row in session.scalars(newest_first)]

    def exist(self) -> bool:
        """Whether there ever was one."""
        with self._database.reading() as session:
            return session.scalar(select(TokenRow.token_hash).limit(1)) is not None

    def open_something(self) -> bool:
        """Whether any is valid now."""
        return any(token.state(self.now()) == "valid" for token in self.listed())

    def revoke(self, name: str) -> int:
        """Ends the tokens of a name; how many there were. Raises TokenNotFound where none is left to revoke."""
        with self._database.writing() as session:
            rows = session.scalars(select(TokenRow).where(TokenRow.name == name, TokenRow.revoked_at.is_(None))).all()
            if not rows:
                raise TokenNotFound(
                    f"no token '{name}' to revoke here: `casspec hub token list` shows those that there are"
                )
            for row in rows:
                row.revoked_at = self.now()
            return len(rows)

    @staticmethod
    def _written(at: datetime) -> str:
        return at.astimezone(UTC).isoformat(timespec="microseconds")


def _token(row: TokenRow) -> Token:
    role: Role = row.role  # type: ignore[assignment]
    times = (row.created_at, row.expires_at, row.revoked_at, row.last_used_on)
    return Token(row.token_hash, row.name, role, *times)
