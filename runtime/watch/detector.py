"""A sequential test of a mean that needs to know nothing of how its observations scatter (e-detector: Shin, Ramdas and Rinaldo 2024,
arXiv 2203.03532; bets on a bounded mean: Waudby-Smith and Ramdas 2024).

    x_i       observation i, in [0, 1]; w_i its weight, in [0, 1]
    b         bound: as long as all is well, the weighted mean of x is at most b, whatever came before
    s         share of what may be staked, several at once
    n_i       tokens that observation i stands for
    M_i(s)    what the bet has come to: M_i = M_(i-1) * (1 + s / b * w_i * (x_i - b)) + n_i
    M         mean over s

While the mean is at most b, no factor is above 1 on average. So M less the tokens so far falls on average, and the tokens until M
first reaches A are at least A on average: at most one false alarm in A tokens, for texts of any kind and any length. Once the mean is
above b, M grows by a factor an observation.

Worked example. b = .08, every x = .19, s = .9: a factor of 1 + 11.25 * .11 = 2.24. With 100 tokens an observation, M passes 10^7 after 15.
"""

from __future__ import annotations

STAKES = (0.3, 0.9)
"""Shares s: small ones see small changes of scattered figures, large ones are fast."""


class MeanDetector:
    """Says when the mean of what it hears has risen above a bound.

    Args:
        bound: b, between 0 and 1.
        tokens_between_false_alarms: A.

    Attributes:
        has_alarmed: whether it has; then it hears nothing more until `reset`.
    """

    def __init__(self, bound: float, tokens_between_false_alarms: float) -> None:
        self._bound, self._limit = bound, tokens_between_false_alarms
        self.reset()

    def reset(self) -> None:
        """Begins anew."""
        self._wealth = [0.0] * len(STAKES)
        self.has_alarmed = False

    def observe(self, value: float, weight: float, n_tokens: float) -> bool:
        """Hears one figure, in [0, 1], with its weight in [0, 1]; whether there is an alarm now."""
        if not self.has_alarmed:
            surprise = weight * (value - self._bound) / self._bound
            self._wealth = [
                wealth * (1.0 + stake * surprise) + n_tokens for wealth, stake in zip(self._wealth, STAKES, strict=True)
            ]
            self.has_alarmed = sum(self._wealth) / len(STAKES) >= self._limit
        return self.has_alarmed


class RecentMean:
    """The mean since the change that it most likely comes from.

    The sum of what lies above the bound starts anew whenever it falls below 0 (CUSUM; Page 1954).
    """

    def __init__(self, bound: float) -> None:
        self._bound = bound
        self.reset()

    def reset(self) -> None:
        """Begins anew."""
        self._above = self._sum = self._weight = 0.0

    def observe(self, value: float, weight: float) -> None:
        """Hears one figure. Weights here are unbounded: trials, forwards."""
        self._above += weight * (value - self._bound)
        self._sum, self._weight = self._sum + weight * value, self._weight + weight
        if self._above <= 0.0:
            self.reset()

    @property
    def value(self) -> float:
        """The bound where nothing lies above it."""
        return self._sum / self._weight if self._weight else self._bound
