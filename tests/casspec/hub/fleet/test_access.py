from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from casspec.hub.fleet import access
from casspec.storage.errors import UnsupportedOption


@pytest.fixture(autouse=True)
def no_token(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    for name in (access.MODE, access.TOKEN, access.TOKEN_FILE):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.setitem(os.environ, name, "")  # so that what the test sets is undone
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def test_a_cluster_is_not_used_without_a_token() -> None:
    with pytest.raises(UnsupportedOption, match="get-auth-token"):
        access.require_token()


def test_a_token_in_its_usual_place_is_brought(no_token: Path) -> None:
    (no_token / ".ray").mkdir()
    (no_token / ".ray" / "auth_token").write_text("a" * 64)
    access.require_token()
    assert os.environ[access.MODE] == "token"


def test_a_cluster_that_wants_no_token_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(access.TOKEN, "a" * 64)
    monkeypatch.setenv(access.MODE, "disabled")
    with pytest.raises(UnsupportedOption, match=access.MODE):
        access.require_token()


def test_a_cluster_of_its_own_gets_a_token_nobody_knows() -> None:
    access.own_token()
    first = os.environ[access.TOKEN]
    access.own_token()
    assert (os.environ[access.MODE], len(first)) == ("token", 64)
    assert os.environ[access.TOKEN] != first


def test_ray_that_is_not_there_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access, "find_spec", lambda name: None)
    with pytest.raises(UnsupportedOption, match=r"casspec\[fleet\]"):
        access.require_ray()


@pytest.mark.parametrize("is_open", [True, False])
def test_a_head_that_answers_strangers_is_told_from_one_that_does_not(is_open: bool) -> None:
    grpc = pytest.importorskip("grpc")

    def answer(request: bytes, context: Any) -> bytes:
        if not is_open:
            context.abort(grpc.StatusCode.UNAUTHENTICATED, "no token")
        return b""

    handler = grpc.method_handlers_generic_handler(
        "ray.rpc.InternalKVGcsService", {"GetInternalConfig": grpc.unary_unary_rpc_method_handler(answer)}
    )
    server = grpc.server(ThreadPoolExecutor(1))
    server.add_generic_rpc_handlers((handler,))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        assert access.answers_strangers(f"127.0.0.1:{port}") is is_open
    finally:
        server.stop(None)
