"""Who asks: whoever brings a token of the store or a key of the command line; anybody on this machine where there are neither."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from casspec.server.errors import ApiError
from casspec.server.gate.keys import is_loopback
from casspec.storage.errors import StorageError, UnsupportedOption
from casspec.storage.tokens import Role, Tokens, hash_of

WANTED = "this hub wants a token: send `Authorization: Bearer TOKEN`, one is made with `casspec hub token create`"


@dataclass(frozen=True, slots=True)
class Asker:
    """Somebody who may ask.

    Attributes:
        identity: what is counted. name: of the token; None of a key, and of whoever needs neither.
    """

    identity: str
    role: Role
    name: str | None = None


class Askers:
    """Those of one hub.

    Args:
        keys: of the command line; each is `admin`. is_local: whether only this machine reaches the hub.
    """

    def __init__(self, tokens: Tokens, keys: Sequence[str], is_local: bool) -> None:
        self._tokens, self._keys = tokens, {hash_of(key) for key in keys}
        self._is_closed = bool(keys) or not is_local

    def is_open(self) -> bool:
        """Whether nobody needs a token. A store that ever had one closes its hub for good, also when the last one has ended."""
        self._is_closed = self._is_closed or self._tokens.exist()
        return not self._is_closed

    def bringing(self, secret: str) -> Asker:
        """Raises ApiError 401 for a token that is unknown, expired or revoked."""
        return self.of_hash(hash_of(secret))

    def of_hash(self, token_hash: str) -> Asker:
        """The same for a token that was brought before."""
        if token_hash in self._keys:
            return Asker(token_hash, "admin")
        token = self._tokens.find(token_hash)
        if token is None:
            raise unknown("this hub does not know that token", "invalid_token")
        state = token.state(self._tokens.now())
        if state != "valid":
            raise unknown(f"that token is {state}: have another made with `casspec hub token create`", f"token_{state}")
        with suppress(StorageError):  # it is worth no failure of the request
            self._tokens.used(token)
        return Asker(token_hash, token.role, token.name)


def check_host(host: str, keys: Sequence[str], tokens: Tokens) -> None:
    """Raises UnsupportedOption where other machines would reach a hub that nothing opens."""
    if not (is_loopback(host) or keys or tokens.open_something()):
        raise UnsupportedOption(
            f"--host {host} opens the hub to other machines: make a token with `casspec hub token create NAME`, give it --api-key or "
            "--api-key-file, or leave it at 127.0.0.1"
        )


def unknown(why: str = WANTED, code: str = "token_needed") -> ApiError:
    """Of somebody who brings nothing that opens."""
    return ApiError(401, why, code=code, headers={"WWW-Authenticate": "Bearer"})
