"""The key-value cache: preallocated once, written at slots, compacted along the sequence.

One cache serves the target and all self-drafters. Row `b * slots + s` holds slot `s` of sequence `b`, so that one flat index
addresses any row of any sequence in a single kernel. The last slot of each sequence is scratch: padding rows of a bucketed
forward write there and nothing ever attends to it.
"""

from __future__ import annotations

import torch

from casspec.storage.errors import ContextOverflow


class KVCache:
    """Keys and values of all layers.

    Args:
        n_layers, n_kv_heads, head_dim: shape of the model.
        capacity: rows usable per sequence, drafts included.
        batch: sequences held side by side.

    Attributes:
        keys, values: [layers, batch * (capacity + 1), kv_heads, head_dim].
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
    ) -> None:
        self.capacity = capacity
        self.batch = batch
        self.slots = capacity + 1
        shape = (n_layers, n_kv_heads, batch * self.slots, head_dim)
        # In memory the rows of a head follow each other, as attention reads them: with the heads of a row side by side it takes up to
        # twice as long. Zeros, not empty: masked columns are multiplied by zero probability, and 0 * NaN is NaN.
        self._by_head = torch.zeros(2, *shape, dtype=dtype, device=device)
        self.keys, self.values = self._by_head.transpose(2, 3).unbind()
        self._layer_rows = [(self.keys[layer], self.values[layer]) for layer in range(n_layers)]
        self._views: dict[int, list[tuple[torch.Tensor, torch.Tensor]]] = {}

    @property
    def scratch_slot(self) -> int:
        return self.capacity

    @property
    def n_bytes(self) -> int:
        return 2 * self.keys.numel() * self.keys.element_size()

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

    def move(self, source: torch.Tensor, first: int) -> None:
        """Copies flat rows `source` (int64 [n]) to those from `first` on, in every layer; they may overlap."""
        rows = self._by_head
        rows.narrow(3, first, len(source)).copy_(rows.index_select(3, source))
