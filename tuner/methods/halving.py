"""Successive halving by real decodes: all settings of a method on a little text, the better half on more, and so on.

In a round one prompt is decoded in every mode by every setting still in the race and by autoregressive decoding, in
shuffled order; what counts is a setting's time over the autoregressive time of the same round. So a machine that
becomes slower or faster on the way favours nobody, and methods tuned an hour apart can be compared.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from statistics import fmean, stdev
from typing import Any

from casspec.storage.errors import CasspecError
from casspec.storage.schema import Mode
from casspec.tuner.bench.entries import TextGenerator
from casspec.tuner.bench.requests import Request, generate
from casspec.tuner.bench.run import WARM_UP_TOKENS

FEWEST_TOKENS = 16
"""Decoded at once: shorter texts say nothing about a drafter that learns from the text."""
FEWEST_ROUNDS = 3
"""Rounds a rung is planned for; texts get shorter to make room for them."""
CLEARLY = 2.0
"""Standard errors by which a setting must be faster than the one that stays to replace it: of many that race a few rounds, one is
the fastest by luck."""


@dataclass(frozen=True)
class Round:
    """One prompt, asked for in every mode.

    Attributes:
        fold: which of a racer's generators decodes it: the one that has not seen its text.
    """

    fold: int
    requests: tuple[Request, ...]


@dataclass(eq=False)
class Racer:
    """A setting in the race; `generators` by fold. One that `stays` is in it to the end, however slow, and gives way only to one
    that is clearly faster."""

    parameters: dict[str, Any]
    generators: Sequence[TextGenerator]
    stays: bool = False
    relative_times: dict[Mode, list[float]] = field(default_factory=dict)
    """By mode: time a token over the autoregressive one, a value each round."""

    def speedup(self, mode: Mode) -> float:
        """Over autoregressive decoding; as of total times, were all rounds equally long."""
        return 1 / fmean(self.relative_times[mode])

    @property
    def speedups(self) -> dict[Mode, float]:
        return {mode: self.speedup(mode) for mode in self.relative_times}

    @property
    def score(self) -> float:
        """Geometric mean of the speedups of all modes."""
        return math.prod(self.speedups.values()) ** (1 / len(self.relative_times))

    def clearly_faster(self, other: Racer) -> bool:
        """Over the rounds that both were in, by more than chance would have it."""
        modes = [
            [math.log(theirs / own) for own, theirs in zip(times, other.relative_times[mode], strict=True)]
            for mode, times in self.relative_times.items()
        ]
        gains = [fmean(of_round) for of_round in zip(*modes, strict=True)]
        if len(gains) < 2:
            return False
        return fmean(gains) > CLEARLY * stdev(gains) / math.sqrt(len(gains))


@dataclass(frozen=True)
class Halved:
    """How a race ended. `published` was in it to the end, so that both were measured on the same rounds."""

    best: Racer
    published: Racer
    n_settings: int
    spent_ms: float


class Halving:
    """One race under way.

    Args:
        racers: at least one; the first is the setting as published and is in the race to the end. One that stays comes next.
        baseline: autoregressive decoding, by fold.
        round_at: the i-th round, i = 0, 1, ...; without end.
        budget_ms: decode time of all generators together, prefill included. One round is always played, so that a budget
            too small for that is exceeded.
        most_tokens: decoded at once.
        progress: called with the milliseconds spent so far and how many settings are in the race.
    """

    def __init__(
        self,
        racers: Sequence[Racer],
        baseline: Sequence[TextGenerator],
        round_at: Callable[[int], Round],
        budget_ms: float,
        most_tokens: int = 128,
        seed: int = 0,
        progress: Callable[[float, int], None] = lambda spent_ms, alive: None,
    ) -> None:
        self._racers = list(racers)
        self._baseline = baseline
        self._round_at = round_at
        self._budget_ms = budget_ms
        self._most_tokens = most_tokens
        self._order = random.Random(seed)
        self._progress = progress
        self._spent_ms = 0.0
        self._rounds_played = 0
        # Of autoregressive decoding, once they were measured.
        self._prefill_ms, self._token_ms = 0.0, 0.0

    def run(self) -> Halved:
        """Races until two challengers of those that stay are left, and takes the fastest of all.

        Raises CasspecError where the published setting cannot decode here.
        """
        # 1. Decodes that judge nobody: what comes first pays for kernels and caches, and shows which settings can run here.
        alive = self._warmed_up()
        published, n_settings = alive[0], len(alive)
        # 2. As many rungs as halvings lead to two challengers, each with an equal share of what is left of the budget.
        staying = [racer for racer in alive if racer.stays or racer is published]
        n_rungs = max(1, math.ceil(math.log2(max(n_settings - len(staying), 1))))
        for rung in range(n_rungs):
            if rung and self._spent_ms >= self._budget_ms:
                break
            if rung:
                challengers = sorted(alive[len(staying) :], key=lambda racer: racer.score, reverse=True)
                alive = [*staying, *challengers[: math.ceil(len(challengers) / 2)]]
            self._rung(alive, (self._budget_ms - self._spent_ms) / (n_rungs - rung))
        # 3. The published setting wins a tie, and one that stays against all that are not clearly faster.
        best = max(alive, key=lambda racer: racer.score)
        stays = next((racer for racer in alive if racer.stays), best)
        if best is not stays and not best.clearly_faster(stays):
            best = stays
        return Halved(best, published, n_settings, self._spent_ms)

    def _warmed_up(self) -> list[Racer]:
        first = self._round_at(0)
        for asked in first.requests:
            before_ms = self._spent_ms
            self._token_ms = self._token_time(self._baseline[first.fold], asked, WARM_UP_TOKENS)
            self._prefill_ms = self._spent_ms - before_ms - WARM_UP_TOKENS * self._token_ms
        published, *challengers = self._racers
        self._try_out(published, first)
        running = [published]
        for racer in challengers:
            with suppress(CasspecError):
                self._try_out(racer, first)
                running.append(racer)
        return running

    def _try_out(self, racer: Racer, first: Round) -> None:
        self._progress(self._spent_ms, len(self._racers))
        for asked in first.requests:
            self._token_time(racer.generators[first.fold], asked, WARM_UP_TOKENS)

    def _rung(self, alive: Sequence[Racer], share_ms: float) -> None:
        end_ms, n_tokens = self._spent_ms + share_ms, self._tokens_for(len(alive), share_ms)
        while True:
            self._play(self._round_at(self._rounds_played), alive, n_tokens)
            self._rounds_played += 1
            if self._spent_ms >= end_ms:
                break

    def _tokens_for(self, n_alive: int, share_ms: float) -> int:
        """Tokens at which the rung's share pays for a few rounds, were nobody faster than autoregressive decoding."""
        decodes = FEWEST_ROUNDS * len(self._round_at(0).requests) * (n_alive + 1)
        affordable = int((share_ms / decodes - self._prefill_ms) / self._token_ms)
        return min(max(affordable, FEWEST_TOKENS), self._most_tokens)

    def _play(self, played: Round, alive: Sequence[Racer], n_tokens: int) -> None:
        for asked in played.requests:
            generators = [self._baseline[played.fold], *(racer.generators[played.fold] for racer in alive)]
            turns = list(range(len(generators)))
            self._order.shuffle(turns)
            times = {turn: self._token_time(generators[turn], asked, n_tokens) for turn in turns}
            self._token_ms = min(self._token_ms, times[0])
            for turn, racer in enumerate(alive, start=1):
                racer.relative_times.setdefault(asked.mode, []).append(times[turn] / times[0])
            self._progress(self._spent_ms, len(alive))

    def _token_time(self, generator: TextGenerator, asked: Request, n_tokens: int) -> float:
        """Decode milliseconds a token; what the call took is booked as spent."""
        statistics = generate(generator, asked, asked.prompt, n_tokens).statistics
        self._spent_ms += statistics.prefill_ms + statistics.decode_ms
        return statistics.decode_ms / statistics.emitted_tokens
