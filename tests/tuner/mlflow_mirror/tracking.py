"""Tracking servers that are of no use."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@contextmanager
def useless_server(status: int | None, **headers: str) -> Iterator[str]:
    """Address, without scheme, of a server that answers every request with one status; None: takes it and never answers."""
    ended = threading.Event()

    class Answer(BaseHTTPRequestHandler):
        def answer(self) -> None:
            if status is None:
                ended.wait()
                return
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name.replace("_", "-"), value)
            self.send_header("Content-Length", "4")
            self.end_headers()
            self.wfile.write(b"none")

        do_GET = do_POST = do_PUT = answer  # noqa: N815 - names of the standard library

        def log_message(self, *words: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"127.0.0.1:{server.server_address[1]}"
        finally:
            ended.set()
            server.shutdown()
            thread.join()
