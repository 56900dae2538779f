"""The arithmetic of a race: medians over rounds, ratios within a round, spreads.

A spread is half the range over the rounds relative to their median; there is none of a single round.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from statistics import median

from benchmarks.gpu.race import Entrant, Taken
from benchmarks.gpu.stages import Row
from casspec.storage.schema import Mode

PLAIN = "autoregressive"


@dataclass(frozen=True)
class Sums:
    """Of one method over the prompts of a round. Times in milliseconds."""

    tokens: int
    steps: int
    decode_ms: float
    forward_ms: float

    @classmethod
    def of(cls, taken: Iterable[Taken]) -> Sums:
        each = [one.statistics for one in taken]
        return cls(
            sum(one.emitted_tokens for one in each),
            sum(one.verify_steps for one in each),
            sum(one.decode_ms for one in each),
            sum(one.draft_ms + one.verify_ms for one in each),
        )

    @property
    def token_ms(self) -> float:
        return self.decode_ms / self.tokens

    @property
    def overhead_ms(self) -> float:
        """Of a step, all that is no forward: drawing tokens, reading them, drafting without a model."""
        return (self.decode_ms - self.forward_ms) / self.steps

    @property
    def overhead_share(self) -> float:
        return 1 - self.forward_ms / self.decode_ms


def spread(values: Sequence[float]) -> float | None:
    """Half the range over the median; None of one value."""
    return (max(values) - min(values)) / 2 / median(values) if len(values) > 1 else None


def by_round(taken: Iterable[Taken], chosen: Callable[[Taken], bool]) -> dict[int, list[Taken]]:
    """Those that are chosen, by round."""
    rounds: dict[int, list[Taken]] = {}
    for one in taken:
        if chosen(one):
            rounds.setdefault(one.round, []).append(one)
    return rounds


def ratios(own: dict[int, list[Taken]], plain: dict[int, list[Taken]]) -> list[float]:
    """By round, how many times faster than plain decoding. Tokens are as many."""
    return [Sums.of(plain[turn]).token_ms / Sums.of(taken).token_ms for turn, taken in own.items() if turn in plain]


def noise(taken: Sequence[Taken], mode: Mode) -> float | None:
    """What an entrant differs by from its second measurement, median over rounds; None where none was measured twice."""
    twice = next((one.entrant for one in taken if one.entrant.again and one.request.mode == mode), None)
    if twice is None:
        return None

    def of(again: bool) -> dict[int, list[Taken]]:
        return by_round(
            taken,
            lambda one: _key(one.entrant) == _key(twice) and one.entrant.again == again and one.request.mode == mode,
        )

    return median(abs(one - 1) for one in ratios(of(True), of(False)))


def rows_of(taken: Sequence[Taken], bound_ms: float) -> list[Row]:
    """A row for each mode and method, in the order in which they were first decoded.

    Args:
        bound_ms: what a token of plain decoding takes at least.
    """
    entrants: dict[tuple[Mode, str, str], None] = {}
    for one in taken:
        entrants.setdefault((one.request.mode, *_key(one.entrant)), None)
    ordered = sorted(entrants, key=lambda key: (key[0] != "sample", key[1] != PLAIN, key[2], key[1]))
    return [_row(taken, mode, method, forwards, bound_ms) for mode, method, forwards in ordered]


def _key(entrant: Entrant) -> tuple[str, str]:
    return entrant.method, entrant.forwards


def _row(taken: Sequence[Taken], mode: Mode, method: str, forwards: str, bound_ms: float) -> Row:
    def of(method: str, forwards: str) -> dict[int, list[Taken]]:
        key = (method, forwards)
        return by_round(
            taken, lambda one: one.request.mode == mode and _key(one.entrant) == key and not one.entrant.again
        )

    own = of(method, forwards)
    plain = of(PLAIN, forwards) or of(PLAIN, "graphs") or of(PLAIN, "eager")
    sums = [Sums.of(each) for each in own.values()]
    speeds = [1e3 / each.token_ms for each in sums]
    faster = ratios(own, plain)
    row: Row = {
        "mode": mode,
        "method": method,
        "forwards": forwards,
        "tokens_per_s": median(speeds),
        "spread": spread(speeds),
        "token_ms": median(each.token_ms for each in sums),
        "over_plain": median(faster) if faster else None,
        "over_plain_spread": spread(faster) if faster else None,
        "of_bound": bound_ms / median(each.token_ms for each in sums) if method == PLAIN else None,
        "accepted": median(each.tokens / each.steps for each in sums if each.steps) if sums[0].steps else None,
        "rounds": len(own),
        "prompts": len({one.request.prompt_id for each in own.values() for one in each}),
        "same_text": _same_text(own, plain),
    }
    if all(each.forward_ms > 0 for each in sums):
        row |= {
            "forward_ms": median(each.forward_ms / each.steps for each in sums),
            "overhead_us": 1e3 * median(each.overhead_ms for each in sums),
            "overhead": median(each.overhead_share for each in sums),
        }
    return row


def _same_text(own: dict[int, list[Taken]], plain: dict[int, list[Taken]]) -> float | None:
    """New tokens until a text leaves that of plain decoding, median of prompts."""
    theirs = {one.request.prompt_id: one.token_ids for each in plain.values() for one in each}
    lengths = [
        _common(one.token_ids, theirs[one.request.prompt_id])
        for each in own.values()
        for one in each
        if one.request.prompt_id in theirs
    ]
    return median(lengths) if lengths else None


def _common(one: Sequence[int], other: Sequence[int]) -> int:
    pairs = enumerate(zip(one, other, strict=False))
    return next((place for place, (a, b) in pairs if a != b), min(len(one), len(other)))
