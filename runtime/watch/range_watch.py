"""Whether a mean stays within a range: told once it left for good, and once it is back."""

from __future__ import annotations

from typing import Literal

from casspec.runtime.watch.detector import MeanDetector, RecentMean

TOKENS_BETWEEN_FALSE_RETURNS = 200_000.0
"""That a mean which is still outside is taken to be back, at most once in so many tokens."""

Side = Literal["above", "below"]


class _Edge:
    """One end of the range: values are turned so that beyond it is above."""

    def __init__(self, side: Side, edge: float, tokens_between_false_alarms: float) -> None:
        self.side, self._turned = side, side == "below"
        bound = self._turn(edge)
        self._leaves = MeanDetector(bound, tokens_between_false_alarms)
        self._returns = MeanDetector(1.0 - bound, TOKENS_BETWEEN_FALSE_RETURNS)
        self._recent = RecentMean(bound)

    def _turn(self, value: float) -> float:
        return 1.0 - value if self._turned else value

    @property
    def is_left(self) -> bool:
        return self._leaves.has_alarmed

    @property
    def recent(self) -> float:
        return self._turn(self._recent.value)

    def observe(self, value: float, weight: float, n_tokens: float, amount: float) -> None:
        turned = self._turn(value)
        self._recent.observe(turned, amount)
        if not self.is_left:
            self._leaves.observe(turned, weight, n_tokens)
        elif self._returns.observe(1.0 - turned, weight, n_tokens):
            self.reset()

    def reset(self) -> None:
        for each in (self._leaves, self._returns, self._recent):
            each.reset()


class RangeWatch:
    """Of values in [0, 1].

    Args:
        low, high: the range; an end at 0 or 1 cannot be passed.
        tokens_between_false_alarms: of each end, see `detector.py`.
    """

    def __init__(self, low: float, high: float, tokens_between_false_alarms: float) -> None:
        ends: list[tuple[Side, float]] = [("below", low), ("above", high)]
        self._edges = [_Edge(side, end, tokens_between_false_alarms) for side, end in ends if 0.0 < end < 1.0]

    def observe(self, value: float, weight: float, n_tokens: float, amount: float) -> None:
        """Hears one figure.

        Args:
            weight: in [0, 1], in the test. n_tokens: emitted meanwhile.
            amount: weight in the mean that is told.
        """
        for edge in self._edges:
            edge.observe(value, weight, n_tokens, amount)

    @property
    def left(self) -> tuple[Side, float] | None:
        """Where the mean is and what it is there; None while it is in the range."""
        edge = next((edge for edge in self._edges if edge.is_left), None)
        return None if edge is None else (edge.side, edge.recent)
