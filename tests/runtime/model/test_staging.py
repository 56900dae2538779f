"""Queries of several sequences in static memory, and their mask made on the device."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from casspec.runtime.model.staging import LEAST_WINDOW, Queries, Seat, Staging, power_of_two

CPU = torch.device("cpu")
SIZE, LENGTH, SCRATCH = 4, 128, 999


@st.composite
def asked(draw):
    """Queries of a sequence, and how many of them are asked for."""
    n, columns, first = draw(st.integers(1, SIZE)), draw(st.integers(1, 8)), draw(st.integers(0, 100))
    bits = st.lists(st.sampled_from((0, 1)), min_size=columns, max_size=columns).map(bytes)
    seen = [draw(bits) for _ in range(n)]
    queries = Queries(list(range(n)), [first + i for i in range(n)], [first + 2 * i for i in range(n)], first, seen)
    return queries, draw(st.integers(1, n))


def seen_by(queries: Queries, n: int) -> torch.Tensor:
    """What each of SIZE queries sees, the padding included."""
    found = torch.zeros(SIZE, LENGTH, dtype=torch.bool)
    found[:, : queries.first] = True
    found[n:, queries.first] = True
    for query, row in enumerate(queries.visibility[:n]):
        for column, bit in enumerate(row):
            found[query, queries.first + column] = bool(bit)
    return found


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64])
@given(turns=st.lists(st.lists(asked(), min_size=1, max_size=3), min_size=1, max_size=4))
def test_what_is_asked_stands_where_it_stood(dtype, turns):
    staging = Staging(3, SIZE, LEAST_WINDOW, dtype, CPU)
    address = staging.mask(LENGTH).data_ptr()
    for turn in turns:
        staging.write([Seat(queries, n, 200 * i, 200 * i + 150) for i, (queries, n) in enumerate(turn)], SCRATCH)
        mask = staging.mask(LENGTH)
        assert mask.data_ptr() == address
        places = list[int]()
        for i, (queries, n) in enumerate(turn):
            expected = torch.zeros(SIZE, LENGTH, dtype=dtype).masked_fill_(~seen_by(queries, n), -torch.inf)
            assert torch.equal(mask[i, 0], expected)
            assert staging.token_ids[i, :n].tolist() == queries.tokens[:n]
            assert staging.positions[i, :n].tolist() == queries.positions[:n]
            rows = [200 * i + slot for slot in queries.slots[:n]] + [SCRATCH] * (SIZE - n)
            assert staging.rows.view(3, SIZE)[i].tolist() == rows
            places += range(i * SIZE, i * SIZE + n)
        assert staging.places.tolist() == places + [0] * (3 * SIZE - len(places))
        assert staging.bases.tolist() == [200 * i if i < len(turn) else 0 for i in range(3)]
        empty = mask[len(turn) :, 0]
        assert (empty[..., 0] == 0).all()
        assert torch.isneginf(empty[..., 1:]).all()
        assert staging.rows.view(3, SIZE)[len(turn) :].eq(SCRATCH).all()


def test_a_window_holds_what_is_seen_and_seldom_grows() -> None:
    def window(n: int) -> int:
        return Queries([0], [0], [0], 50, [b"\1" * n]).window

    assert [window(n) for n in (1, 128, 129, 300)] == [128, 128, 256, 512]


def test_powers_of_two() -> None:
    assert [power_of_two(n) for n in (0, 1, 2, 3, 64, 65)] == [1, 1, 2, 4, 64, 128]


def test_numbers_of_rows_have_a_place_by_their_count() -> None:
    staging = Staging(1, SIZE, LEAST_WINDOW, torch.float32, CPU)
    assert staging.wanted(2) is staging.wanted(2)
    assert staging.wanted(2).shape == (2,)
    assert len(staging.memory) == 1
