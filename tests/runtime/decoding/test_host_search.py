"""The best tokens of a forward on the host are those of scores and noise written out."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from casspec.runtime.decoding.host_search import HostSearch, place_of, top_rows
from casspec.runtime.decoding.noise import GumbelNoise
from casspec.runtime.decoding.successors import TOP_SUCCESSORS
from casspec.runtime.decoding.tree import CandidateTree
from casspec.runtime.text.sampling import Sampling

VOCAB, ROWS = 150, 6
SAMPLINGS = [Sampling(0.7), Sampling(1.0, top_k=5), Sampling(0.9, top_p=0.8), Sampling(1.3, top_k=40, top_p=0.5)]


def some_logits(seed: int, dtype: torch.dtype) -> torch.Tensor:
    return (torch.randn(ROWS, VOCAB, generator=torch.Generator().manual_seed(seed)) * 4).to(dtype)


def ordered(scores: torch.Tensor, n: int) -> list[list[int]]:
    return scores.sort(dim=-1, descending=True, stable=True).indices[:, :n].tolist()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("sampling", SAMPLINGS, ids=str)
@given(st.integers(0, 10**6), st.lists(st.integers(0, 40), min_size=ROWS, max_size=ROWS))
def test_sampled_tokens_are_those_of_scores_and_noise(
    sampling: Sampling, dtype: torch.dtype, seed: int, positions: list[int]
) -> None:
    logits, noise = some_logits(seed, dtype), GumbelNoise(seed, VOCAB)
    expected = ordered(sampling.scores(logits) + noise.rows_at(positions), 3)
    search = HostSearch(sampling, noise, VOCAB)
    ids, scores = search.best(logits, range(ROWS), positions, 3)
    assert ids.tolist() == expected
    assert (scores[:, :-1] >= scores[:, 1:]).all()
    alone = CandidateTree(0)
    assert [search.walk(logits[row:], alone, 0, positions[row], False) for row in range(ROWS)] == [
        [(0, ids[0])] for ids in expected
    ]
    if not sampling.filters:
        best = ordered(logits, TOP_SUCCESSORS)[2]
        found = search.walk(logits[2:], alone, 0, positions[2], True)
        assert found == [(0, expected[2][0])]
        ids, values = search.walked_rows(1) or ([], [])
        assert (ids.tolist(), values.tolist()) == ([best], [logits[2].float()[best].tolist()])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@given(st.integers(0, 10**6))
def test_greedy_tokens_are_the_largest_logits(dtype: torch.dtype, seed: int) -> None:
    logits = some_logits(seed, dtype)
    search, expected = HostSearch(Sampling(), None, VOCAB), ordered(logits, TOP_SUCCESSORS)
    assert search.best(logits, [4, 1], None, 3)[0].tolist() == [expected[4][:3], expected[1][:3]]
    assert search.walk(logits[3:], CandidateTree(0), 0, -1, False) == [(0, expected[3][0])]
    assert top_rows(logits) == (expected, logits.float().gather(1, torch.tensor(expected)).tolist())


def test_logits_are_read_where_they_lie_if_they_can_be() -> None:
    for dtype in (torch.float32, torch.bfloat16):
        logits = some_logits(0, dtype)[:, 1:]
        read, place = place_of(logits)
        assert read is logits
        assert place == (logits.data_ptr(), ROWS, VOCAB, dtype is torch.float32, VOCAB - 1)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("columns", [slice(0, VOCAB - 7), slice(9, VOCAB), slice(0, VOCAB, 2)], ids=str)
@pytest.mark.parametrize("rows", [slice(0, ROWS), slice(1, ROWS), slice(0, ROWS, 2)], ids=str)
def test_logits_may_be_part_of_a_wider_tensor(rows: slice, columns: slice, dtype: torch.dtype) -> None:
    logits = some_logits(3, dtype)[rows, columns]
    expected = ordered(logits, TOP_SUCCESSORS)
    assert top_rows(logits) == (expected, logits.float().gather(1, torch.tensor(expected)).tolist())
    search, last = HostSearch(Sampling(), None, logits.shape[1]), len(logits) - 1
    assert search.walk(logits[last:], CandidateTree(0), 0, -1, False) == [(0, expected[last][0])]
