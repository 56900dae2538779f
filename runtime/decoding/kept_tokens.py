"""Which of a row's best tokens sampling leaves in, found without sorting the vocabulary.

Top-k, top-p and min-p all keep the best tokens down to some place. A few dozen of the best nearly always show that place; what lies
below them matters as one number, their mass.
"""

from __future__ import annotations

import numpy as np

from casspec.runtime.text.sampling import Sampling

LOOKED_AT = 64
"""Best tokens of a row that are tried first."""


def by_rank(sampling: Sampling) -> bool:
    """Whether what is kept are the best tokens down to some place."""
    return sampling.typical_p is None or sampling.typical_p >= 1


def kept(scores: np.ndarray, total: float, sampling: Sampling, vocab_size: int) -> np.ndarray | None:
    """Which of a row's best tokens stay, by their places; None where these do not show it.

    Args:
        scores: log p~ up to a constant of the best tokens, best first, of equals the lower token [n].
        total: sum of exp(score - scores[0]) over the whole row; needed for top-p without top-k alone.
    """
    count = _count(scores, total, sampling, vocab_size)
    if count is None:
        return None
    # Of tokens equal to the last one that stays, the higher ones do: the library leaves out the lower ones first.
    last = -scores[count - 1]
    first, end = int(np.searchsorted(-scores, last, "left")), int(np.searchsorted(-scores, last, "right"))
    if end > count and end == len(scores) < vocab_size:
        return None
    return np.r_[:first, end - (count - first) : end]


def _count(scores: np.ndarray, total: float, sampling: Sampling, vocab_size: int) -> int | None:
    n, bounded = len(scores), len(scores) == vocab_size
    weights = np.exp(scores.astype(np.float64) - np.float64(scores[0]))
    if sampling.top_k is not None and sampling.top_k < vocab_size:
        if sampling.top_k >= n and not bounded:
            return None
        # Those equal to the last one stay, as in the library.
        n = int((scores >= scores[min(sampling.top_k, n) - 1]).sum())
        if n == len(scores) and not bounded:
            return None
        bounded, total = True, float(weights[:n].sum())
    if sampling.top_p is not None and sampling.top_p < 1:
        below = max(total - float(weights[:n].sum()), 0.0)
        from_below = (below + weights[:n][::-1].cumsum()[::-1]) / total
        stay = max(int((from_below > 1 - sampling.top_p).sum()), 1)
        if stay == n and not bounded:
            return None
        n, bounded = stay, bounded or stay < n
    if sampling.min_p:
        stay = max(int((weights[:n] >= sampling.min_p).sum()), 1)
        if stay == n and not bounded:
            return None
        n, bounded = stay, True
    return n if bounded or n < len(scores) else None
