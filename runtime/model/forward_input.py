"""What a forward is given, and the sizes it comes in."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

QUERY_BUCKETS = (1, 2, 4, 6, 8, 12, 16, 20, 24, 32, 48, 64, 96, 128, 256, 512)
"""Query lengths a forward runs at; anything between is padded up, so that shapes stay few and static."""

CONTEXT_STEP = 64
"""Attended lengths are rounded up to a multiple of this, for the same reason."""


def bucket(n_tokens: int) -> int:
    """The smallest query bucket that holds `n_tokens`. Raises ValueError past the largest."""
    for size in QUERY_BUCKETS:
        if n_tokens <= size:
            return size
    raise ValueError(f"{n_tokens} query tokens exceed the largest bucket of {QUERY_BUCKETS[-1]}")


@dataclass(slots=True)
class ForwardInput:
    """Tensors of one forward, on the model's device. `length` is the attended length, a multiple of CONTEXT_STEP or the capacity."""

    token_ids: Tensor
    """[batch, queries] int64."""
    positions: Tensor
    """[batch, queries] int64, rotary positions."""
    rows: Tensor
    """[batch * queries] int64, flat cache rows to write."""
    mask: Tensor
    """[batch or 1, 1, queries, length], additive, in the model's dtype."""
    length: int
    n_tokens: int = 0
    """Queries that are asked for, of a single sequence; the others are padding. 0 for all."""

    def clone(self) -> ForwardInput:
        """A copy whose tensors nobody else writes."""
        return ForwardInput(
            self.token_ids.clone(),
            self.positions.clone(),
            self.rows.clone(),
            self.mask.clone(),
            self.length,
            self.n_tokens,
        )
