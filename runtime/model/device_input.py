"""Inputs of a forward on a device: what is asked stays on the host until somebody reads the tensors.

A captured forward takes what is asked into its own memory (`graphs/`) and never reads them. For any other the tensors are made where
they are read first, in memory that is the same at each step.
"""

from __future__ import annotations

import torch
from torch import Tensor

from casspec.runtime.model.forward_input import CONTEXT_STEP, ForwardInput, bucket
from casspec.runtime.model.staging import Queries, Seat, Staging

_TENSORS = ("token_ids", "positions", "rows", "mask")


class DeviceMemory:
    """Static memory of the inputs of one query bucket and cache."""

    def __init__(self, size: int, capacity: int, dtype: torch.dtype, device: torch.device) -> None:
        self._size, self._capacity, self._dtype, self._device = size, capacity, dtype, device
        self._stagings: dict[int, Staging] = {}

    def tensors(self, queries: Queries, length: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Token ids, positions, rows and mask as `ForwardInput` has them; valid until the next call."""
        window = queries.window
        if window not in self._stagings:
            self._stagings[window] = Staging(1, self._size, window, self._dtype, self._device)
        staging = self._stagings[window]
        staging.write([Seat(queries, len(queries.tokens), 0, self._capacity)], self._capacity)
        return staging.token_ids, staging.positions, staging.rows, staging.mask(length)

    def another(self) -> DeviceMemory:
        """Of the same size."""
        return DeviceMemory(self._size, self._capacity, self._dtype, self._device)


class DeviceInput(ForwardInput):
    """Inputs of a single sequence whose tensors are made when they are read first.

    Attributes:
        queries: what is asked.
    """

    __slots__ = ("_memory", "queries")

    def __init__(self, queries: Queries, memory: DeviceMemory) -> None:
        self.queries, self._memory = queries, memory
        self.length = -(-queries.end // CONTEXT_STEP) * CONTEXT_STEP
        self.n_tokens = len(queries.tokens)

    @property
    def size(self) -> int:
        """Its query bucket."""
        return bucket(len(self.queries.tokens))

    def __getattr__(self, name: str) -> Tensor:
        if name not in _TENSORS:
            raise AttributeError(name)
        made = self._memory.tensors(self.queries, self.length)
        self.token_ids, self.positions, self.rows, self.mask = made
        return made[_TENSORS.index(name)]

    def clone(self) -> DeviceInput:
        return DeviceInput(self.queries, self._memory.another())
