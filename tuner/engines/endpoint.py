"""Asks an OpenAI endpoint: what a stream brought and when. Standard library only, so that little is taken from the engine's cores."""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from casspec.storage.errors import EngineError
from casspec.tuner.engines.stream import RequestFailed, Stream, choice_text, response_text

REQUEST_SECONDS = 600.0
LOOK_SECONDS = 30.0
LONGEST_LINE = 1 << 22
LONGEST_PIECE = 1 << 16
LONGEST_REASON = 200
NO_ANSWER = (
    RequestFailed,
    OSError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    asyncio.IncompleteReadError,
)
"""What is raised where something else is answered than OpenAI's interface says."""


@dataclass(frozen=True)
class Answer:
    """One request. Times in seconds of `time.perf_counter`.

    Attributes:
        parts: when each part with text came. tokens: as the engine counts them; first_tokens: of those, until the first part came.
        ids: the new tokens, where the engine tells them. text: of all parts. steps: that the answer took, where it tells.
    """

    began: float
    parts: tuple[float, ...] = ()
    tokens: int = 0
    first_tokens: int = 0
    steps: int | None = None
    failure: str | None = None
    ids: tuple[int, ...] = ()
    text: str = ""

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
    """In the order of the requests."""
    seconds: float = 0.0
    cpu_seconds: float = 0.0


@dataclass(frozen=True)
class Asked:
    """A request: its path, its JSON body, and seconds after the first at which it is to be asked (None: as soon as a client is free)."""

    path: str
    body: Mapping[str, Any]
    after_s: float | None = None


IdsOf = Callable[[Mapping[str, Any]], "list[int] | None"]
Watch = Callable[[int, int], None]
"""Told as parts come: which request, and how many tokens it has so far."""


def _no_ids(choice: Mapping[str, Any]) -> list[int] | None:
    return None


def _nobody(request: int, tokens: int) -> None:
    return


