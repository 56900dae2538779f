"""How many tokens of each request's chain to draft in a step.

A step's drafted tokens cost more as one, so they are chosen as one: tokens of all chains, the likeliest first, for as long as what
they are expected to bring is more than what the engine brings in the time they take (the renewal-rate rule). A chain's tokens come
in its order, since none is likelier than the one before it.
"""

from __future__ import annotations

import numpy as np

RATE_DECAY = 0.98
RATE_STEPS = 20.0
"""Steps that plain decoding counts for in the rate."""


def draft_lengths(masses: np.ndarray, costs: np.ndarray, rate: float) -> np.ndarray:
    """Tokens to draft by request: [batch] int64.

    Args:
        masses: [batch, n] probability that a chain's token and all before it are right, 0 past its end; never rising along n.
        costs: of a step with 0, 1, ... drafted tokens, for at least as many as `masses` has.
        rate: tokens that the engine emits per unit of cost in the long run.
    """
    flat = masses.ravel()
    order = np.argsort(-flat, kind="stable")[: int(np.count_nonzero(flat))]
    lengths = np.zeros(len(masses), np.int64)
    if len(order):
        gains = np.cumsum(flat[order]) - rate * (costs[1 : len(order) + 1] - costs[0])
        best = int(np.argmax(gains))
        if gains[best] > 0:
            lengths += np.bincount(order[: best + 1] // masses.shape[1], minlength=len(masses))
    return lengths


class LongRunRate:
    """Emitted tokens per unit of cost, by requests of a step: decayed sums that start from plain decoding."""

    def __init__(self) -> None:
        self._sums: dict[int, tuple[float, float]] = {}

    def of(self, batch: int, plain_cost: float) -> float:
        """Args: plain_cost: of a step that drafts nothing."""
        tokens, steps = self._sums.get(batch, (0.0, 0.0))
        return (tokens + RATE_STEPS * batch) / ((steps + RATE_STEPS) * plain_cost)

    def observe(self, batch: int, n_tokens: int, cost_over_plain: float) -> None:
        """Takes the tokens that a step emitted, and its cost over that of one that drafts nothing."""
        tokens, steps = self._sums.get(batch, (0.0, 0.0))
        self._sums[batch] = RATE_DECAY * tokens + n_tokens, RATE_DECAY * steps + cost_over_plain
