"""How much a text repeats itself: small models loop when decoded greedily, and loops flatter drafters that copy."""

from __future__ import annotations

from collections.abc import Sequence

MAX_REPETITION = 0.2
"""A prompt whose greedy text repeats itself more than this is not in the reference suite."""


def repetition(token_ids: Sequence[int], n: int = 8) -> float:
    """Share of the `n`-grams of `token_ids` that occurred earlier in the same sequence, in [0, 1).

    Only the generated tokens belong in `token_ids`: copying from the prompt is no loop. Fewer than `n` tokens score 0.
    """
    n_grams = [tuple(token_ids[start : start + n]) for start in range(len(token_ids) - n + 1)]
    if not n_grams:
        return 0.0
    return 1.0 - len(set(n_grams)) / len(n_grams)
