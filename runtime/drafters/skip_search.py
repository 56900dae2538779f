"""A skip set searched for while decoding: random sets, now and then the one a Gaussian process hopes most of (SWIFT, arXiv 2410.06916).

The space is 2(L-2) switches, attention and MLP of every layer but the first and the last, of which a fixed share is off.
"""

from __future__ import annotations

import numpy as np

from casspec.runtime.model.plan import Plan
from casspec.storage.schema import SkipSet

ACQUISITION_CANDIDATES = 512
"""Sets among which the Gaussian process chooses."""

NOISE = 0.01
"""Variance of a score over that of all scores, as published."""


class SkipSearch:
    """Proposes skip sets and remembers the best. The defaults are those published.

    Args:
        n_layers: of the target.
        skip_ratio: share of the switches that are off.
        gaussian_every: every so many trials the Gaussian process proposes.
        optimism: standard deviations added to its mean (UCB).
        stop_score: score at which the search is over; so it is after `max_idle` trials without a better one, or `max_trials` in all.

    Attributes:
        n_skipped: switches that are off.
        best, best_score: None and 0 before the first trial.
    """

    def __init__(
        self,
        n_layers: int,
        skip_ratio: float = 0.45,
        gaussian_every: int = 25,
        optimism: float = 2.5,
        stop_score: float = 0.93,
        max_idle: int = 300,
        max_trials: int = 1000,
        seed: int = 0,
    ) -> None:
        self._n_inner = max(n_layers - 2, 0)
        self.n_skipped = int(2 * self._n_inner * skip_ratio)
        self._gaussian_every = gaussian_every
        self._optimism = optimism
        self._stop_score = stop_score
        self._max_idle = max_idle
        self._max_trials = max_trials
        self._random = np.random.default_rng(seed)
        self._tried: list[np.ndarray] = []
        self._scores: list[float] = []
        self._idle = 0
        self.best: SkipSet | None = None
        self.best_score = 0.0

    @property
    def over(self) -> bool:
        """Whether nothing more should be tried."""
        return (
            self.n_skipped == 0
            or self.best_score >= self._stop_score
            or self._idle >= self._max_idle
            or len(self._scores) >= self._max_trials
        )

    def propose(self) -> SkipSet:
        """The next set to score."""
        if self._scores and (len(self._scores) + 1) % self._gaussian_every == 0:
            candidates = self._draw(ACQUISITION_CANDIDATES)
            bounds = upper_bounds(np.stack(self._tried), np.array(self._scores), candidates, self._optimism)
            return self._skip_set(candidates[bounds.argmax()])
        return self._skip_set(self._draw(1)[0])

    def record(self, skip: SkipSet, score: float) -> bool:
        """Remembers a score; whether it is the best so far."""
        switches = np.zeros(2 * self._n_inner, bool)
        for offset, layers in ((0, skip.attention), (self._n_inner, skip.mlp)):
            switches[[offset + layer - 1 for layer in layers if 1 <= layer <= self._n_inner]] = True
        self._tried.append(switches)
        self._scores.append(score)
        better = self.best is None or score > self.best_score
        if better:
            self.best, self.best_score, self._idle = skip, score, 0
        else:
            self._idle += 1
        return better

    def _draw(self, count: int) -> np.ndarray:
        """Random sets [count, switches]."""
        switches = np.zeros((count, 2 * self._n_inner), bool)
        off = self._random.random(switches.shape).argsort(1)[:, : self.n_skipped]
        np.put_along_axis(switches, off, True, 1)
        return switches

    def _skip_set(self, switches: np.ndarray) -> SkipSet:
        attention, mlp = (tuple((1 + part.nonzero()[0]).tolist()) for part in np.split(switches, 2))
        return SkipSet(attention=attention, mlp=mlp)


def skip_set_of(plan: Plan) -> SkipSet:
    """What a plan leaves out."""
    kept = {layer: (attention, mlp) for layer, attention, mlp in plan.steps}
    dropped = [(layer, *kept.get(layer, (False, False))) for layer in range(plan.n_layers)]
    return SkipSet(
        attention=tuple(layer for layer, attention, _ in dropped if not attention),
        mlp=tuple(layer for layer, _, mlp in dropped if not mlp),
    )


def upper_bounds(tried: np.ndarray, scores: np.ndarray, candidates: np.ndarray, optimism: float) -> np.ndarray:
    """Mean plus `optimism` standard deviations of a Gaussian process, up to a constant and a factor.

    Args:
        tried, candidates: bool [n, switches] and [m, switches].
        scores: [n], of those tried.

    Returns:
        [m]. The kernel is exp(-2 h / switches), h the number of switches that differ: random halves correlate by 1/e.
    """
    targets = (scores - scores.mean()) / (scores.std() or 1.0)
    factor = np.linalg.cholesky(_kernel(tried, tried) + NOISE * np.eye(len(tried)))
    cross = np.linalg.solve(factor, _kernel(tried, candidates))
    mean = cross.T @ np.linalg.solve(factor, targets)
    variance = 1.0 - np.square(cross).sum(0)
    bounds: np.ndarray = mean + optimism * np.sqrt(np.maximum(variance, 0.0))
    return bounds


def _kernel(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    a, b = a.astype(float), b.astype(float)
    differing = a.sum(1)[:, None] + b.sum(1)[None] - 2 * a @ b.T
    kernel: np.ndarray = np.exp(-2.0 * differing / a.shape[1])
    return kernel
