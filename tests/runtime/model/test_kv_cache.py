"""The cache: rows go where they are written, accepted rows move together, and nobody sees what was not committed."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from casspec.runtime.model.kv_cache import KVCache, LayerRows, move_rows
from casspec.storage.errors import ContextOverflow
from tests.runtime.tiny import causal, first_rows, library_model, masked_input, run

LAYERS, CAPACITY = 2, 12


def numbered_cache(batch: int = 1, window: int | None = None) -> KVCache:
    """Every row holds its own number, values negated, other layers shifted by 1000."""
    cache = KVCache([LayerRows(1, 2, 1, 2, window)] * LAYERS, CAPACITY, batch)
    for layer in range(LAYERS):
        keys, values = cache.rows(layer)
        numbers = torch.arange(len(keys), dtype=torch.float32)[:, None, None] + 1000 * layer
        keys.copy_(numbers.expand_as(keys))
        values.copy_(-numbers.expand_as(values))
    return cache


@pytest.mark.parametrize("window", [None, 3])
@pytest.mark.parametrize("on_host", [True, False])
@given(st.data())
def test_moves_copy_all_rows_at_once_in_every_layer(on_host: bool, window: int | None, data: st.DataObject) -> None:
    n = data.draw(st.integers(1, CAPACITY))
    rows = st.integers(0, CAPACITY - 1)
    source = data.draw(st.lists(rows, min_size=n, max_size=n))
    first = data.draw(st.integers(0, CAPACITY - n))
    cache = numbered_cache(window=window)
    if window is not None:
        cache.positions.copy_(torch.arange(cache.slots))
    if not on_host:
        cache._words.clear()  # as on a device
    before = [cache.rows(layer)[0].clone() for layer in range(LAYERS)]
    cache.move(source, first)
    if window is not None:
        assert cache.positions[first : first + n].tolist() == source
    for layer in range(LAYERS):
        keys, values = cache.rows(layer)
        for slot in range(cache.slots):
            origin = source[slot - first] if first <= slot < first + n else slot
            assert torch.equal(keys[slot], before[layer][origin])
        assert torch.equal(values, -keys)


@given(st.integers(1, 3), st.integers(1, CAPACITY))
def test_visible_rows_are_views_of_the_first_slots_of_each_sequence(batch: int, length: int) -> None:
    cache = numbered_cache(batch)
    for layer, (keys, values) in enumerate(cache.visible(length)):
        assert keys.shape == values.shape == (batch, 1, length, 2)
        for b in range(batch):
            expected = torch.arange(length) + b * cache.slots + 1000 * layer
            assert torch.equal(keys[b, 0, :, 0], expected.float())
        cache.rows(layer)[0][0] = 77.0
        assert keys[0, 0, 0, 0] == 77.0


def test_the_scratch_slot_is_never_visible() -> None:
    cache = numbered_cache(batch=2)
    scratch = {b * cache.slots + cache.scratch_slot for b in range(2)}
    seen = set(cache.visible(CAPACITY)[0][0][..., 0].flatten().int().tolist())
    assert not scratch & seen
    assert len(seen) == 2 * CAPACITY


def test_more_rows_than_the_capacity_are_refused_in_one_line() -> None:
    cache = numbered_cache()
    cache.require(CAPACITY)
    with pytest.raises(ContextOverflow, match=f"{CAPACITY + 1} cache rows .* holds {CAPACITY}"):
        cache.require(CAPACITY + 1)


def test_bytes_count_keys_and_values_of_all_slots() -> None:
    assert numbered_cache(batch=3).n_bytes == 2 * LAYERS * 3 * (CAPACITY + 1) * 1 * 2 * 4


@torch.inference_mode()
def test_stale_and_scratch_rows_change_no_logit() -> None:
    """Rows beyond the visible ones hold garbage of a large size; only a leak through the mask could show it."""
    from casspec.runtime.model.target import TargetModel

    target = TargetModel(library_model())
    tokens = list(range(20))
    clean, dirty = target.new_cache(64), target.new_cache(64)
    for layer in range(target.n_layers):
        keys, values = dirty.rows(layer)
        keys.fill_(1e4)
        values.fill_(-1e4)
    for start, end in ((0, 13), (13, 16), (16, 20)):  # 13 and 3 tokens leave padding in their buckets
        torch.testing.assert_close(
            run(target, dirty, tokens[start:end], start), run(target, clean, tokens[start:end], start)
        )


@torch.inference_mode()
@pytest.mark.parametrize("pack", [False, True], ids=["plain", "packed"])
@pytest.mark.parametrize(
    ("family", "changes"),
    [
        ("llama", {}),
        ("mistral", {"sliding_window": 3}),
        ("gemma2", {"sliding_window": 5}),
        ("phi3", {"sliding_window": 4}),
    ],
)
def test_a_compacted_path_equals_a_straight_run(family: str, changes: dict[str, int], pack: bool) -> None:
    """Two branches at tail slots; the second one is accepted and moved; what follows sees only it."""
    from casspec.runtime.model.target import TargetModel

    target = TargetModel(library_model(family, seed=1, **changes), pack=pack)
    prompt, root, wrong, right, last = [3, 1, 4, 1, 5], 9, [2, 6], [5, 3], 8
    cache = target.new_cache(64)
    run(target, cache, prompt)
    tree = [root, *wrong, *right]
    visible = causal(5, 5)
    visible[3:, 6:8] = False  # the right branch does not see the wrong one
    inputs = masked_input(target, cache, [tree], [[5, 6, 7, 6, 7]], [[5, 6, 7, 8, 9]], [visible])
    target.forward(inputs, cache, target.full_plan)
    cache.move([8, 9], 6)
    straight = target.new_cache(64)
    expected = run(target, straight, [*prompt, root, *right, last])[-1]
    torch.testing.assert_close(run(target, cache, [last], 8)[0], expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(first_rows(cache, 9), first_rows(straight, 9), atol=1e-5, rtol=1e-5)


MOVED_ROWS = 12


@pytest.mark.parametrize("word", [np.int16, np.int32, np.int64])
@given(st.lists(st.integers(0, MOVED_ROWS - 1), max_size=5), st.integers(0, MOVED_ROWS - 5))
def test_rows_may_overlap_with_where_they_go(word: type, source: list[int], first: int) -> None:
    rng = np.random.default_rng(0)
    keys, values = (
        rng.integers(-99, 99, (6, MOVED_ROWS, 1)).astype(word),
        rng.integers(-99, 99, (2, MOVED_ROWS, 3)).astype(word),
    )
    expected = keys.copy(), values.copy()
    for rows, before in zip(expected, (keys, values), strict=True):
        rows[:, first : first + len(source)] = before[:, source]
    move_rows(keys, values, np.array(source, np.int64), first)
    assert np.array_equal(keys, expected[0])
    assert np.array_equal(values, expected[1])
