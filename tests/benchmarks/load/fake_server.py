"""A chat endpoint without a model: parts of two tokens each. It fails as the model's name says.

fake_server.py PORT [MODEL]
"""

from __future__ import annotations

import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

TOKENS_A_PART = 2


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    model = ""

    def log_message(self, *_: object) -> None:
        """Says nothing."""

    def do_GET(self) -> None:
        self.send_response(503 if self.model == "loading" else 200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        asked.setdefault("max_tokens", asked.get("max_completion_tokens"))
        if asked["messages"][-1]["content"] == "refuse":
            said = b'{"error": {"message": "no\\nroom"}}'
            self.send_response(429)
            self.send_header("Content-Length", str(len(said)))
            self.end_headers()
            self.wfile.write(said)
            return
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self._part({"choices": [{"delta": {"role": "assistant", "content": ""}}], "usage": {"completion_tokens": 0}})
        for sent in range(TOKENS_A_PART, asked["max_tokens"] + 1, TOKENS_A_PART):
            self._part({"choices": [{"delta": {"content": "ab"}}], "usage": {"completion_tokens": sent}})
        if asked["messages"][-1]["content"] == "break":
            self._part({"error": {"message": "out of luck"}})
        used = {"completion_tokens": asked["max_tokens"], "speculation": {"steps": asked["max_tokens"] // 2}}
        self._part({"choices": [], "usage": used})
        self._chunk(b"data: [DONE]\n\n")
        self._chunk(b"")

    def _part(self, document: dict[str, Any]) -> None:
        """In two chunks: events need not begin where chunks do."""
        data = b": alive\n\ndata: " + json.dumps(document).encode() + b"\n\n"
        self._chunk(data[:20])
        self._chunk(data[20:])

    def _chunk(self, data: bytes) -> None:
        self.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")


if __name__ == "__main__":
    Handler.model = sys.argv[2] if len(sys.argv) > 2 else ""
    if Handler.model == "broken":
        sys.exit("cannot read\nthe model")
    ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
