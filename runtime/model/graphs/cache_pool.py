"""Rows of one cache, lent to many sequences: a captured forward over several of them finds their rows by number, not by address."""

from __future__ import annotations

import weakref
from collections import deque

import torch
from torch import Tensor

from casspec.runtime.model.forward_input import ForwardInput
from casspec.runtime.model.kv_cache import KVCache


class CachePool:
    """Lends pieces of a cache; a piece comes back when the cache made of it is gone.

    Args:
        whole: of one sequence, as long as all pieces together.
    """

    def __init__(self, whole: KVCache) -> None:
        self.whole = whole
        self._free = [(0, whole.capacity)]  # first row and number of rows, ascending
        self._returned: deque[tuple[int, int]] = deque()
        self._first_rows: weakref.WeakKeyDictionary[KVCache, int] = weakref.WeakKeyDictionary()

    @property
    def free_rows(self) -> int:
        """Rows that are not lent."""
        self._take_back()
        return sum(n for _, n in self._free)

    def lend(self, capacity: int) -> KVCache | None:
        """A cache of one sequence; None where no piece is left that is long enough."""
        self._take_back()
        needed = capacity + 1
        for place, (first, n) in enumerate(self._free):
            if n >= needed:
                self._free[place : place + 1] = [(first + needed, n - needed)] if n > needed else []
                cache = KVCache.within(self.whole, first, capacity)
                self._first_rows[cache] = first
                weakref.finalize(cache, self._returned.append, (first, needed)).atexit = False
                return cache
        return None

    def first_row(self, cache: KVCache) -> int | None:
        """Where a cache begins; None for one that is not of this pool."""
        return self._first_rows.get(cache)

    def _take_back(self) -> None:
        if not self._returned:
            return
        pieces = self._free
        while self._returned:
            pieces = [*pieces, self._returned.popleft()]
        joined: list[tuple[int, int]] = []
        for first, n in sorted(pieces):
            if joined and sum(joined[-1]) == first:
                first, n = joined[-1][0], joined.pop()[1] + n
            joined.append((first, n))
        self._free = joined


class GatheredCache:
    """Pieces of a pool as one cache of several sequences, for one forward: the rows that it sees of each layer are copied together.

    Which pieces these are stands in tensors, so a graph of the forward serves any. The copies cost a layer reading and writing its seen
    rows once, which is little beside its weights until texts are long.

    Args:
        bases, lasts: [sequences] int64, the first and the last row of each piece.
    """

    def __init__(self, whole: KVCache, bases: Tensor, lasts: Tensor) -> None:
        self._whole, self._bases, self._lasts = whole, bases, lasts

    def rows(self, layer: int) -> tuple[Tensor, Tensor]:
        """Writable, of the whole pool."""
        return self._whole.rows(layer)

    def visible(self, length: int) -> GatheredRows:
        """Per layer [sequences, heads, length, width], copied when a layer is asked for: once its rows are written."""
        return GatheredRows(self._whole, self._places(length), len(self._bases))

    def masks(self, inputs: ForwardInput) -> dict[int | None, Tensor]:
        """As of a cache (`KVCache.masks`)."""
        whole = self._whole
        masks: dict[int | None, Tensor] = {None: inputs.mask}
        if not whole.windows:
            return masks
        whole.positions.index_copy_(0, inputs.rows, inputs.positions.view(-1))
        if inputs.length <= whole.windows[0]:
            return masks | dict.fromkeys(whole.windows, inputs.mask)
        there = whole.positions.index_select(0, self._places(inputs.length)).view(-1, 1, 1, inputs.length)
        back = inputs.positions[:, None, :, None] - there
        for window in whole.windows:
            masks[window] = inputs.mask.masked_fill(back >= window, -torch.inf)
        return masks

    def _places(self, length: int) -> Tensor:
        """Rows of the pool [sequences * length]; past the end of a piece its last one, which nobody sees there."""
        columns = torch.arange(length, device=self._bases.device)
        return torch.minimum(self._bases[:, None] + columns, self._lasts[:, None]).view(-1)


class GatheredRows:
    """Keys and values of each layer [sequences, heads, length, width], copied when they are asked for."""

    def __init__(self, whole: KVCache, places: Tensor, n: int) -> None:
        self._whole, self._places, self._n = whole, places, n

    def __getitem__(self, layer: int) -> tuple[Tensor, Tensor]:
        keys, values = self._whole.rows(layer)
        return self._together(keys), self._together(values)

    def _together(self, rows: Tensor) -> Tensor:
        return rows.index_select(0, self._places).unflatten(0, (self._n, -1)).transpose(1, 2)
