"""Attention over a cache with holes: torch's, and the same bits wherever the slots lie."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from casspec.runtime.native.attention import BLOCK, KEY_STEP, attention
from casspec.runtime.native.layout import BFLOAT16, FLOAT32, LANES
from casspec.runtime.native.packing import padded
from tests.runtime.native.memory import DTYPES, normal, row_bytes, spared

LENGTH = 4 * KEY_STEP
each_kind = pytest.mark.parametrize("kind", [FLOAT32, BFLOAT16])


@dataclass
class Case:
    """One key head: queries [queries * groups, dim] scaled, keys and values [LENGTH, dim], mask [queries, LENGTH]."""

    kind: int
    queries: Tensor
    keys: Tensor
    values: Tensor
    mask: Tensor

    def scattered(self, slots: Tensor) -> Case:
        """The same rows in the same order at other slots of the cache; in between lies what nobody sees."""
        keys, values = (torch.full_like(rows, 1e4) for rows in (self.keys, self.values))
        mask = torch.full_like(self.mask, -torch.inf)
        n = len(slots)
        keys[slots], values[slots], mask[:, slots] = self.keys[:n], self.values[:n], self.mask[:, :n]
        return Case(self.kind, self.queries, keys, values, mask)


def case(kind: int, n_queries: int, groups: int, dim: int, seen: int) -> Case:
    dtype = DTYPES[kind]
    queries = normal(n_queries * groups, dim) / math.sqrt(dim)
    keys, values = (normal(LENGTH, dim, seed=seed).to(dtype) * 2 for seed in (1, 2))
    hidden = torch.rand(n_queries, LENGTH, generator=torch.Generator().manual_seed(3)) < 0.4
    hidden[:, seen:], hidden[:, 0] = True, False
    return Case(kind, queries, keys, values, torch.zeros(hidden.shape, dtype=dtype).masked_fill_(hidden, -torch.inf))


def attended(case: Case, block: int = BLOCK, largest: float = 0) -> Tensor:
    """Results [queries * groups, dim], `block` query rows in a call."""
    n_rows, dim = case.queries.shape
    groups, width = n_rows // len(case.mask), padded(dim)
    queries, keys = spared(case.queries), case.keys.t().contiguous()
    values = F.pad(case.values, (0, width - dim))
    scores, mixed, totals = torch.zeros(2 * BLOCK + 8, LENGTH), torch.zeros(2 * BLOCK + 8, width), torch.zeros(16)
    out = torch.zeros(len(case.mask), groups * dim)
    for first in range(0, n_rows, block):
        attention(case.kind)(
            queries.data_ptr() + first * row_bytes(queries),
            min(block, n_rows - first),
            dim,
            groups,
            first,
            keys.data_ptr(),
            row_bytes(keys),
            values.data_ptr(),
            row_bytes(values),
            case.mask.data_ptr(),
            row_bytes(case.mask),
            LENGTH,
            np.float32(largest),
            scores.data_ptr(),
            mixed.data_ptr(),
            totals.data_ptr(),
            out.data_ptr(),
            row_bytes(out),
        )
    return out.view(n_rows, dim)


@each_kind
@pytest.mark.parametrize(("n_queries", "groups"), [(1, 1), (1, 3), (5, 1), (4, 4), (9, 2)])
@pytest.mark.parametrize("dim", [8, 40, 64])
def test_it_is_torchs_over_a_mask_with_holes(kind: int, n_queries: int, groups: int, dim: int) -> None:
    given = case(kind, n_queries, groups, dim, seen=LENGTH - 5)
    mask = given.mask.double().repeat_interleave(groups, 0)
    tensors = (tensor.double()[None] for tensor in (given.queries, given.keys, given.values))
    expected = F.scaled_dot_product_attention(*tensors, attn_mask=mask, scale=1.0)[0]
    torch.testing.assert_close(attended(given).double(), expected, atol=2e-5, rtol=2e-5)


@each_kind
@pytest.mark.parametrize("n_queries", [1, 6])
def test_the_same_rows_at_scattered_slots_give_the_same_bits(kind: int, n_queries: int) -> None:
    n = 19
    given = case(kind, n_queries, 2, 16, seen=n)
    for seed in range(5):
        slots = torch.randperm(LENGTH, generator=torch.Generator().manual_seed(seed))[:n].sort().values
        assert torch.equal(attended(given.scattered(slots)), attended(given))


@each_kind
def test_query_rows_may_be_shared_out_anyhow(kind: int) -> None:
    given = case(kind, 7, 3, 24, seen=LENGTH)
    whole = attended(given)
    for block in range(1, BLOCK):
        assert torch.equal(attended(given, block), whole), block


@each_kind
def test_scores_are_bounded_before_the_mask(kind: int) -> None:
    given, groups = case(kind, 5, 2, 24, seen=LENGTH), 2
    scores = given.queries.double() @ given.keys.double().t()
    scores = 0.5 * torch.tanh(scores / 0.5) + given.mask.double().repeat_interleave(groups, 0)
    expected = scores.softmax(-1) @ given.values.double()
    torch.testing.assert_close(attended(given, largest=0.5).double(), expected, atol=2e-5, rtol=2e-5)


def test_what_lies_before_the_first_slot_seen_is_not_read() -> None:
    given = case(FLOAT32, 3, 1, LANES, seen=LENGTH)
    given.mask[:, : KEY_STEP + 5], given.mask[:, KEY_STEP + 5] = -torch.inf, 0
    moved = given.scattered(torch.arange(LENGTH))
    expected = attended(given)
    given.keys[:KEY_STEP], given.values[:KEY_STEP] = torch.nan, torch.nan
    assert torch.equal(attended(given), expected)
    assert torch.equal(attended(moved), expected)


def test_what_lies_past_the_last_slot_seen_is_not_read() -> None:
    given = case(FLOAT32, 3, 1, LANES, seen=KEY_STEP - 3)
    expected = attended(given)
    given.keys[KEY_STEP:], given.values[KEY_STEP:] = torch.nan, torch.nan
    assert torch.equal(attended(given), expected)
