"""Clients of a chat endpoint: what a stream brought and when. Standard library only, so that little is taken from the servers' cores."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

PATH = "/v1/chat/completions"
REQUEST_SECONDS = 300
LONGEST_LINE = 1 << 20


class RequestFailed(Exception):
    """An answer that is no stream of text; the message says what came instead."""


@dataclass(frozen=True)
class Answer:
    """One request. Times in seconds of `time.perf_counter`.

    Attributes:
        parts: when each part with text came. tokens: as the server counts them; first_tokens: of those, until the first part came.
        steps: that the answer took, where the server tells.
    """

    began: float
    parts: tuple[float, ...] = ()
    tokens: int = 0
    first_tokens: int = 0
    steps: int | None = None
    failure: str | None = None

    @property
    def first_ms(self) -> float:
        return 1e3 * (self.parts[0] - self.began)

    @property
    def token_ms(self) -> float | None:
        """From first to last part, over the tokens that came after the first part; None where all came at once."""
        later = self.tokens - self.first_tokens
        return 1e3 * (self.parts[-1] - self.parts[0]) / later if later > 0 and len(self.parts) > 1 else None

    @property
    def request_ms(self) -> float:
        return 1e3 * (self.parts[-1] - self.began)

    @property
    def gaps_ms(self) -> list[float]:
        """Between parts. A part may hold several tokens."""
        return [1e3 * (later - sooner) for sooner, later in zip(self.parts, self.parts[1:], strict=False)]


@dataclass(frozen=True)
class Drive:
    """Requests that were asked together. `cpu_seconds`: of the process that asked."""

    answers: list[Answer] = field(default_factory=list)
    seconds: float = 0.0
    cpu_seconds: float = 0.0


def drive(port: int, bodies: Sequence[Mapping[str, Any]], clients: int, host: str = "127.0.0.1") -> Drive:
    """Asks all; each of `clients` asks its next when its last is answered."""
    cpu, begin = time.process_time(), time.perf_counter()
    answers = asyncio.run(_drive(host, port, bodies, clients))
    return Drive(answers, time.perf_counter() - begin, time.process_time() - cpu)


async def _drive(host: str, port: int, bodies: Sequence[Mapping[str, Any]], clients: int) -> list[Answer]:
    left = iter(bodies)
    found: list[Answer] = []

    async def client() -> None:
        for body in left:  # one iterator of all clients
            found.append(await ask(host, port, body))

    await asyncio.gather(*(client() for _ in range(clients)))
    return found


async def ask(host: str, port: int, body: Mapping[str, Any]) -> Answer:
    """One request; a failure is part of the answer."""
    began = time.perf_counter()
    try:
        async with asyncio.timeout(REQUEST_SECONDS):
            return await _ask(host, port, body, began)
    except TimeoutError:
        return Answer(began, failure=f"no answer within {REQUEST_SECONDS} s")
    except (RequestFailed, OSError, ValueError, asyncio.IncompleteReadError) as error:
        return Answer(began, failure=" ".join(f"{type(error).__name__}: {error}".split())[:200])


async def _ask(host: str, port: int, body: Mapping[str, Any], began: float) -> Answer:
    reader, writer = await asyncio.open_connection(host, port, limit=LONGEST_LINE)
    try:
        payload = json.dumps(body).encode()
        head = f"POST {PATH} HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Type: application/json\r\n"
        writer.write(f"{head}Content-Length: {len(payload)}\r\nConnection: close\r\n\r\n".encode() + payload)
        status = int((await reader.readline()).split()[1])
        while (await reader.readline()).strip():
            pass
        if status != 200:
            raise RequestFailed(f"status {status}: {(await reader.read(LONGEST_LINE)).decode('utf-8', 'replace')}")
        return await _read(reader, began)
    finally:
        writer.close()


async def _read(reader: asyncio.StreamReader, began: float) -> Answer:
    parts: list[float] = []
    used: dict[str, Any] = {}
    first_tokens = 0
    async for event in _events(reader):
        now = time.perf_counter()
        if "error" in event:
            raise RequestFailed(str(event["error"]))
        used = event.get("usage") or used
        if any(choice["delta"].get("content") for choice in event["choices"]):
            parts.append(now)
            first_tokens = first_tokens or used.get("completion_tokens", 0)
    if not parts or not used:
        raise RequestFailed("the stream ended without text or usage")
    steps = used.get("speculation", {}).get("steps")
    return Answer(began, tuple(parts), used["completion_tokens"], first_tokens, steps)


async def _events(reader: asyncio.StreamReader) -> AsyncIterator[dict[str, Any]]:
    """Documents of server-sent events in a chunked body, until `[DONE]`."""
    buffer = b""
    while size := int(await reader.readline(), 16):
        buffer += (await reader.readexactly(size + 2))[:-2]
        *whole, buffer = buffer.split(b"\n\n")
        for event in whole:
            data = event.removeprefix(b"data:").strip()
            if data == b"[DONE]":
                return
            if not data.startswith(b":"):  # a comment keeps a connection alive
                yield json.loads(data)
