"""transformers' interface of a cache over rows that we place: its layers write where the forward says, and see what the mask shows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor
from transformers.cache_utils import Cache

from casspec.runtime.model.forward_input import ForwardInput
from casspec.runtime.model.kv_cache import KVCache, LayerRows


class _PlainCache(Cache):
    """What every cache of ours answers when a model asks. The library's own state is left out: it would be one more copy of rows.

    Args:
        n_layers: of the model. seen: slots before the queries. length: slots with them.
    """

    def __init__(self, n_layers: int, seen: int, length: int) -> None:
        self._n_layers, self._seen, self._length = n_layers, seen, length
        self.layers: list[Any] = []

    def get_seq_length(self, layer_idx: int = 0) -> int:
        return self._seen

    def get_mask_sizes(self, query_length: int, layer_idx: int = 0) -> tuple[int, int]:
        """Slots a mask covers, and the first of them."""
        return self._length, 0

    def get_max_cache_shape(self, layer_idx: int = 0) -> int:
        return -1

    @property
    def is_sliding(self) -> list[bool]:
        """No layer drops rows: windows are in the mask."""
        return [False] * self._n_layers

    @property
    def is_compileable(self) -> bool:
        return False

    @property
    def is_initialized(self) -> bool:
        return True

    def __len__(self) -> int:
        return self._n_layers

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._length} slots)"


class SlotCache(_PlainCache):
    """The cache of one forward: `update` writes the rows of `inputs` and returns views of all that the mask covers."""

    def __init__(self, rows: KVCache, inputs: ForwardInput) -> None:
        super().__init__(rows.n_layers, inputs.length - inputs.token_ids.shape[1], inputs.length)
        self._kept, self._places, self._visible = rows, inputs.rows, rows.visible(inputs.length)

    def update(
        self, key_states: Tensor, value_states: Tensor, layer_idx: int, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """Of a layer: keys and values [batch, heads, queries, width] in, [batch, heads, length, width] out."""
        keys, values = self._kept.rows(layer_idx)
        keys.index_copy_(0, self._places, key_states.transpose(1, 2).flatten(0, 1))
        values.index_copy_(0, self._places, value_states.transpose(1, 2).flatten(0, 1))
        return self._visible[layer_idx]


class ShapeCache(_PlainCache):
    """Notes what each layer would keep, and keeps nothing.

    Attributes:
        found: by layer, the rows it gave. dtypes: of them.

    Args:
        note: called with the layer at each update.
    """

    def __init__(self, n_layers: int, n_queries: int, note: Callable[[int], None]) -> None:
        super().__init__(n_layers, 0, n_queries)
        self._note = note
        self.found: dict[int, list[LayerRows]] = {}
        self.dtypes: set[Any] = set()

    def update(
        self, key_states: Tensor, value_states: Tensor, layer_idx: int, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """Of a layer; returns what it was given."""
        heads, width = key_states.shape[1], key_states.shape[3]
        self.found.setdefault(layer_idx, []).append(
            LayerRows(heads, width, value_states.shape[1], value_states.shape[3])
        )
        self.dtypes |= {key_states.dtype, value_states.dtype}
        self._note(layer_idx)
        return key_states, value_states


class LongPast(_PlainCache):
    """Claims `seen` slots before the queries, for a model to make its masks by; layers must not be run with it."""
