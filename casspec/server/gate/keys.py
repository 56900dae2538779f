"""Who may ask: whoever brings one of the keys. Keys are compared in a time that says nothing of them."""

from __future__ import annotations

import hmac
import ipaddress
from collections.abc import Sequence
from pathlib import Path

from starlette.requests import HTTPConnection

from casspec.server.errors import ApiError
from casspec.storage.errors import UnsupportedOption


def keys_of(given: Sequence[str], file: Path | None, name: str) -> tuple[str, ...]:
    """Keys from options and from a file, a line each; lines that begin with # are none.

    Args:
        name: of the option, for errors.

    Raises UnsupportedOption for a file that cannot be read or holds none, and for a key that is empty or not ASCII.
    """
    keys = list(given)
    if file is not None:
        try:
            lines = [line.strip() for line in file.read_text("utf-8").splitlines()]
        except (OSError, UnicodeDecodeError) as error:
            raise UnsupportedOption(f"--{name}-file {file} cannot be read: {error}") from error
        found = [line for line in lines if line and not line.startswith("#")]
        if not found:
            raise UnsupportedOption(f"--{name}-file {file} holds no key; write one a line")
        keys += found
    if any(not key or not key.isascii() or not key.isprintable() for key in keys):
        raise UnsupportedOption(f"--{name} takes printable ASCII characters, at least one")
    return tuple(keys)


def check_host(host: str, keys: Sequence[str]) -> None:
    """Raises UnsupportedOption where a server would be open to other machines without a key."""
    if not keys and not is_loopback(host):
        raise UnsupportedOption(
            f"--host {host} opens the server to other machines: give it --api-key or --api-key-file, or leave it at 127.0.0.1"
        )


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def check_key(connection: HTTPConnection, keys: Sequence[str], admin_keys: Sequence[str] = ()) -> None:
    """Raises ApiError 401 for a request without one of the keys, where there are any."""
    if not keys:
        return
    scheme, _, brought = connection.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not _is_one(brought.strip(), [*keys, *admin_keys]):
        raise ApiError(
            401,
            "this server wants a key: send `Authorization: Bearer KEY`",
            code="invalid_api_key",
            headers={"WWW-Authenticate": "Bearer"},
        )


def check_admin(connection: HTTPConnection, admin_keys: Sequence[str]) -> None:
    """Raises ApiError 403 where the server has no admin key, 401 without it."""
    if not admin_keys:
        raise ApiError(403, "this server has no admin key: start it with --admin-key-file", code="no_admin_key")
    check_key(connection, admin_keys)


def _is_one(brought: str, keys: Sequence[str]) -> bool:
    """Compares with all, whichever it is."""
    known = brought.encode("utf-8", "surrogateescape")
    return sum(hmac.compare_digest(known, key.encode()) for key in keys) > 0
