from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from urllib.error import URLError

import pytest

from casspec.hub import transport
from casspec.hub.transport import Transport, base_of
from casspec.storage.errors import HubError, HubUnreachable


@contextmanager
def answering(status: int, body: bytes = b"", **headers: str) -> Iterator[tuple[str, list[str]]]:
    """A server that answers everything so: its URL, and the paths it was asked for."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *arguments: object) -> None:
            return

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", asked
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("url", "base"),
    [
        ("http://host:1", "http://host:1"),
        ("hub://host:8100/", "http://host:8100"),
        ("hubs://host/production", "https://host"),
        ("https://[::1]:8/x", "https://[::1]:8"),
    ],
)
def test_a_hub_is_named_by_scheme_host_and_port(url: str, base: str) -> None:
    assert base_of(url) == base


@pytest.mark.parametrize(
    "url", ["file:///etc/passwd", "host:1", "", "http://", "http://u:secret@host", "http://host:x", "ftp://h"]
)
def test_any_other_url_is_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(HubError, match="expected http://HOST:PORT") as told:
        base_of(url)
    assert "secret" not in str(told.value)


def test_parts_of_a_path_stay_parts() -> None:
    with answering(200, b"{}") as (url, asked):
        Transport(url).json("GET", ["jobs", "../a?b"], query={"limit": 3, "status": None})
    assert asked == ["/v1/jobs/..%2Fa%3Fb?limit=3"]


def test_a_redirect_is_not_followed_with_the_key() -> None:
    with (
        answering(200, b"{}") as (elsewhere, asked),
        answering(302, Location=elsewhere) as (url, _),
        pytest.raises(HubError, match="status 302"),
    ):
        Transport(url, "key").json("GET", ["jobs"])
    assert asked == []


@pytest.mark.parametrize(
    ("status", "body", "error", "message"),
    [
        (400, b'{"error": {"message": "no\\nsuch"}}', HubError, "refuses: no such"),
        (401, b"", HubError, "CASSPEC_HUB_KEY"),
        (503, b'{"error": {"message": "the store"}}', HubUnreachable, "the store"),
        (502, b"<html>", HubUnreachable, "status 502"),
        (200, b"<html>", HubError, "no JSON"),
    ],
)
def test_what_goes_wrong_is_one_line(status: int, body: bytes, error: type[HubError], message: str) -> None:
    with answering(status, body) as (url, _), pytest.raises(error, match=message) as told:
        Transport(url).json("GET", ["jobs"])
    assert type(told.value) is error
    assert "\n" not in str(told.value)


def test_an_answer_that_is_too_large_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "LARGEST_BYTES", 10)
    with answering(200, b"x" * 11) as (url, _), pytest.raises(HubError, match="more than 10 bytes"):
        Transport(url).bytes("GET", ["x"])


def test_a_hub_that_is_away_is_told() -> None:
    with answering(200) as (url, _):
        pass
    with pytest.raises(HubUnreachable, match="does not answer"):
        Transport(url).json("GET", ["jobs"])


def test_a_host_that_no_name_can_be_is_one_that_does_not_answer() -> None:
    with pytest.raises(HubUnreachable, match="check the URL"):
        Transport("http://..:1").json("GET", ["jobs"])


def test_a_request_that_is_cut_off_was_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    def cut(*arguments: object, **more: object) -> None:
        raise URLError(ConnectionResetError(104, "Connection reset by peer"))

    hub = Transport("http://host")
    monkeypatch.setattr(hub._opener, "open", cut)
    with pytest.raises(HubError, match="--max-request-mib"):
        hub.json("POST", ["jobs"], {"prompts": "x"})
    with pytest.raises(HubUnreachable):
        hub.json("GET", ["jobs"])
