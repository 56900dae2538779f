"""Figures of a race: speeds by round, ratios within a round, and how far greedy texts agree."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median

from benchmarks.peers.engines import ENGINES, Row
from benchmarks.peers.prompts import Kind
from benchmarks.peers.race import Measurement


@dataclass(frozen=True)
class Speed:
    """Of one row in one mode. Speeds in tokens/s; None where nothing was measured."""

    decode: float | None
    """Tokens after those that came first, over the time after them: median of rounds."""
    best_decode: float | None
    total: float | None
    """All new tokens over all the time, prompt included: median of rounds."""
    first_ms: float | None
    """Until tokens first came: median of requests."""
    ratio: float | None
    """Decoding speed over the reference row's on the same questions of the same round: median of rounds."""
    spread: float | None
    """Half the range of that ratio over its median; None of a single round, which has none."""
    rounds: int


@dataclass(frozen=True)
class Figures:
    """One line of the table."""

    row: Row
    greedy: Speed
    sample: Speed
    long_first_ms: float | None
    agreement: float | None
    """New tokens until the greedy text leaves the reference row's: median of prompts."""
    short: int
    """Answers that hold fewer tokens than were asked for."""


def figures(measurements: Sequence[Measurement], reference: Row) -> list[Figures]:
    """Every row that answered, in the order of `ENGINES`."""
    rows = {each.row for each in measurements}
    ordered = [row for engine in ENGINES.values() for row in engine.rows if row in rows]
    return [_figures(row, measurements, reference) for row in ordered]


def _figures(row: Row, measurements: Sequence[Measurement], reference: Row) -> Figures:
    own = [each for each in measurements if each.row == row]
    others = [each for each in measurements if each.row == reference]
    long = [each.first_ms for each in own if each.question.kind == "long"]
    return Figures(
        row,
        speed(own, others, "greedy"),
        speed(own, others, "sample"),
        median(long) if long else None,
        agreement(own, others),
        sum(len(each.ids) < each.question.tokens for each in own),
    )


def speed(own: Sequence[Measurement], others: Sequence[Measurement], kind: Kind) -> Speed:
    """Of a row's measurements of a kind beside those of the reference row."""
    by_round = _rounds(own, kind)
    of_others = _rounds(others, kind)
    decode = _known(decode_speed(each) for each in by_round.values())
    total = [1e3 * sum(len(one.ids) for one in each) / sum(one.total_ms for one in each) for each in by_round.values()]
    ratios = _known(ratio(each, of_others.get(turn, [])) for turn, each in by_round.items())
    middle = median(ratios) if ratios else None
    return Speed(
        median(decode) if decode else None,
        max(decode, default=None),
        median(total) if total else None,
        median(one.first_ms for each in by_round.values() for one in each) if by_round else None,
        middle,
        (max(ratios) - min(ratios)) / 2 / middle if middle and len(ratios) > 1 else None,
        len(by_round),
    )


def decode_speed(of_round: Sequence[Measurement]) -> float | None:
    """Tokens/s after the first ones; None where all came at once."""
    milliseconds = sum(each.total_ms - each.first_ms for each in of_round)
    tokens = sum(len(each.ids) - each.first_tokens for each in of_round)
    return 1e3 * tokens / milliseconds if milliseconds > 0 and tokens > 0 else None


def ratio(own: Sequence[Measurement], others: Sequence[Measurement]) -> float | None:
    """Of decoding speeds on the questions that both answered in a round."""
    common = {each.question for each in own} & {each.question for each in others}
    mine, theirs = (decode_speed([each for each in side if each.question in common]) for side in (own, others))
    return mine / theirs if mine and theirs else None


def agreement(own: Sequence[Measurement], others: Sequence[Measurement]) -> float | None:
    """New tokens until greedy texts part, median of prompts; all of them where they never do."""
    theirs = {each.question: each.ids for each in others if each.question.kind == "greedy"}
    mine = {each.question: each.ids for each in own if each.question in theirs}
    return median(common_start(ids, theirs[question]) for question, ids in mine.items()) if mine else None


def common_start(one: Sequence[int], other: Sequence[int]) -> int:
    """Length of what both begin with."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((place for place, (a, b) in pairs if a != b), min(len(one), len(other)))


def _rounds(measurements: Iterable[Measurement], kind: Kind) -> dict[int, list[Measurement]]:
    found: dict[int, list[Measurement]] = {}
    for each in measurements:
        if each.question.kind == kind and each.ids:
            found.setdefault(each.round, []).append(each)
    return found


def _known(values: Iterable[float | None]) -> list[float]:
    return [value for value in values if value is not None]
