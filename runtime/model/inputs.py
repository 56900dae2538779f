"""The tensors of forwards, kept between them: a step writes what changed and allocates nothing.

Right after a forward the caches hold weights, not code: the first call into numpy or torch takes twenty to fifty microseconds then,
however little it does. So a step writes bytes, with the little code that Python's own types need.

On a device a step keeps what is asked (`device_input.py`); the tensors are made there, or in the memory of a captured forward.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any

import torch

from casspec.runtime.model.device_input import DeviceInput, DeviceMemory
from casspec.runtime.model.forward_input import CONTEXT_STEP, ForwardInput, bucket
from casspec.runtime.model.staging import Queries

_SEEN, _UNSEEN = b"\1", b"\0"
_REST = bytes(254)  # of a table that translates marks


class InputBuffers:
    """Padded inputs by query bucket, of one cache; sequences that follow each other in it may share them.

    Args:
        capacity: slots, a multiple of CONTEXT_STEP; the scratch slot comes past them.
        dtype, device: of the model.
        on_host: whether tensors are views of what is written on the host; by default on a processor.
    """

    def __init__(self, capacity: int, dtype: torch.dtype, device: torch.device, on_host: bool | None = None) -> None:
        self._capacity = capacity
        self._dtype = dtype
        self._device = device
        self._on_host = device.type == "cpu" if on_host is None else on_host
        self._of_queries: dict[int, _Bucket] = {}
        self._memories: dict[int, DeviceMemory] = {}

    def fill(
        self,
        tokens: Sequence[int],
        positions: Sequence[int],
        slots: Sequence[int],
        visibility: Sequence[bytes],
        first: int,
    ) -> ForwardInput:
        """Inputs of a forward, valid until the next one of the same bucket.

        Args:
            visibility: by query, which slots from `first` on it sees, one byte a slot, 1 or 0, as far as it sees any; it sees all
                before. The padding sees slot `first` and none after it.
        """
        if not self._on_host:
            return self._kept(Queries(tokens, positions, slots, first, visibility))
        kept = self._bucket(len(tokens))
        kept.number(tokens, positions, slots)
        kept.see(first, visibility)
        return kept.inputs(len(tokens))

    def causal(self, tokens: Sequence[int], first: int) -> ForwardInput:
        """The same for text that goes on at slot `first`, which is its position too: each token sees those up to itself."""
        places = range(first, first + len(tokens))
        if not self._on_host:
            seen = [_SEEN * (query + 1) for query in range(len(tokens))]
            return self._kept(Queries(tokens, places, places, first, seen))
        kept = self._bucket(len(tokens))
        kept.number(tokens, places, places)
        kept.see_causally(first, len(tokens))
        return kept.inputs(len(tokens))

    def _kept(self, queries: Queries) -> DeviceInput:
        size = bucket(len(queries.tokens))
        if size not in self._memories:
            self._memories[size] = DeviceMemory(size, self._capacity, self._dtype, self._device)
        return DeviceInput(queries, self._memories[size])

    def _bucket(self, n_queries: int) -> _Bucket:
        kept = self._of_queries.get(n_queries)
        if kept is None:
            size = bucket(n_queries)
            if size not in self._of_queries:
                self._of_queries[size] = _Bucket(size, self._capacity, self._dtype)
            kept = self._of_queries[n_queries] = self._of_queries[size]
        return kept


class _Bucket:
    """Host buffers of `size` queries, and the tensors that look into them."""

    def __init__(self, size: int, capacity: int, dtype: torch.dtype) -> None:
        self._size, self._capacity, self._item = size, capacity, dtype.itemsize
        self._numbers = torch.zeros(3, size, dtype=torch.int64)  # token ids, positions, rows
        self._mask = torch.full((size, capacity), -torch.inf, dtype=dtype)
        self._rows, self._wide_mask = _rows(self._numbers), self._mask[None, None]
        self._number_bytes, self._mask_bytes = _bytes_of(self._numbers), _bytes_of(self._mask)
        self._layout = struct.Struct(f"{3 * size}q")
        # What is seen is zero. Of the bytes of minus infinity some are zero too; the others are what a mark becomes.
        hidden = bytes(self._mask_bytes[: self._item])
        self._planes = [(place, bytes((byte, 0)) + _REST) for place, byte in enumerate(hidden) if byte]
        self._seen = 0  # slots all queries see
        self._written = 0  # slots from here on nobody sees
        self._views: dict[int, ForwardInput] = {}  # what a forward on the host takes, by attended length

    def number(self, tokens: Sequence[int], positions: Sequence[int], slots: Sequence[int]) -> None:
        """Writes the queries; the padding goes to the scratch slot."""
        padding = self._size - len(tokens)
        zeros, scratch = (0,) * padding, (self._capacity,) * padding
        self._layout.pack_into(self._number_bytes, 0, *tokens, *zeros, *positions, *zeros, *slots, *scratch)

    def see(self, first: int, visibility: Sequence[bytes]) -> None:
        """Writes of each row of the mask what may differ from before."""
        start, end = min(self._seen, first), first + max(map(len, visibility))
        before, width = _SEEN * (first - start), max(end, self._written) - first
        rows = [*visibility, *[_SEEN] * (self._size - len(visibility))]
        marks = b"".join([before + row.ljust(width, _UNSEEN) for row in rows])
        mask, item = self._mask_bytes, self._item
        bits = bytearray(len(marks) * item)
        for plane, table in self._planes:
            bits[plane::item] = marks.translate(table)
        place, row_bytes, n_bytes = start * item, self._capacity * item, (first - start + width) * item
        for begin in range(0, len(bits), n_bytes):
            mask[place : place + n_bytes] = bits[begin : begin + n_bytes]
            place += row_bytes
        self._seen, self._written = first, end

    def see_causally(self, first: int, n: int) -> None:
        """The same where query i of `n` sees i slots from `first` on and itself."""
        mask, end = self._mask, first + n
        mask[:, min(self._seen, first) : first] = 0
        mask[:, first : self._written] = -torch.inf
        mask[:n, first:end] = torch.full((n, n), -torch.inf).triu_(1)
        mask[n:, first] = 0
        self._seen, self._written = first, end

    def inputs(self, n_tokens: int) -> ForwardInput:
        """Tensors that are views of the buffers."""
        length = -(-self._written // CONTEXT_STEP) * CONTEXT_STEP
        known = self._views.get(length)
        if known is None:
            mask = self._wide_mask.narrow(3, 0, length)
            known = self._views[length] = ForwardInput(*self._rows, mask, length)
        known.n_tokens = n_tokens
        return known


def _rows(numbers: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Token ids [1, queries], positions [1, queries] and cache rows [queries] out of one tensor."""
    token_ids, positions, rows = numbers.split(1)
    return token_ids, positions, rows[0]


def _bytes_of(tensor: torch.Tensor) -> memoryview:
    """The memory of a tensor on the host, writable."""
    host: Any = tensor.view(torch.uint8).numpy()
    return memoryview(host).cast("B")
