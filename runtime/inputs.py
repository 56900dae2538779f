"""The tensors of forwards, kept between them: a step writes what changed and allocates nothing.

Right after a forward the caches hold weights, not Python: every different operation then costs several times what it does in a loop
of its own, so there are few.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from casspec.runtime.target import CONTEXT_STEP, ForwardInput, bucket

_BITS = {2: torch.int16, 4: torch.int32, 8: torch.int64}
"""Integer types of a floating-point type's size; numpy has no bfloat16, and writes the bits instead."""

_SHOWN = 0
"""Bits of a mask where a query sees; elsewhere minus infinity's."""


class InputBuffers:
    """Padded inputs by query bucket, of one cache; sequences that follow each other in it may share them.

    Args:
        capacity: slots, a multiple of CONTEXT_STEP; the scratch slot comes past them.
        dtype, device: of the model.
    """

    def __init__(self, capacity: int, dtype: torch.dtype, device: torch.device) -> None:
        self._capacity = capacity
        self._dtype = dtype
        self._device = device
        self._hidden = torch.full((1,), -torch.inf, dtype=dtype).view(_BITS[dtype.itemsize]).item()
        self._of_size: dict[int, _Bucket] = {}

    def fill(
        self,
        tokens: Sequence[int],
        positions: Sequence[int],
        slots: Sequence[int],
        visibility: np.ndarray,
        first: int,
    ) -> ForwardInput:
        """Inputs of a forward, valid until the next one of the same bucket.

        Args:
            visibility: bool [queries, columns], which slots from `first` on each query sees; it sees all before. The padding sees slot
                `first` and none after it.
        """
        n, columns = visibility.shape
        kept = self._of_size.get(bucket(n)) or self._new_bucket(bucket(n))
        kept.numbers[0, :n] = tokens
        kept.numbers[1, :n] = positions
        kept.numbers[2, :n] = slots
        kept.numbers[2, n:] = self._capacity
        mask = kept.mask
        mask[:, min(kept.seen, first) : first] = _SHOWN
        mask[:, first : kept.written] = self._hidden
        np.copyto(mask[:n, first : first + columns], _SHOWN, where=visibility)
        mask[n:, first] = _SHOWN
        kept.seen, kept.written = first, first + columns
        length = -(-(first + columns) // CONTEXT_STEP) * CONTEXT_STEP
        return kept.views.get(length) or kept.inputs(length, self._device)

    def _new_bucket(self, size: int) -> _Bucket:
        self._of_size[size] = _Bucket(size, self._capacity, self._dtype)
        return self._of_size[size]


class _Bucket:
    """Host buffers of `size` queries, and the tensors that look into them."""

    def __init__(self, size: int, capacity: int, dtype: torch.dtype) -> None:
        self._numbers = torch.zeros(3, size, dtype=torch.int64)
        self._mask = torch.full((1, 1, size, capacity), -torch.inf, dtype=dtype)
        self.numbers = self._numbers.numpy()
        """Token ids, positions and rows [3, size]."""
        self.mask = self._mask.view(_BITS[dtype.itemsize]).numpy()[0, 0]
        """Bits of the mask [size, capacity]."""
        self.seen = 0
        """Slots all queries see."""
        self.written = 0
        """Slots from here on nobody sees."""
        self.views: dict[int, ForwardInput] = {}
        """What a forward on the host takes, by attended length."""

    def inputs(self, length: int, device: torch.device) -> ForwardInput:
        """Tensors on `device`: views of the buffers on the host, copies elsewhere."""
        numbers, mask = self._numbers.to(device), self._mask[..., :length].to(device)
        token_ids, positions, rows = numbers.split(1)
        inputs = ForwardInput(token_ids, positions, rows[0], mask, length)
        if device.type == "cpu":
            self.views[length] = inputs
        return inputs
