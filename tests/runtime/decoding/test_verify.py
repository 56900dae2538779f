"""Acceptance of a tree, against a walk written the long way."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from casspec.runtime.decoding.tree import CandidateTree
from casspec.runtime.decoding.verify import accept, truncate_at_stop


@st.composite
def verified_trees(draw: st.DrawFn) -> tuple[CandidateTree, list[int]]:
    """A tree and the target's token after each node; tokens are few, so that paths go deep."""
    tree = CandidateTree(0)
    for parent, token in draw(st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 2)), max_size=40)):
        tree.add(parent % len(tree), token)
    n = len(tree)
    return tree, draw(st.lists(st.integers(0, 2), min_size=n, max_size=n))


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


@given(verified_trees(), st.integers(1, 12), st.sets(st.integers(0, 2), max_size=2))
def test_the_cut_is_where_one_token_at_a_time_would_end(case, limit: int, stop: set[int]) -> None:
    tree, targets = case
    path, emitted = accept(tree, targets.__getitem__)
    expected, over = [], False
    for token in emitted:
        if len(expected) == limit:
            break
        expected.append(token)
        over = token in stop or len(expected) == limit
        if over:
            break
    cut_path, cut_tokens, is_over = truncate_at_stop(path, emitted, limit, stop)
    assert cut_tokens == expected
    assert cut_path == path[: len(expected)]
    assert is_over == over
