"""Made-up texts: in each, proposals are right with a probability of the text's own."""

from __future__ import annotations

from collections import Counter
from random import Random

from casspec.runtime.decoding.generation import Statistics


def text(
    rng: Random, drafter: str, acceptance: float, trials: int, scatter: float, n_tokens: int | None = None
) -> Statistics:
    """Statistics of a text whose `trials` are right at `acceptance` on average.

    Args:
        scatter: variance of the right ones over that of independent trials, above 1.
    """
    beyond = (trials - 1) / (scatter - 1) - 1
    own = rng.betavariate(acceptance * beyond, (1 - acceptance) * beyond)
    right = sum(rng.random() < own for _ in range(trials))
    return Statistics(
        emitted_tokens=trials if n_tokens is None else n_tokens,
        trials_by=Counter({drafter: trials}),
        right_by=Counter({drafter: right}),
    )
