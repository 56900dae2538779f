"""Engines without a model that start, speak and count as SGLang, TensorRT-LLM and llama.cpp's server do. FAKE_VLLM says how they misbehave.

They write the prompt again, as the fake vLLM does. What is drafted is theirs: SGLang copies from what all requests said, TensorRT-LLM and
llama.cpp from the text. Counters are told of requests that have ended.
"""

from __future__ import annotations

import argparse
import json
import sys
import threading
from pathlib import Path
from typing import Any, ClassVar

from fake_vllm import MODES, Handler, Server, State

TENSORRT_FIELDS = frozenset(
    [
        "model",
        "prompt",
        "messages",
        "max_tokens",
        "temperature",
        "seed",
        "stream",
        "stream_options",
        "ignore_eos",
        "detokenize",
    ]
)
LLAMA_HELP = """--metrics
--spec-type none,draft-simple,draft-eagle3,ngram-simple,ngram-map-k,ngram-mod
--spec-ngram-simple-size-n N
"""


class KinState(State):
    """Counts by request; `told` is what `/metrics` says."""

    def __init__(self, config: dict[str, Any] | None) -> None:
        super().__init__(config)
        self.verified = self.requests = 0
        self.texts: list[list[int]] = []
        self.told: dict[str, int] = {}

    def settle(self, text: list[int]) -> None:
        """A request has ended."""
        with self.lock:
            self.requests += 1
            self.texts.append(text)
            counted = {"generated": self.generated, "drafts": self.drafts, "drafted": self.drafted}
            self.told = counted | {
                "accepted": self.accepted,
                "verified": self.verified,
                "requests": self.requests,
            }


class SglangState(KinState):
    def length(self) -> int:
        return 0 if self.config is None else int(self.config["speculative_num_draft_tokens"]) - 1

    def draft(self, tokens: list[int], length: int) -> list[int]:
        """What followed the longest suffix in any text; every step verifies, even where there is no match."""
        with self.lock:
            self.verified += 1
        for n in range(min(8, len(tokens) - 1), 0, -1):
            for text in [tokens[:-1], *self.texts]:
                for end in range(n, len(text)):
                    if text[end - n : end] == tokens[-n:]:
                        return text[end : end + length]
        return []


class TensorrtState(KinState):
    def length(self) -> int:
        return 0 if self.config is None else int(self.config["max_draft_len"])

    def draft(self, tokens: list[int], length: int) -> list[int]:
        """Of a request's own pool, the oldest match."""
        assert self.config is not None
        assert self.config["is_public_pool"] is False
        for n in range(min(self.config["max_matching_ngram_size"], len(tokens) - 1), 0, -1):
            for end in range(n, len(tokens)):
                if tokens[end - n : end] == tokens[-n:]:
                    return tokens[end : end + length]
        return []


class LlamaState(KinState):
    def length(self) -> int:
        return 0 if self.config is None else int(self.config["size_m"])

    def draft(self, tokens: list[int], length: int) -> list[int]:
        """As `common_ngram_simple_draft` has it: `tokens` without its last are the history, the last was just sampled."""
        assert self.config is not None
        n, history, pattern = int(self.config["size_n"]), tokens[:-1], tokens[-int(self.config["size_n"]) :]
        if len(history) <= n + length + 1:
            return []
        for place in range(len(history) - n - 1, 0, -1):
            if history[place : place + n] == pattern:
                found = history[place + n : place + n + length]
                return found if len(found) >= n else []
        return []


class KinHandler(Handler):
    """Of a dialect. `has_metrics`: whether its command line asked for them."""

    state: KinState
    has_metrics = True
    places: ClassVar[dict[str, str]] = {}
    """What it answers to GET, beside models and metrics."""
    metrics_path = "/metrics"

    def do_GET(self) -> None:  # noqa: N802 - by the name of the request
        if self.path in self.places:
            self._answer(200, self.places[self.path])
        elif self.path == self.metrics_path:
            is_told = self.has_metrics and not MODES.get("no_metrics")
            self._answer(200 if is_told else 404, self._metrics())
        elif self.path == "/v1/models":
            self._answer(200, '{"data": [{"id": "model"}]}')
        else:
            self._answer(404, '{"error": "Not Found"}')

    def _write_text(self, prompt: list[int], n_tokens: int, is_chat: bool) -> None:
        super()._write_text(prompt, n_tokens, is_chat)
        self.state.settle([*prompt, *(prompt[place % len(prompt)] for place in range(n_tokens))])


class SglangHandler(KinHandler):
    places: ClassVar[dict[str, str]] = {"/health": "", "/server_info": '{"version": "0.5.23", "tp_size": 1}'}

    def do_GET(self) -> None:  # noqa: N802 - by the name of the request
        if self.path.startswith("/flush_cache"):
            self.state.texts.clear()
            self._answer(200, "Cache flushed.\n")
        else:
            super().do_GET()

    def _metrics(self) -> str:
        told = self.state.told
        if not told:
            return 'sglang:num_running_reqs{model_name="m"} 0.0\n'
        labels = '{is_streaming="true",model_name="m"}'
        lines = [f"sglang:generation_tokens_total{labels} {told['generated']}.0"]
        lines.append(f"sglang:num_requests_total{labels} {told['requests']}.0")
        if told["verified"]:
            lines.append(f'sglang:spec_verify_calls_total{{model_name="m"}} {told["verified"]}.0')
        return "\n".join(lines) + "\n"

    def _part(self, document: dict[str, Any]) -> None:
        if not self.asked.get("return_token_ids"):
            document["choices"][0].pop("token_ids")
        super()._part(document)


