"""Records the requests of a server as a suite: what was asked, with which options, when, and how long the answer was.

A row is a request of OpenAI's batch format, which `--suite FILE` reads, with what else is known of it under "casspec". Answers, keys,
users and addresses are not kept.
"""

from __future__ import annotations

import json
import logging
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from queue import Empty, Full, Queue
from threading import Thread
from typing import Any

from casspec.runtime.watch.traffic_file import TrafficFile
from casspec.storage.errors import StorageError

MAX_BYTES = 64 << 20
"""Of a file, unless said otherwise."""

FORMAT = 1
"""Of what stands under "casspec"."""

BEGINNING = b'{"custom_id":"'
"""Of every row."""

OPTIONS = (
    "temperature",
    "top_p",
    "top_k",
    "min_p",
    "max_tokens",
    "max_completion_tokens",
    "n",
    "stop",
    "ignore_eos",
    "presence_penalty",
    "frequency_penalty",
    "repetition_penalty",
    "tools",
)
"""Of a request's, those that are kept, by OpenAI's names and vLLM's."""

MOST_WAITING, MOST_AT_ONCE = 1_000, 256
"""Requests that wait to be written, and those written together."""

_log = logging.getLogger("casspec")


@dataclass(frozen=True)
class RecordedRequest:
    """A request that was answered. One of `messages` and `prompt` is given.

    Attributes:
        arrived_at: seconds since 1970, UTC. output_tokens: of all its answers together.
        messages: as the client sent them. prompt: a text, or token ids.
        options: as the client sent them; of these `OPTIONS` are kept.
    """

    arrived_at: float
    output_tokens: int
    messages: Sequence[Mapping[str, Any]] | None = None
    prompt: str | Sequence[int] | None = None
    options: Mapping[str, Any] = field(default_factory=dict)


class TrafficRecorder:
    """Writes requests on a thread of its own, so that nobody waits for the disk.

    Where the disk takes no more, recording ends with a line in the log, and serving goes on.

    Args:
        path: of the file; one that exists is gone on with.
        tokenizer: of the served model, for prompts of token ids; None leaves these out.

    Attributes:
        recorded, left_out: requests on the disk, and those that could not be written.

    Raises StorageError for a file that cannot be recorded to.
    """

    def __init__(self, path: str | Path, max_bytes: int = MAX_BYTES, tokenizer: Any = None) -> None:
        self._file = TrafficFile(Path(path).expanduser(), max_bytes, _is_row)
        self._max_bytes, self._tokenizer = max_bytes, tokenizer
        self._waiting: Queue[RecordedRequest | None] = Queue(MOST_WAITING)
        self.recorded = self.left_out = 0
        self._thread = Thread(target=self._run, name="casspec-traffic", daemon=True)
        self._thread.start()

    @property
    def keeps(self) -> str:
        """A line for users: what is kept, and where."""
        return (
            f"requests are recorded to {self._file.path} (messages and tools, or prompts, sampling options, arrival times, output lengths; "
            f"no answers): the newest {self._max_bytes / 2**20:,.3g} MiB at most, readable by this user alone"
        )

    def record(self, request: RecordedRequest) -> None:
        """Hands over a request; it is on the disk some milliseconds later. Where too many wait it is left out."""
        try:
            self._waiting.put_nowait(request)
        except Full:
            self.left_out += 1

    def close(self) -> None:
        """Writes what waits, and ends; what comes later is not recorded."""
        if self._thread.is_alive():
            self._waiting.put(None)
            self._thread.join()
            self._file.close()

    def _run(self) -> None:
        works, is_open = True, True
        while is_open:
            batch = self._next()
            is_open = batch[-1] is not None
            requests = [request for request in batch if request is not None]
            lines = [line for line in map(self._line, requests) if line is not None] if works else []
            try:
                n_written = self._file.append(lines) if lines else 0
            except StorageError as error:
                _log.warning("%s; no more requests are recorded", error)
                works, n_written = False, 0
            self.recorded += n_written
            self.left_out += len(requests) - n_written

    def _next(self) -> list[RecordedRequest | None]:
        """What waits, one request at least; None behind the last one."""
        batch = [self._waiting.get()]
        while len(batch) < MOST_AT_ONCE and batch[-1] is not None:
            try:
                batch.append(self._waiting.get_nowait())
            except Empty:
                break
        return batch

    def _line(self, request: RecordedRequest) -> bytes | None:
        try:
            return row(request, self._tokenizer)
        except (TypeError, ValueError) as error:
            _log.warning("a request cannot be recorded: %s", error)
            return None


def row(request: RecordedRequest, tokenizer: Any = None) -> bytes:
    """The line of a request, with its end. Raises ValueError for a prompt of token ids without a tokenizer, or what is no JSON."""
    body: dict[str, Any] = {name: request.options[name] for name in OPTIONS if request.options.get(name) is not None}
    asked: dict[str, Any]
    if request.messages is not None:
        url, asked = "/v1/chat/completions", {"messages": [dict(message) for message in request.messages]}
    else:
        prompt = request.prompt if isinstance(request.prompt, str) else _text(request.prompt or (), tokenizer)
        url, asked = "/v1/completions", {"prompt": prompt}
    about = {
        "traffic": FORMAT,
        "arrived_at": round(request.arrived_at, 6),
        "output_tokens": request.output_tokens,
    }
    value = {"custom_id": secrets.token_hex(8), "method": "POST", "url": url, "body": asked | body, "casspec": about}
    return json.dumps(value, separators=(",", ":"), allow_nan=False).encode("ascii") + b"\n"


def _text(prompt: Sequence[int], tokenizer: Any) -> str:
    """Of token ids, as the tokenizer would read it again: without the token that it puts before every text."""
    if tokenizer is None:
        raise ValueError("a prompt of token ids needs a tokenizer")
    ids = list(prompt)
    put_before = list(tokenizer("")["input_ids"])[:1]
    if put_before and ids[:1] == put_before:
        ids = ids[1:]
    return str(tokenizer.decode(ids, skip_special_tokens=False))


def _is_row(line: bytes) -> bool:
    """Whether a file that begins with this line is one of requests; a line without its end was not written to it."""
    if not line.endswith(b"\n"):
        return line.startswith(BEGINNING) or BEGINNING.startswith(line)
    try:
        value = json.loads(line)
    except ValueError:
        return False
    return isinstance(value, dict) and isinstance(value.get("casspec"), dict) and "traffic" in value["casspec"]
