"""What a step of the engine costs by requests and drafted tokens: measured beforehand or a plain guess, corrected by what steps take.

A draft length follows from how cost grows with drafted tokens, not from how high it is. So steps only correct the growth: the time
over the expected one is regressed on drafted tokens, per power of two of requests, and shrunk towards what was expected.
"""

from __future__ import annotations

from collections.abc import Iterable
from statistics import median

import numpy as np

from casspec.engines.result import LatencyPoint

GROWTH_ON_A_PROCESSOR = 0.05
GROWTH_ELSEWHERE = 0.01
"""Cost of a further token over that of a step of one token, while nothing was measured."""
STEPS_OF_A_GUESS, STEPS_OF_A_MEASUREMENT = 8.0, 100.0
"""Steps that the expected growth counts for."""
DECAY = 0.995
TYPICAL_TOKENS = 4
"""Drafted tokens of a step, where expected growth is weighed against observed."""
FIRST_STEPS = 8
"""Looked at together, since the first of an engine are slow."""
UNUSUAL, MOST_UNUSUAL = 3.0, 20
"""A step of so many times its expected cost says nothing, unless so many come in a row."""


class LatencySurface:
    """Expected cost from measured points, by requests and drafted tokens of all of them. Straight lines between points and past them."""

    def __init__(self, points: Iterable[LatencyPoint]) -> None:
        by_batch: dict[int, dict[int, list[float]]] = {}
        for point in points:
            tokens = point.batch * point.draft_tokens
            by_batch.setdefault(point.batch, {}).setdefault(tokens, []).append(point.milliseconds)
        self._batches = sorted(by_batch)
        self._lines = {
            batch: (np.array(sorted(found)), np.array([median(found[n]) for n in sorted(found)]))
            for batch, found in by_batch.items()
        }

    def costs(self, batch: int, n_tokens: int) -> np.ndarray:
        """[n_tokens + 1] milliseconds of a step of `batch` requests with 0, 1, ... drafted tokens; never falling."""
        tokens = np.arange(n_tokens + 1)
        below = max((each for each in self._batches if each <= batch), default=self._batches[0])
        above = min((each for each in self._batches if each >= batch), default=below)
        costs = self._line(below, tokens + max(batch - above, 0))  # a request more costs what a token does
        if above > below:
            share = (batch - below) / (above - below)
            costs = (1 - share) * costs + share * self._line(above, tokens)
        return np.maximum.accumulate(costs)

    def _line(self, batch: int, tokens: np.ndarray) -> np.ndarray:
        at, costs = self._lines[batch]
        found = np.interp(tokens, at, costs)
        if len(at) > 1:
            growth = (costs[-1] - costs[-2]) / (at[-1] - at[-2])
            found += np.maximum(tokens - at[-1], 0) * max(growth, 0.0)
        return np.asarray(found)


class GuessedSurface:
    """Cost of a step relative to that of one token, growing by the same share with each further token."""

    def __init__(self, growth: float) -> None:
        self._growth = growth

    def costs(self, batch: int, n_tokens: int) -> np.ndarray:
        """[n_tokens + 1]."""
        return 1.0 + self._growth * (batch - 1 + np.arange(n_tokens + 1))


class _Growth:
    """Decayed regression of time over expected cost on drafted tokens."""

    def __init__(self, steps: float) -> None:
        self._prior = steps * TYPICAL_TOKENS**2
        self.begin()

    def begin(self) -> None:
        self._first: list[tuple[int, float]] = []
        self._sums = np.zeros(5)  # of 1, n, n^2, ratio, n * ratio
        self._unusual = 0
        self.of_a_token = 0.0
        """By which the expected cost is multiplied, less one, per drafted token."""

    def add(self, n_tokens: int, ratio: float) -> None:
        if self._sums[0] == 0:
            self._first.append((n_tokens, ratio))
            if len(self._first) == FIRST_STEPS:
                usual = median(each for _, each in self._first)
                for n, each in self._first:
                    if each <= 2 * usual:
                        self._add(n, each)
            return
        if ratio > UNUSUAL * self._sums[3] / self._sums[0]:
            self._unusual += 1
            if self._unusual == MOST_UNUSUAL:
                self.begin()
            return
        self._unusual = 0
        self._add(n_tokens, ratio)

    def _add(self, n: int, ratio: float) -> None:
        self._sums = DECAY * self._sums + (1, n, n * n, ratio, n * ratio)
        weight, sum_n, sum_nn, sum_ratio, sum_both = self._sums
        spread = sum_nn - sum_n * sum_n / weight
        slope = (sum_both - sum_n * sum_ratio / weight) / (spread + self._prior)
        level = (sum_ratio - slope * sum_n) / weight
        self.of_a_token = slope / level if level > 0 else 0.0


class StepCosts:
    """Expected costs, corrected by observed steps.

    Args:
        surface: of a measurement or a guess. steps: that it counts for against what is observed.
    """

    def __init__(self, surface: LatencySurface | GuessedSurface, steps: float) -> None:
        self._surface = surface
        self._steps = steps
        self._growth: dict[int, _Growth] = {}

    def costs(self, batch: int, n_tokens: int) -> np.ndarray:
        """[n_tokens + 1] of a step of `batch` requests with 0, 1, ... drafted tokens; never falling. Only ratios mean something."""
        growth = self._growth.get(batch.bit_length())
        factor = growth.of_a_token if growth else 0.0
        costs = self._surface.costs(batch, n_tokens) * np.maximum(1.0 + factor * np.arange(n_tokens + 1), 0.1)
        return np.maximum.accumulate(costs)

    def observe(self, batch: int, n_tokens: int, milliseconds: float) -> None:
        """Takes what a step with so many drafted tokens took."""
        expected = float(self._surface.costs(batch, n_tokens)[n_tokens])
        growth = self._growth.setdefault(batch.bit_length(), _Growth(self._steps))
        growth.add(n_tokens, milliseconds / expected)
