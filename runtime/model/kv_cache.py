"""The key-value cache: preallocated once, written at slots, compacted along the sequence.

One cache serves the target and all self-drafters. Row `b * slots + s` holds slot `s` of sequence `b`, so that one flat index
addresses any row of any sequence in a single kernel. The slot past the capacity is scratch: padding rows of a bucketed
forward write there and nothing ever attends to it.
"""

from __future__ import annotations

from functools import partial

import numpy as np
import torch

from casspec.runtime.compiled import compiled
from casspec.storage.errors import ContextOverflow

NATIVE_SCRATCH = 32
"""Slots past the capacity where the native forward runs, so that the rows of each dimension begin on a cache line."""


class KVCache:
    """Keys and values of all layers.

    Args:
        n_layers, n_kv_heads, head_dim: shape of the model.
        capacity: rows usable per sequence, drafts included.
        batch: sequences held side by side.
        value_width: for the native forward, which has keys dimension by dimension, [kv_heads, head_dim, rows], and values of so many
            numbers a row. By default rows of a head follow each other, as torch's attention reads them.

    Attributes:
        keys, values: [layers, batch * slots, kv_heads, head_dim].
        n_rows: batch * slots.
    """

    def __init__(
        self,
        n_layers: int,
        n_kv_heads: int,
        head_dim: int,
        capacity: int,
        batch: int = 1,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
        value_width: int | None = None,
    ) -> None:
        self.capacity = capacity
        self.batch = batch
        self.slots = capacity + (1 if value_width is None else NATIVE_SCRATCH)
        self.n_rows = batch * self.slots
        rows, key_row = (n_layers, n_kv_heads, self.n_rows), (n_layers, n_kv_heads, head_dim, self.n_rows)
        # Zeros, not empty: masked columns are multiplied by zero probability, and 0 * NaN is NaN.
        make = partial(torch.zeros, dtype=dtype, device=device)
        # With the rows of a head following each other attention takes up to half the time that it takes with heads side by side.
        self._keys = make(*rows, head_dim) if value_width is None else make(*key_row).transpose(2, 3)
        self._values = make(*rows, value_width or head_dim)
        self.keys, self.values = self._keys.transpose(1, 2), self._values[..., :head_dim].transpose(1, 2)
        self._host_rows = self._on_host()
        self._layer_rows = [(self.keys[layer], self.values[layer]) for layer in range(n_layers)]
        self._views: dict[int, list[tuple[torch.Tensor, torch.Tensor]]] = {}

    @property
    def scratch_slot(self) -> int:
        return self.capacity

    @property
    def n_bytes(self) -> int:
        return self._keys.nbytes + self._values.nbytes

    @property
    def addresses(self) -> tuple[int, int]:
        """Of keys and values, for the native forward."""
        return self._keys.data_ptr(), self._values.data_ptr()

    def rows(self, layer: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Writable keys and values of a layer, each [batch * slots, kv_heads, head_dim]."""
        return self._layer_rows[layer]

    def visible(self, length: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """Per layer, views of the first `length` slots: [batch, kv_heads, length, head_dim]. Views are kept per length."""
        views = self._views.get(length)
        if views is None:
            views = [
                (self._first(self.keys[i], length), self._first(self.values[i], length)) for i in range(len(self.keys))
            ]
            self._views[length] = views
        return views

    def _first(self, rows: torch.Tensor, length: int) -> torch.Tensor:
        return rows.view(self.batch, self.slots, *rows.shape[1:])[:, :length].transpose(1, 2)

    def require(self, slots: int) -> None:
        """Raises ContextOverflow when a sequence would need more than the capacity."""
        if slots > self.capacity:
            raise ContextOverflow(
                f"{slots} cache rows are needed but the cache holds {self.capacity}; shorten the prompt or max_new_tokens"
            )

    def move(self, source: list[int], first: int) -> None:
        """Copies flat rows `source` to those from `first` on, in every layer; they may overlap."""
        if self._host_rows is not None:
            move_rows(*self._host_rows, np.array(source, np.int64), first)
            return
        rows = torch.tensor(source, device=self._keys.device)
        for kept in (self._keys, self._values):
            kept.narrow(2, first, len(rows)).copy_(kept.index_select(2, rows))

    def _on_host(self) -> tuple[np.ndarray, np.ndarray] | None:
        """Keys and values as integers, [any, rows, numbers of a row that lie together]; None on a device."""
        if self._keys.device.type != "cpu":
            return None
        keys = self._keys if self._keys.is_contiguous() else self._keys.transpose(2, 3)[..., None]
        word = {2: torch.int16, 4: torch.int32, 8: torch.int64}[keys.itemsize]
        of_keys, of_values = (tensor.view(word).flatten(0, -3).numpy() for tensor in (keys, self._values))
        return of_keys, of_values


def _moved_plainly(keys: np.ndarray, values: np.ndarray, source: np.ndarray, first: int) -> None:
    for rows in (keys, values):
        rows[:, first : first + len(source)] = rows[:, source]


@compiled(
    "void(int16[:, :, ::1], int16[:, :, ::1], int64[::1], int64)",
    "void(int32[:, :, ::1], int32[:, :, ::1], int64[::1], int64)",
    "void(int64[:, :, ::1], int64[:, :, ::1], int64[::1], int64)",
    plain=_moved_plainly,
)
def move_rows(keys: np.ndarray, values: np.ndarray, source: np.ndarray, first: int) -> None:
    """Copies rows `source` to those from `first` on; they may overlap.

    Args:
        keys, values: [any, rows, numbers of a row that lie together].
    """
    n = len(source)
    for rows in (keys, values):
        width = rows.shape[2]
        moved = np.empty((n, width), rows.dtype)
        for part in range(rows.shape[0]):
            for i in range(n):
                for place in range(width):
                    moved[i, place] = rows[part, source[i], place]
            for i in range(n):
                for place in range(width):
                    rows[part, first + i, place] = moved[i, place]
