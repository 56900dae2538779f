"""What a step of the engine costs by requests and drafted tokens: measured beforehand or a plain guess, corrected by what steps take.

A draft length follows from how cost grows with drafted tokens, not from how high it is. So steps correct the growth alone: their times
are regressed on the expected cost and on drafted tokens, per power of two of requests, and what tokens cost beyond it is shrunk to nothing.
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
TYPICAL_TOKENS = 2
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
    """Decayed regression of a step's time on its expected cost and on its drafted tokens."""

    def __init__(self, steps: float) -> None:
        self._prior = steps * TYPICAL_TOKENS**2
        self.begin()

    def begin(self) -> None:
        self._first: list[tuple[float, int, float]] = []
        self._products = np.zeros((2, 3))  # of (expected, tokens) with (expected, tokens, time)
        self._unusual = 0
        self._level = 0.0
        self.of_a_token = 0.0
        """Cost of a drafted token beyond the expected one, over that of a plain step."""

    def add(self, expected: float, n_tokens: int, time: float) -> None:
        """Args: expected: cost over that of a plain step."""
        if not self._level:
            self._first.append((expected, n_tokens, time))
            if len(self._first) == FIRST_STEPS:
                usual = median(each[2] / each[0] for each in self._first)
                for each in self._first:
                    if each[2] <= 2 * usual * each[0]:
                        self._add(*each)
            return
        if time > UNUSUAL * self._level * (expected + max(self.of_a_token, 0.0) * n_tokens):
            self._unusual += 1
            if self._unusual == MOST_UNUSUAL:
                self.begin()
            return
        self._unusual = 0
        self._add(expected, n_tokens, time)

    def _add(self, expected: float, n_tokens: int, time: float) -> None:
        features = np.array([expected, n_tokens])
        self._products = DECAY * self._products + np.outer(features, [expected, n_tokens, time])
        squares = self._products[:, :2] + [[0, 0], [0, self._prior]]
        self._level, beyond = (float(each) for each in np.linalg.solve(squares, self._products[:, 2]))
        self.of_a_token = beyond / self._level if self._level > 0 else 0.0


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
        costs = self._surface.costs(batch, n_tokens)
        growth = self._growth.get(batch.bit_length())
        if growth is None:
            return costs
        return np.maximum.accumulate(costs + growth.of_a_token * costs[0] * np.arange(n_tokens + 1))

    def observe(self, batch: int, n_tokens: int, milliseconds: float) -> None:
        """Takes what a step with so many drafted tokens took."""
        expected = self._surface.costs(batch, n_tokens)
        growth = self._growth.setdefault(batch.bit_length(), _Growth(self._steps))
        growth.add(float(expected[n_tokens] / expected[0]), n_tokens, milliseconds / float(expected[0]))
