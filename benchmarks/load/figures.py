"""Figures of a load test: throughput by round, ratios within a round, latencies of all requests."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np

from benchmarks.load.client import Answer
from benchmarks.load.field import Measurement
from casspec.storage.schema import Mode


@dataclass(frozen=True)
class Middle:
    """Median of rounds, and half the range over the median; None of a single round, which has none."""

    value: float
    spread: float | None


@dataclass(frozen=True)
class Spot:
    """Half of the values, and 99 of 100, are at most this; ms."""

    p50: float
    p99: float


@dataclass(frozen=True)
class Figures:
    """One line of a table: a server in a mode with so many clients.

    Attributes:
        ratios: tokens/s over those of another server in the same round.
        first_token, request: from the request to its first part with text, and to its last. token: from the first part to the last over
            the tokens that came after the first part. gap: between parts, whatever they hold. None where there are none.
        tokens_a_step: where the server tells.
        client_cpu, server_cpu: processor time over wall time; 1 is one core. waiting_cpu: of all servers that waited.
        failed: requests without a whole answer; short: with fewer tokens than asked for; at_once: whose text came in one part.
    """

    server: str
    mode: Mode
    clients: int
    requests: int
    requests_per_second: Middle
    tokens_per_second: Middle
    ratios: dict[str, Middle]
    first_token: Spot | None
    token: Spot | None
    request: Spot | None
    gap: Spot | None
    tokens_a_step: float | None
    client_cpu: float
    server_cpu: float
    waiting_cpu: float
    failed: int
    short: int
    at_once: int


def figures(measurements: Sequence[Measurement], names: Sequence[str], n_tokens: int) -> list[Figures]:
    """Of every mode, number of clients and server that was measured, servers in the order of `names`."""
    places = dict.fromkeys((each.mode, each.clients) for each in measurements)
    found = []
    for mode, clients in places:
        here = [each for each in measurements if (each.mode, each.clients) == (mode, clients)]
        by_name = {name: [each for each in here if each.server == name] for name in names}
        found += [_figures(own, by_name, n_tokens) for own in by_name.values() if own]
    return found


def _figures(own: Sequence[Measurement], by_name: dict[str, list[Measurement]], n_tokens: int) -> Figures:
    first = own[0]
    answered = [answer for each in own for answer in each.drive.answers if answer.failure is None]
    seconds = sum(each.drive.seconds for each in own)
    tokens = [answer.token_ms for answer in answered]
    return Figures(
        first.server,
        first.mode,
        first.clients,
        sum(len(each.drive.answers) for each in own),
        _middle([len(_whole(each)) / each.drive.seconds for each in own]),
        _middle([token_speed(each) for each in own]),
        {name: ratio for name, others in by_name.items() if others != own and (ratio := _ratio(own, others))},
        _spot([answer.first_ms for answer in answered]),
        _spot([each for each in tokens if each is not None]),
        _spot([answer.request_ms for answer in answered]),
        _spot([gap for answer in answered for gap in answer.gaps_ms]),
        _tokens_a_step(answered),
        sum(each.drive.cpu_seconds for each in own) / seconds,
        sum(each.server_cpu_seconds for each in own) / seconds,
        sum(each.waiting_cpu_seconds for each in own) / seconds,
        sum(answer.failure is not None for each in own for answer in each.drive.answers),
        sum(answer.tokens < n_tokens for answer in answered),
        sum(len(answer.parts) == 1 for answer in answered),
    )


def token_speed(measured: Measurement) -> float:
    """New tokens of whole answers over the time from the first request to the last answer."""
    return sum(answer.tokens for answer in _whole(measured)) / measured.drive.seconds


def _whole(measured: Measurement) -> list[Answer]:
    return [answer for answer in measured.drive.answers if answer.failure is None]


def _ratio(own: Sequence[Measurement], others: Sequence[Measurement]) -> Middle | None:
    theirs = {each.round: token_speed(each) for each in others}
    found = [token_speed(each) / theirs[each.round] for each in own if theirs.get(each.round)]
    return _middle(found) if found else None


def _middle(values: Sequence[float]) -> Middle:
    middle = median(values)
    return Middle(middle, (max(values) - min(values)) / 2 / middle if middle and len(values) > 1 else None)


def _spot(values: Sequence[float]) -> Spot | None:
    return Spot(*(float(each) for each in np.quantile(values, (0.5, 0.99)))) if values else None


def _tokens_a_step(answered: Sequence[Answer]) -> float | None:
    told = [(answer.tokens, answer.steps) for answer in answered if answer.steps]
    return sum(tokens for tokens, _ in told) / sum(steps for _, steps in told) if told else None