class TensorrtHandler(KinHandler):
    places: ClassVar[dict[str, str]] = {"/health": "", "/version": '{"version": "1.3.0"}', "/metrics": "[]"}
    metrics_path = "/prometheus/metrics"

    def _metrics(self) -> str:
        told = self.state.told
        if not told:
            return ""
        labels = '{engine_type="undefined",model_name="undefined"}'
        lines = [f"trtllm_generation_tokens_total{labels} {told['generated']}.0"]
        if self.state.config is not None:
            lines.append(f"trtllm_spec_decode_num_draft_tokens_total{labels} {told['drafted']}.0")
            lines.append(f"trtllm_spec_decode_num_accepted_tokens_total{labels} {told['accepted']}.0")
        return "\n".join(lines) + "\n"

    def _refusal(self) -> str | None:
        unknown = set(self.asked) - TENSORRT_FIELDS
        return f"{min(unknown)}: Extra inputs are not permitted" if unknown else None

    def _part(self, document: dict[str, Any]) -> None:
        choice = document["choices"][0]
        if self.asked.get("detokenize", True):
            choice.pop("token_ids")
        else:
            choice["text"] = ""
        super()._part(document)


class LlamaHandler(KinHandler):
    places: ClassVar[dict[str, str]] = {
        "/health": '{"status": "ok"}',
        "/props": '{"build_info": "b11434-abc1234", "total_slots": 4}',
    }

    def _metrics(self) -> str:
        names = {
            "tokens_predicted_total": "generated",
            "spec_decode_num_draft_tokens_total": "drafted",
            "spec_decode_num_accepted_tokens_total": "accepted",
            "spec_decode_num_drafts_total": "drafts",
        }
        return "".join(f"llamacpp:{name} {self.state.told.get(key, 0)}\n" for name, key in names.items())

    def _write_text(self, prompt: list[int], n_tokens: int, is_chat: bool) -> None:
        super()._write_text(prompt, n_tokens, is_chat)
        usage = {"completion_tokens": n_tokens, "prompt_tokens": len(prompt)}
        self._chunk(b"data: " + json.dumps({"choices": [{"text": ""}], "usage": usage}).encode() + b"\n\n")

    def _part(self, document: dict[str, Any]) -> None:
        """A part for each token; nothing is told but text."""
        choice = document["choices"][0]
        for token in choice["token_ids"]:
            text = f"{token} "
            super()._part({"choices": [{"delta": {"content": text}} if "delta" in choice else {"text": text}]})


def _options(words: list[str]) -> dict[str, str]:
    parser = argparse.ArgumentParser()
    for name in ("--port", "--host"):
        parser.add_argument(name, required=True)
    told, rest = parser.parse_known_args(words)
    found = {"port": told.port, "host": told.host}
    for word, following in zip(rest, [*rest[1:], "--"], strict=True):
        if word.startswith("--"):
            found[word[2:]] = "" if following.startswith("--") else following
    return found


def _yaml(text: str) -> dict[str, Any]:
    """Of two levels."""
    found: dict[str, Any] = {}
    inner = found
    for line in text.splitlines():
        name, _, value = line.strip().partition(":")
        target = inner if line.startswith(" ") else found
        if value.strip():
            target[name] = json.loads(value)
        else:
            inner = found[name] = {}
    return found


def sglang(words: list[str]) -> tuple[type[KinHandler], KinState, dict[str, str]]:
    told = _options(words)
    SglangHandler.has_metrics = "enable-metrics" in told
    is_on = told.get("speculative-algorithm") == "NGRAM"
    config = {name.replace("-", "_"): value for name, value in told.items() if name.startswith("speculative")}
    return SglangHandler, SglangState(config | {"method": "NGRAM"} if is_on else None), told


def tensorrt(words: list[str]) -> tuple[type[KinHandler], KinState, dict[str, str]]:
    told = _options(words)
    file = _yaml(Path(told["extra_llm_api_options"]).read_text("utf-8"))
    TensorrtHandler.has_metrics = file.get("return_perf_metrics") is True
    config = file.get("speculative_config")
    if config is not None:
        assert file["disable_overlap_scheduler"] is True
        config["method"] = config["decoding_type"]
    return TensorrtHandler, TensorrtState(config), told


def llama(words: list[str]) -> tuple[type[KinHandler], KinState, dict[str, str]]:
    told = _options(words)
    LlamaHandler.has_metrics = "metrics" in told
    kind = told.get("spec-type")
    config = None
    if kind is not None:
        config = {"method": kind, "size_n": told[f"spec-{kind}-size-n"], "size_m": told[f"spec-{kind}-size-m"]}
    return LlamaHandler, LlamaState(config), told


def main(dialect: str) -> None:
    """Serves until it is ended."""
    if dialect == "llama" and sys.argv[1:] in (["--version"], ["--help"]):
        version = sys.argv[1] == "--version"
        print("version: 0.1 (build 11434, commit abc1234)" if version else LLAMA_HELP, file=sys.stderr)
        return
    handler, state, told = {"sglang": sglang, "tensorrt": tensorrt, "llama": llama}[dialect](sys.argv[1:])
    if (state.config or {"method": "off"})["method"] in MODES.get("refuses", ()):
        print("error: no such speculation here", file=sys.stderr)
        raise SystemExit(1)
    handler.state = state
    threading.current_thread().name = dialect
    Server((told["host"], int(told["port"])), handler).serve_forever()
