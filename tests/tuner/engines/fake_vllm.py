"""An engine without a model that starts, speaks and counts as vLLM does. Its steps take as long as its settings say.

It writes the prompt again, so that n-gram lookup finds much. FAKE_VLLM, a JSON object, says how it misbehaves:
`refuses`: methods it does not start with; `key`: that requests must bring; `no_metrics`; `dies_after`: requests it answers;
`hangs`: it never takes a request; `context`: tokens of the longest text it takes;
`step_ms`, `request_ms`, `token_ms`: of a step, of each request in it, of each token in it.

It has a process beside it, as vLLM's front end has an engine.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

MODES: dict[str, Any] = json.loads(os.environ.get("FAKE_VLLM", "{}"))
END = 0
LONGEST_ANSWER = 1 << 20


class State:
    """Counters, and how many requests run."""

    def __init__(self, config: dict[str, Any] | None) -> None:
        self.config = config
        self.lock = threading.Lock()
        self.running = self.answered = self.generated = self.drafts = self.drafted = self.accepted = 0
        self.by_position: dict[int, int] = {}

    @property
    def _probes(self) -> bool:
        return self.config is not None and str(self.config.get("model")).endswith(".Probe")

    def length(self) -> int:
        """Tokens that are drafted at most."""
        if self.config is None:
            return 0
        if self._probes:
            return int(json.loads(Path(os.environ["CASSPEC_PROBE_FILE"]).read_text("utf-8"))["draft_tokens"])
        found = int(self.config["num_speculative_tokens"])
        for first, _, length in self.config.get("num_speculative_tokens_per_batch_size") or ():
            found = int(length) if self.running >= first else found
        return found

    def draft(self, tokens: list[int], length: int) -> list[int]:
        """Prompt lookup; the probe copies the text's beginning."""
        assert self.config is not None
        if self._probes:
            return tokens[:length]
        longest, shortest = self.config.get("prompt_lookup_max", 3), self.config.get("prompt_lookup_min", 2)
        for n in range(min(longest, len(tokens) - 1), shortest - 1, -1):
            for end in range(n, len(tokens)):
                if tokens[end - n : end] == tokens[-n:]:
                    return tokens[end : end + length]
        return []


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    state: State
    asked: dict[str, Any]

    def log_message(self, *_: object) -> None:
        """Says nothing."""

    def _is_allowed(self) -> bool:
        wanted = MODES.get("key")
        if wanted is None or self.headers.get("Authorization") == f"Bearer {wanted}":
            return True
        self._answer(401, '{"error": "Unauthorized"}')
        return False

    def _answer(self, status: int, text: str) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(text.encode())))
        self.end_headers()
        self.wfile.write(text.encode())

    def do_GET(self) -> None:
        if self.path == "/health":
            self._answer(200, "")
        elif not self._is_allowed():
            return
        elif self.path == "/version":
            self._answer(200, '{"version": "0.33.0"}')
        elif self.path == "/v1/models":
            self._answer(200, '{"data": [{"id": "model"}]}')
        elif self.path == "/metrics" and not MODES.get("no_metrics"):
            self._answer(200, self._metrics())
        else:
            self._answer(404, '{"error": "Not Found"}')

    def _metrics(self) -> str:
        state = self.state
        lines = [
            "# HELP vllm:generation_tokens_total Tokens.",
            f'vllm:generation_tokens_total{{model_name="m"}} {state.generated}.0',
        ]
        if state.config is not None:
            counted = {"drafts": state.drafts, "draft_tokens": state.drafted, "accepted_tokens": state.accepted}
            lines += [f'vllm:spec_decode_num_{name}_total{{engine="0"}} {count}.0' for name, count in counted.items()]
            lines += [
                f'vllm:spec_decode_num_accepted_tokens_per_pos_total{{engine="0",position="{place}"}} {count}.0'
                for place, count in sorted(state.by_position.items())
            ]
        return "\n".join(lines) + "\n"

    def do_POST(self) -> None:
        self.asked = asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if not self._is_allowed():
            return
        state = self.state
        refusal = self._refusal()
        if refusal is not None:
            self._answer(400, json.dumps({"error": refusal}))
            return
        asked_for = len(asked.get("prompt") or ()) + asked["max_tokens"]
        if asked_for > MODES.get("context", LONGEST_ANSWER):
            self._answer(400, f'{{"error": "{asked_for} tokens are more than the context has"}}')
            return
        with state.lock:
            state.answered += 1
            if state.answered > MODES.get("dies_after", LONGEST_ANSWER):
                print("RuntimeError: out of luck", file=sys.stderr, flush=True)
                os._exit(1)
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        prompt = asked.get("prompt") or [len(message["content"]) for message in asked["messages"]]
        if isinstance(prompt, str):
            prompt = [ord(letter) for letter in prompt]
        with state.lock:
            state.running += 1
        try:
            self._write_text(prompt, asked["max_tokens"], bool(asked.get("messages")))
        finally:
            with state.lock:
                state.running -= 1
        self._chunk(b"data: [DONE]\n\n")
        self._chunk(b"")

    def _refusal(self) -> str | None:
        """Of the request, in words."""
        if self.asked.get("min_p") and self.state.config is not None:
            return "min_p is not yet supported with speculative decoding"
        return None

    def _write_text(self, prompt: list[int], n_tokens: int, is_chat: bool) -> None:
        state = self.state
        truth = [prompt[place % len(prompt)] for place in range(n_tokens)]
        tokens, sent = list(prompt), 0
        while sent < n_tokens:
            length = state.length() if sent else 0
            draft = state.draft(tokens, length) if length else []
            right = 0
            while right < len(draft) and sent + right < n_tokens and draft[right] == truth[sent + right]:
                right += 1
            ms = MODES.get("step_ms", 3.0) + MODES.get("request_ms", 0.2) * state.running
            time.sleep((ms + MODES.get("token_ms", 0.02) * state.running * (1 + len(draft))) / 1e3)
            new = truth[sent : sent + right + 1]
            tokens += new
            sent += len(new)
            with state.lock:
                state.generated += len(new)
                state.drafts += bool(draft)
                state.drafted += len(draft)
                state.accepted += min(right, len(new))
                for place in range(right):
                    state.by_position[place] = state.by_position.get(place, 0) + 1
            choice: dict[str, Any] = {"token_ids": new}
            choice |= {"delta": {"content": "ab"}} if is_chat else {"text": "ab"}
            self._part({"choices": [choice], "usage": {"completion_tokens": sent}})

    def _part(self, document: dict[str, Any]) -> None:
        self._chunk(b"data: " + json.dumps(document).encode() + b"\n\n")

    def _chunk(self, data: bytes) -> None:
        self.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")


class Server(ThreadingHTTPServer):
    request_queue_size = 128
    daemon_threads = True


def main() -> None:
    parser = argparse.ArgumentParser()
    for name in (
        "--model",
        "--port",
        "--host",
        "--served-model-name",
        "--dtype",
        "--max-model-len",
        "--speculative-config",
    ):
        parser.add_argument(name)
    told = parser.parse_args()
    config = json.loads(told.speculative_config) if told.speculative_config else None
    if (config or {"method": "off"})["method"] in MODES.get("refuses", ()):
        print(f"Traceback ...\nValueError: no {config['method'] if config else 'model'} here", file=sys.stderr)
        raise SystemExit(1)
    subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    if MODES.get("hangs"):
        time.sleep(600)
    Handler.state = State(config)
    Server((told.host, int(told.port)), Handler).serve_forever()


if __name__ == "__main__":
    main()