class Endpoint:
    """An address that speaks OpenAI's HTTP interface.

    Args:
        url: http://HOST:PORT, https too; a path at its end goes before those of requests, but for `/v1`, which they begin with.
        key: sent as a bearer token.
        ids_of: new tokens in a choice of an event; needed where they are wanted.

    Raises EngineError for what is no such URL.
    """

    def __init__(self, url: str, key: str | None = None, ids_of: IdsOf = _no_ids) -> None:
        parts = urlsplit(url)
        try:
            port = parts.port
        except ValueError:
            port = -1
        if parts.scheme not in ("http", "https") or not parts.hostname or port == -1 or parts.query:
            raise EngineError(f"{url!r} is no URL of an endpoint: expected one like http://127.0.0.1:8000")
        self.url = url.rstrip("/").removesuffix("/v1")
        self._host, self._port = parts.hostname, port or (443 if parts.scheme == "https" else 80)
        self._before = parts.path.rstrip("/").removesuffix("/v1")
        self._tls = ssl.create_default_context() if parts.scheme == "https" else None
        self._key, self._ids_of = key, ids_of

    def get(self, path: str) -> str:
        """Body of an answer to GET. Raises EngineError, in one line, where it is not reached, refuses the key, or has no such path."""
        return asyncio.run(self.text(path))

    async def text(self, path: str) -> str:
        """As `get`, for whoever asks other things meanwhile."""
        try:
            status, body = await self._get(path)
        except (OSError, TimeoutError, ValueError, IndexError, asyncio.IncompleteReadError) as error:
            raise EngineError(
                f"{self.url} is not reached ({_told(error)}): is the engine up, and is this its URL?"
            ) from None
        if status in (401, 403):
            raise EngineError(f"{self.url} refuses the key (status {status}): give the right one in CASSPEC_ENGINE_KEY")
        if status != 200:
            raise EngineError(f"{self.url} has no {path} (status {status}): is this an engine's URL?")
        return body

    def served(self) -> str:
        """Name of the first model. Raises EngineError as `get`."""
        try:
            return str(json.loads(self.get("/v1/models"))["data"][0]["id"])
        except (ValueError, LookupError, TypeError):
            raise EngineError(f"{self.url}/v1/models names no model: is this an OpenAI endpoint?") from None

    def drive(
        self, requests: Sequence[Asked], clients: int, watch: Watch = _nobody, most_s: float | None = None
    ) -> Drive:
        """Asks all: each of `clients` asks its next when its last is answered, and not before its time.

        Raises TimeoutError after `most_s` seconds, and hangs up.
        """

        async def within() -> list[Answer]:
            async with asyncio.timeout(most_s):
                return await self._drive(requests, clients, watch)

        cpu, begin = time.process_time(), time.perf_counter()
        answers = asyncio.run(within())
        return Drive(answers, time.perf_counter() - begin, time.process_time() - cpu)

    async def _drive(self, requests: Sequence[Asked], clients: int, watch: Watch) -> list[Answer]:
        left = iter(enumerate(requests))
        found: dict[int, Answer] = {}
        begin = time.perf_counter()

        async def client() -> None:
            for place, request in left:  # one iterator of all clients
                if request.after_s is not None:
                    await asyncio.sleep(max(0.0, begin + request.after_s - time.perf_counter()))
                found[place] = await self.ask(request, lambda tokens, place=place: watch(place, tokens))  # type: ignore[misc]

        await asyncio.gather(*(client() for _ in range(clients)))
        return [found[place] for place in sorted(found)]

    async def ask(self, request: Asked, watch: Callable[[int], None] = lambda tokens: None) -> Answer:
        """One request; a failure is part of the answer."""
        began = time.perf_counter()
        try:
            async with asyncio.timeout(REQUEST_SECONDS):
                return await self._ask(request, began, watch)
        except TimeoutError:
            return Answer(began, failure=f"no answer within {REQUEST_SECONDS:.0f} s")
        except NO_ANSWER as error:
            return Answer(began, failure=_told(error))

    async def _ask(self, request: Asked, began: float, watch: Callable[[int], None]) -> Answer:
        async with self._sent("POST", request.path, json.dumps(request.body).encode()) as (status, headers, reader):
            if status != 200:
                body = await _body(reader, headers)
                raise RequestFailed(f"status {status}: {body.decode('utf-8', 'replace')}")
            return await self._read(_events(_pieces(reader, headers)), began, watch)

    async def _get(self, path: str) -> tuple[int, str]:
        async with asyncio.timeout(LOOK_SECONDS), self._sent("GET", path) as (status, headers, reader):
            return status, (await _body(reader, headers)).decode("utf-8", "replace")

    @contextlib.asynccontextmanager
    async def _sent(
        self, method: str, path: str, payload: bytes = b""
    ) -> AsyncIterator[tuple[int, dict[str, str], asyncio.StreamReader]]:
        """Status, headers and body of the answer to a request, on a connection of its own."""
        reader, writer = await asyncio.open_connection(self._host, self._port, limit=LONGEST_LINE, ssl=self._tls)
        try:
            head = f"{method} {self._before}{path} HTTP/1.1\r\nHost: {self._host}:{self._port}\r\nConnection: close\r\n"
            head += f"Authorization: Bearer {self._key}\r\n" if self._key else ""
            head += f"Content-Type: application/json\r\nContent-Length: {len(payload)}\r\n\r\n"
            writer.write(head.encode() + payload)
            status = int((await reader.readline()).split()[1])
            headers = {}
            while line := (await reader.readline()).strip():
                name, _, value = line.decode("latin-1").partition(":")
                headers[name.lower()] = value.strip().lower()
            yield status, headers, reader
        finally:
            writer.close()

    async def _read(self, events: AsyncIterator[dict[str, Any]], began: float, watch: Callable[[int], None]) -> Answer:
        stream = Stream()
        async for event in events:
            now = time.perf_counter()
            stream.take_usage(event)
            pieces = [(choice_text(choice), self._ids_of(choice) or []) for choice in event.get("choices") or ()]
            for text, ids in pieces or [(response_text(event), [])]:
                if stream.add(now, text, ids):
                    watch(stream.so_far)
        tokens = stream.tokens()
        steps = (stream.used.get("speculation") or {}).get("steps")
        return Answer(
            began,
            tuple(stream.parts),
            tokens,
            stream.first_tokens,
            steps,
            None,
            tuple(stream.ids),
            "".join(stream.texts),
        )


async def _body(reader: asyncio.StreamReader, headers: Mapping[str, str]) -> bytes:
    length = headers.get("content-length")
    if length is not None:
        return await reader.readexactly(int(length))
    return b"".join([piece async for piece in _pieces(reader, headers)])


async def _pieces(reader: asyncio.StreamReader, headers: Mapping[str, str]) -> AsyncIterator[bytes]:
    """Of a body without a length: chunks, else whatever comes until the connection ends."""
    if headers.get("transfer-encoding") != "chunked":
        while piece := await reader.read(LONGEST_PIECE):
            yield piece
        return
    while size := int((await reader.readline()).split(b";")[0], 16):
        yield (await reader.readexactly(size + 2))[:-2]


async def _events(pieces: AsyncIterator[bytes]) -> AsyncIterator[dict[str, Any]]:
    """Documents of server-sent events, until `[DONE]`."""
    buffer = b""
    async for piece in pieces:
        buffer += piece.replace(b"\r\n", b"\n")
        *whole, buffer = buffer.split(b"\n\n")
        for event in whole:
            data = b"".join(line[5:].strip() for line in event.split(b"\n") if line.startswith(b"data:"))
            if data == b"[DONE]":
                return
            if data:  # a comment keeps a connection alive
                yield json.loads(data)


def _told(error: BaseException) -> str:
    """In one line."""
    said = " ".join(f"{error}".split())
    name = "" if isinstance(error, RequestFailed) else type(error).__name__
    return ": ".join(filter(None, (name, said)))[:LONGEST_REASON]
