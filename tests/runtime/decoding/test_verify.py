"""What the target says of a tree, and which path of it is accepted, against the same written the long way."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from casspec.runtime.decoding.host_search import MOST_WALKED, HostSearch
from casspec.runtime.decoding.noise import GumbelNoise
from casspec.runtime.decoding.successors import TOP_SUCCESSORS
from casspec.runtime.decoding.tree import CandidateTree
from casspec.runtime.decoding.verify import HostTokens, KnownTokens, TargetOutputs, accept
from casspec.runtime.text.sampling import Sampling
from tests.runtime.verified_trees import verified_trees

ROWS, VOCAB = 12, 40


# Few levels, so that many entries of a row are equal.
levels = st.lists(st.integers(0, 6), min_size=ROWS * VOCAB, max_size=ROWS * VOCAB)
paths = st.lists(st.integers(0, ROWS - 1), min_size=1, unique=True).map(sorted)


@given(verified_trees())
def test_the_emitted_tokens_are_the_targets_own_along_the_accepted_path(case) -> None:
    tree, targets = case
    path, emitted = accept(tree, targets.__getitem__)
    assert path[0] == 0
    assert len(emitted) == len(path)
    assert emitted == [targets[node] for node in path]
    for parent, node in pairwise(path):
        assert tree.parents[node] == parent
        assert tree.tokens[node] == targets[parent]
    last = path[-1]
    assert all(tree.tokens[node] != targets[last] for node in range(1, len(tree)) if tree.parents[node] == last)


def logits_of(numbers: list[int], dtype: torch.dtype) -> torch.Tensor:
    return torch.tensor(numbers, dtype=dtype).reshape(ROWS, VOCAB)


def greedy_outputs(logits: torch.Tensor, keep_top: bool = True) -> HostTokens:
    tree = CandidateTree(0)
    for token in range(1, len(logits)):
        tree.add(0, token)
    return HostTokens(logits, HostSearch(Sampling(), None, logits.shape[1]), tree, None, keep_top)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@given(levels, st.sets(st.integers(0, ROWS - 1)))
def test_the_greedy_token_is_the_first_of_the_best(dtype: torch.dtype, numbers: list[int], flat: set[int]) -> None:
    logits = logits_of(numbers, dtype)
    logits[list(flat)] = 2.0  # nothing but equals
    expected = Sampling().tokens(logits, None).tolist()
    for verified in (greedy_outputs(logits), greedy_outputs(logits, keep_top=False)):
        assert [verified.token_after(node) for node in range(ROWS)] == expected


@given(st.integers(1, TOP_SUCCESSORS + 1), st.data())
def test_a_vocabulary_may_be_narrower_than_what_is_kept_of_a_row(vocab: int, data: st.DataObject) -> None:
    row = data.draw(st.lists(st.integers(0, 2), min_size=vocab, max_size=vocab))
    verified = greedy_outputs(torch.tensor([row], dtype=torch.float32))
    assert verified.token_after(0) == row.index(max(row))
    (values,) = verified.rows([0])[1]
    assert values == sorted(row, reverse=True)[:TOP_SUCCESSORS]


@st.composite
def trees_of_few_tokens(draw: st.DrawFn) -> CandidateTree:
    tree = CandidateTree(0)
    for parent, token in draw(st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 4)), max_size=40)):
        if len(tree) < ROWS:
            tree.add(parent % len(tree), token)
    return tree


@pytest.mark.parametrize(
    "sampling", [Sampling(), Sampling(0.7), Sampling(1.0, top_k=5), Sampling(0.9, top_p=0.8)], ids=str
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@given(trees_of_few_tokens(), levels, st.integers(0, 99), st.booleans())
def test_the_token_is_that_of_its_row_among_others_wherever_a_walk_begins(
    dtype: torch.dtype, sampling: Sampling, tree: CandidateTree, numbers: list[int], seed: int, keep_top: bool
) -> None:
    logits, first = logits_of(numbers, dtype), 30
    logits[:, :5] += 2  # tokens of the tree are likely
    noise = None if sampling.greedy else GumbelNoise(seed, VOCAB)
    drawn = None if noise is None else noise.rows_at([first + depth for depth in tree.depths])
    expected = sampling.tokens(logits[: len(tree)], drawn).tolist()
    search = HostSearch(sampling, noise, VOCAB)
    one = HostTokens(logits, search, tree, None if sampling.greedy else first, keep_top)
    path, emitted = accept(tree, one.token_after)
    assert (path, emitted) == accept(tree, expected.__getitem__)
    assert one.rows(path) == HostTokens(logits, search, tree, first, False).rows(path)
    kept = one.rows(path)
    other = HostTokens(logits, search, tree, None if sampling.greedy else first, keep_top)
    assert [other.token_after(node) for node in reversed(range(len(tree)))] == expected[::-1]
    assert one.rows(path) == kept


def test_a_path_longer_than_one_walk_is_followed_to_its_end() -> None:
    tree, node = CandidateTree(1), 0
    for _ in range(2 * MOST_WALKED):
        node = tree.add(node, 1)
    logits = torch.zeros(len(tree), 3)
    logits[:, 1] = 1
    verified = HostTokens(logits, HostSearch(Sampling(), None, 3), tree, None, True)
    assert accept(tree, verified.token_after) == (list(range(len(tree))), [1] * len(tree))


@given(levels, paths)
def test_rows_hold_the_largest_logits_of_the_nodes_asked_for(numbers: list[int], path: list[int]) -> None:
    logits = logits_of(numbers, torch.float32)
    answered = greedy_outputs(logits)
    for node in path:
        answered.token_after(node)
    answers: list[TargetOutputs] = [answered, greedy_outputs(logits), KnownTokens(logits, list)]
    for verified in answers:
        ids, values = verified.rows(path)
        for node, row_ids, row_values in zip(path, ids, values, strict=True):
            assert row_values == sorted(logits[node].tolist(), reverse=True)[:TOP_SUCCESSORS]
            assert logits[node, row_ids].tolist() == row_values
            assert len(set(row_ids)) == TOP_SUCCESSORS
