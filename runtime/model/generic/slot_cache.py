"""transformers' interface of a cache over rows that we place: its layers write where the forward says, and see what the mask shows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import Cache

from casspec.runtime.model.forward_input import ForwardInput
from casspec.runtime.model.joint_input import JointInput
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


class JointCache(_PlainCache):
    """The caches of several sequences in one forward: rows go to each sequence's own, and all sequences are seen one after the other.

    The library's layers know one sequence. So theirs is as long as all together, and `joint_masks` hides from each row the others.
    """

    def __init__(self, inputs: JointInput) -> None:
        parts = inputs.parts
        length = sum(part.inputs.length for part in parts)
        super().__init__(parts[0].cache.n_layers, length - inputs.n_rows, length)
        self._sizes = [part.n_rows for part in parts]
        self._parts = [
            (part.cache, part.inputs.rows[: part.n_rows], part.cache.visible(part.inputs.length)) for part in parts
        ]

    def update(
        self, key_states: Tensor, value_states: Tensor, layer_idx: int, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """Of a layer: keys and values [1, heads, rows, width] in, [1, heads, all lengths, width] out."""
        given = zip(
            key_states[0].split(self._sizes, 1), value_states[0].split(self._sizes, 1), self._parts, strict=True
        )
        keys, values = list[Tensor](), list[Tensor]()
        for own_keys, own_values, (cache, places, visible) in given:
            kept_keys, kept_values = cache.rows(layer_idx)
            kept_keys.index_copy_(0, places, own_keys.transpose(0, 1))
            kept_values.index_copy_(0, places, own_values.transpose(0, 1))
            seen_keys, seen_values = visible[layer_idx]
            keys.append(seen_keys)
            values.append(seen_values)
        return torch.cat(keys, 2), torch.cat(values, 2)


def joint_masks(inputs: JointInput) -> dict[int | None, Tensor]:
    """By window, the mask [1, 1, rows, all lengths] in which each row sees its own sequence alone."""
    parts = inputs.parts
    masks = [part.cache.masks(part.inputs) for part in parts]
    length = sum(part.inputs.length for part in parts)
    joint = {}
    for window in masks[0]:
        whole = parts[0].inputs.mask.new_full((1, 1, inputs.n_rows, length), -torch.inf)
        row = column = 0
        for part, own in zip(parts, masks, strict=True):
            n, width = part.n_rows, part.inputs.length
            whole[0, 0, row : row + n, column : column + width] = own[window][0, 0, :n]
            row, column = row + n, column + width
        joint[window] = whole
    return joint


class ShapeCache(_PlainCache):
    """Notes what each layer would keep, and keeps nothing.

    Attributes:
        found: by layer, the rows it gave.

    Args:
        note: called with the layer at each update.
    """

    def __init__(self, n_layers: int, n_queries: int, note: Callable[[int], None]) -> None:
        super().__init__(n_layers, 0, n_queries)
        self._note = note
        self.found: dict[int, list[LayerRows]] = {}

    def update(
        self, key_states: Tensor, value_states: Tensor, layer_idx: int, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """Of a layer; returns what it was given."""
        heads, width = key_states.shape[1], key_states.shape[3]
        self.found.setdefault(layer_idx, []).append(
            LayerRows(heads, width, value_states.shape[1], value_states.shape[3])
        )
        self._note(layer_idx)
        return key_states, value_states


class LongPast(_PlainCache):
    """Claims `seen` slots before the queries, for a model to make its masks by; layers must not be run with it."""
