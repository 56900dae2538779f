"""Pieces of one cache: lent, written, gathered, given back."""

from __future__ import annotations

import gc

import pytest
import torch

from casspec.runtime.model.forward_input import ForwardInput
from casspec.runtime.model.graphs.cache_pool import CachePool, GatheredCache
from casspec.runtime.model.kv_cache import KVCache, LayerRows

LAYERS = (LayerRows(2, 4, 2, 4), LayerRows(1, 8, 1, 6, window=5))


def pool(rows: int = 320) -> CachePool:
    return CachePool(KVCache(LAYERS, rows))


def test_pieces_come_back_when_their_caches_are_gone_and_join() -> None:
    lender = pool()
    one, two, three = (lender.lend(64) for _ in range(3))
    assert [lender.first_row(cache) for cache in (one, two, three) if cache] == [0, 65, 130]
    assert lender.lend(128) is None
    del two
    gc.collect()
    again = lender.lend(64)
    assert again is not None
    assert lender.first_row(again) == 65
    del one, again
    gc.collect()
    assert lender.free_rows == 320 - 65
    wide = lender.lend(128)
    assert wide is not None
    assert lender.first_row(wide) == 0


def test_a_cache_of_somebody_else_is_of_no_pool() -> None:
    assert pool().first_row(KVCache(LAYERS, 64)) is None


def test_a_piece_is_a_cache_in_rows_of_the_whole() -> None:
    lender = pool()
    _first, other, kept = (lender.lend(64) for _ in range(3))
    assert other is not None
    assert kept is not None
    kept.scatter()
    other.copy_rows(kept, 40, 0)
    other.move([30, 35, 36], 3)
    for layer in range(2):
        for part, its, whole in zip(kept.rows(layer), other.rows(layer), lender.whole.rows(layer), strict=True):
            assert torch.equal(its[3:6], part[[30, 35, 36]])
            assert torch.equal(whole[130 + 10 : 130 + 20], part[10:20])
            assert part.data_ptr() == whole[130:].data_ptr()
    assert other.positions[3:6].tolist() == [30, 35, 36]
    assert other.visible(64)[1][0].shape == (1, 1, 64, 8)


def test_gathered_rows_are_those_of_each_piece() -> None:
    lender = pool()
    pieces = [lender.lend(64) for _ in range(3)]
    whole = lender.whole
    whole.scatter()
    bases, lasts = torch.tensor([130, 0]), torch.tensor([130 + 64, 64])
    seen = GatheredCache(whole, bases, lasts).visible(128)
    for layer in range(2):
        for found, rows in zip(seen[layer], whole.rows(layer), strict=True):
            assert found.shape == (2, rows.shape[1], 128, rows.shape[2])
            for place, piece in enumerate((2, 0)):
                cache = pieces[piece]
                assert cache is not None
                assert torch.equal(found[place, :, :65].transpose(0, 1), whole_rows(rows, 65 * piece))
                assert torch.equal(found[place, :, 65:], found[place, :, 64:65].expand(-1, 63, -1))


def whole_rows(rows: torch.Tensor, first: int) -> torch.Tensor:
    return rows[first : first + 65]


@pytest.mark.parametrize("length", [4, 64])
def test_windows_are_measured_in_the_positions_of_each_piece(length: int) -> None:
    lender = pool()
    pieces = [lender.lend(64) for _ in range(2)]
    lasts = torch.tensor([64, 129])
    gathered = GatheredCache(lender.whole, torch.tensor([0, 65]), lasts)
    lender.whole.positions.copy_(torch.arange(321))
    rows, positions = torch.tensor([9, 10, 65 + 2, 65 + 3]), torch.tensor([[9, 10], [32, 33]])
    mask = torch.zeros(2, 1, 2, length)
    inputs = ForwardInput(torch.zeros(2, 2, dtype=torch.int64), positions, rows, mask, length)
    masks = gathered.masks(inputs)
    assert masks[None] is mask
    if length <= 5:
        assert masks[5] is mask
        return
    for place, piece in enumerate(pieces):
        assert piece is not None
        own = ForwardInput(
            inputs.token_ids[place : place + 1],
            positions[place : place + 1],
            rows[2 * place : 2 * place + 2] - 65 * place,
            mask[place : place + 1],
            length,
        )
        assert torch.equal(masks[5][place : place + 1], piece.masks(own)[5])
