"""The library's cache interface over our rows: written where the forward says, seen as far as the mask goes."""

from __future__ import annotations

import torch
from transformers.cache_utils import Cache

from casspec.runtime.model.forward_input import ForwardInput
from casspec.runtime.model.generic.slot_cache import LongPast, ShapeCache, SlotCache
from casspec.runtime.model.kv_cache import KVCache, LayerRows

LAYERS = (LayerRows(2, 4, 2, 3), LayerRows(1, 5, 1, 5))


def given(rows: list[int], batch: int, queries: int, length: int) -> ForwardInput:
    blank = torch.zeros(batch, queries, dtype=torch.int64)
    return ForwardInput(blank, blank, torch.tensor(rows), torch.zeros(1, 1, queries, length), length)


def test_rows_of_a_batch_go_where_they_are_told_and_layers_differ_in_shape() -> None:
    kept = KVCache(LAYERS, 8, batch=2)
    rows = [3, 1, kept.slots + 0, kept.slots + 5]
    cache = SlotCache(kept, given(rows, 2, 2, 6))
    for layer, shape in enumerate(LAYERS):
        keys, values = (
            torch.randn(2, shape.heads, 2, shape.key_width),
            torch.randn(2, shape.value_heads, 2, shape.value_width),
        )
        seen_keys, seen_values = cache.update(keys, values, layer, {"any": "thing"})
        assert seen_keys.shape == (2, shape.heads, 6, shape.key_width)
        assert seen_values.shape == (2, shape.value_heads, 6, shape.value_width)
        for b, places in enumerate(([3, 1], [0, 5])):
            assert torch.equal(seen_keys[b][:, places], keys[b])
            assert torch.equal(seen_values[b][:, places], values[b])
    assert kept.rows(0)[0].count_nonzero() == 4 * 2 * 4


def test_the_library_takes_them_for_caches_and_learns_their_length() -> None:
    cache = SlotCache(KVCache(LAYERS, 8), given([0, 1], 1, 2, 6))
    assert isinstance(cache, Cache)
    assert (cache.get_seq_length(), cache.get_mask_sizes(2), len(cache)) == (4, (6, 0), 2)
    assert cache.is_sliding == [False, False]
    assert not cache.is_compileable
    assert LongPast(3, 100, 102).get_mask_sizes(2, 1) == (102, 0)


def test_shapes_are_noted_and_nothing_is_kept() -> None:
    layers: list[int] = []
    cache = ShapeCache(2, 4, layers.append)
    keys, values = torch.zeros(1, 2, 4, 6), torch.zeros(1, 3, 4, 5)
    assert cache.update(keys, values, 1)[0] is keys
    assert cache.found == {1: [LayerRows(2, 6, 3, 5)]}
    assert layers == [1]
