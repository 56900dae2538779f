"""Forwards of several sequences run as one: linears over all their rows at once, attention over each one's own cache."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from casspec.runtime.model.forward_input import ForwardInput
from casspec.runtime.model.kv_cache import KVCache


@dataclass(slots=True)
class JointPart:
    """One sequence's share of a joint forward.

    Attributes:
        inputs: of a single sequence; rows past the first `n_rows` are padding and left out.
        cache: of its own.
    """

    inputs: ForwardInput
    cache: KVCache
    n_rows: int


@dataclass(slots=True)
class JointInput:
    """Ragged rows of several sequences, one part after the other."""

    parts: Sequence[JointPart]

    @property
    def n_rows(self) -> int:
        return sum(part.n_rows for part in self.parts)

    @property
    def length(self) -> int:
        """The longest attended length."""
        return max(part.inputs.length for part in self.parts)

    def numbers(self) -> Tensor:
        """Token ids, positions and cache rows of all parts, int64 [3, rows], on the device they are on."""
        columns = [
            torch.stack((part.inputs.token_ids[0], part.inputs.positions[0], part.inputs.rows))[:, : part.n_rows]
            for part in self.parts
        ]
        return torch.cat(columns, 1)
