"""Compares OpenAI endpoints, whoever serves there: the same requests of one after the other, in turns."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from casspec.storage.errors import EngineError
from casspec.tuner.engines.endpoint import Answer, Asked, Drive, Endpoint
from casspec.tuner.engines.figures import Interval, ratio, spot
from casspec.tuner.engines.known.by_name import ENGINES
from casspec.tuner.engines.metrics import Counters, read_counters
from casspec.tuner.engines.protocol import CounterNames

Requests = Callable[[str], Sequence[Asked]]
"""By the name of the model that an endpoint serves."""


@dataclass(frozen=True)
class Turn:
    """What all endpoints are asked in their turn: `concurrency` at a time, or fewer where requests have their times."""

    concurrency: int
    requests: Requests


@dataclass
class Contender:
    """An endpoint under test. `counters`: None where it tells none that are known."""

    endpoint: Endpoint
    model: str
    counters: CounterNames | None
    drives: dict[int, list[tuple[Drive, Counters | None]]] = field(default_factory=dict)
    """By turn."""

    @classmethod
    def at(cls, url: str, key: str | None) -> Contender:
        """Raises EngineError where nothing answers there, or no endpoint."""
        endpoint = Endpoint(url, key)
        return cls(endpoint, endpoint.served(), counters_of(endpoint))

    def counted(self) -> Counters | None:
        """As of now."""
        return None if self.counters is None else read_counters(self.endpoint.get(self.counters.path), self.counters)


@dataclass(frozen=True)
class Row:
    """Figures of an endpoint with so many requests at a time.

    Attributes:
        versus: tokens/s over those of the first endpoint in the same turn; None of the first.
        first_token_ms, gap_ms: 50 and 99 in 100 are at most this. A gap is between parts of a stream; a part may hold several tokens.
        acceptance_length, acceptance_rate: by the endpoint's own counters; None where it has none or drafted nothing.
    """

    url: str
    concurrency: int
    requests: int
    failed: int
    tokens_per_second: float
    versus: Interval | None
    first_token_ms: tuple[float, float] | None
    gap_ms: tuple[float, float] | None
    acceptance_length: float | None
    acceptance_rate: float | None
    failure: str | None = None
    """Of the first request that failed."""


def counters_of(endpoint: Endpoint) -> CounterNames | None:
    """Those that it tells of, at the place where an engine tells its own."""
    told: dict[str, str] = {}
    for names in (engine.counters for engine in ENGINES.values()):
        if names.path not in told:
            try:
                told[names.path] = endpoint.get(names.path)
            except EngineError:
                told[names.path] = ""
        if names.generated in told[names.path]:
            return names
    return None


def bench(contenders: Sequence[Contender], turns: Sequence[Turn], say: Callable[[str], None] = print) -> list[Row]:
    """Asks all turns of every endpoint, in an order that alternates, and returns the figures.

    Raises EngineError where an endpoint answers no request at all.
    """
    for number, turn in enumerate(turns):
        for contender in contenders if number % 2 == 0 else list(reversed(contenders)):
            requests = turn.requests(contender.model)
            before = contender.counted()
            done = contender.endpoint.drive(requests, turn.concurrency)
            after = contender.counted()
            counted = after.since(before) if after is not None and before is not None else None
            contender.drives.setdefault(number, []).append((done, counted))
            failures = [answer.failure for answer in done.answers if answer.failure is not None]
            if failures and len(failures) == len(done.answers):
                raise EngineError(f"{contender.endpoint.url} answers no request: {failures[0]}")
            say(
                f"turn {number + 1}/{len(turns)}: {contender.endpoint.url}, {turn.concurrency} at a time, {done.seconds:.1f} s"
            )
    places = list(dict.fromkeys(turn.concurrency for turn in turns))
    return [_row(each, contenders[0], turns, place) for place in places for each in contenders]


def warm_up(contenders: Sequence[Contender], requests: Requests) -> None:
    """One request each, which does not count. Raises EngineError where it fails."""
    for contender in contenders:
        (answer,) = contender.endpoint.drive(requests(contender.model)[:1], 1).answers
        if answer.failure is not None:
            raise EngineError(f"{contender.endpoint.url} answers no request: {answer.failure}")


def _row(own: Contender, first: Contender, turns: Sequence[Turn], concurrency: int) -> Row:
    numbers = [number for number, turn in enumerate(turns) if turn.concurrency == concurrency]
    drives = [drive for number in numbers for drive, _ in own.drives[number]]
    counts = [counted for number in numbers for _, counted in own.drives[number] if counted is not None]
    whole = [answer for drive in drives for answer in drive.answers if answer.failure is None]
    failed = [answer for drive in drives for answer in drive.answers if answer.failure is not None]
    pairs = [(_speed(own, number), _speed(first, number)) for number in numbers]
    pairs = [pair for pair in pairs if all(pair)]
    drafts, drafted, accepted = (
        sum(filter(None, (getattr(each, name) for each in counts)))
        for name in ("drafts", "draft_tokens", "accepted_tokens")
    )
    return Row(
        own.endpoint.url,
        concurrency,
        len(whole) + len(failed),
        len(failed),
        sum(answer.tokens for answer in whole) / sum(drive.seconds for drive in drives),
        ratio(pairs) if own is not first and pairs else None,
        spot([answer.first_ms for answer in whole]),
        spot([gap for answer in whole for gap in answer.gaps_ms]),
        1.0 + accepted / drafts if drafts else None,
        accepted / drafted if drafted else None,
        failed[0].failure if failed else None,
    )


def _speed(contender: Contender, number: int) -> float:
    (drive, _), *_ = contender.drives[number]
    return _tokens(drive.answers) / drive.seconds


def _tokens(answers: Sequence[Answer]) -> int:
    return sum(answer.tokens for answer in answers if answer.failure is None)
