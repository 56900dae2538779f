"""Keys come from options and files, open what they should, and are needed beyond this machine."""

from __future__ import annotations

from pathlib import Path

import pytest
from starlette.requests import HTTPConnection

from casspec.server.errors import ApiError
from casspec.server.gate.keys import check_admin, check_host, check_key, is_loopback, keys_of
from casspec.storage.errors import UnsupportedOption


def bringing(*values: str) -> HTTPConnection:
    headers = [(b"authorization", value.encode("latin-1")) for value in values]
    return HTTPConnection({"type": "http", "headers": headers})


def test_keys_come_from_options_and_a_file(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text("# ours\none\n\n two \n", "utf-8")
    assert keys_of(["zero"], file, "api-key") == ("zero", "one", "two")
    assert keys_of([], None, "api-key") == ()
    file.write_text("# none\n", "utf-8")
    for given, place, why in [
        ([], file, "holds no key"),
        ([], tmp_path / "no", "cannot be read"),
        ([""], None, "ASCII"),
        (["é"], None, "ASCII"),
    ]:
        with pytest.raises(UnsupportedOption, match=why):
            keys_of(given, place, "api-key")


@pytest.mark.parametrize("brought", ["Bearer one", "bearer two", "Bearer boss"])
def test_any_of_the_keys_opens(brought: str) -> None:
    check_key(bringing(brought), ["one", "two"], ["boss"])


@pytest.mark.parametrize("brought", [[], ["Bearer three"], ["Bearer"], ["one"], ["Basic one"], ["Bearer \xff"]])
def test_nothing_else_does(brought: list[str]) -> None:
    with pytest.raises(ApiError) as refusal:
        check_key(bringing(*brought), ["one", "two"])
    assert refusal.value.status == 401
    assert refusal.value.headers == {"WWW-Authenticate": "Bearer"}


def test_without_keys_nobody_is_asked_but_admins() -> None:
    check_key(bringing(), [])
    with pytest.raises(ApiError) as refusal:
        check_admin(bringing("Bearer one"), [])
    assert refusal.value.status == 403


def test_beyond_this_machine_a_key_is_needed() -> None:
    for host in ("127.0.0.1", "::1", "localhost", "127.3.2.1"):
        assert is_loopback(host)
        check_host(host, [])
    for host in ("0.0.0.0", "::", "example.org", "192.168.1.4"):
        check_host(host, ["key"])
        with pytest.raises(UnsupportedOption, match="--api-key"):
            check_host(host, [])
