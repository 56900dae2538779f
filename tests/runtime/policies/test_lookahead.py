"""The Jacobi window and the n-gram pool, with a target that can be computed by hand."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from casspec.runtime.decoding.tree import CandidateTree
from casspec.runtime.policies.lookahead import JacobiWindow, Lookahead, NgramPool, largest_tree
from casspec.storage.errors import UnsupportedOption


def after(path: tuple[int, ...]) -> int:
    """A target whose next token depends on the last two."""
    return (3 * path[-1] + sum(path[-2:-1]) + 1) % 11


def follower(token: int) -> int:
    return (7 * token + 3) % 11


@given(st.integers(2, 6), st.integers(3, 6), st.lists(st.integers(0, 10), min_size=1, max_size=9))
def test_the_window_iterates_the_targets_tokens(window: int, level: int, text: list[int]) -> None:
    jacobi = JacobiWindow(window, level, text)
    root = text[-1]
    for step in range(level + 4):
        tree = CandidateTree(root)
        columns, rows, spine = len(jacobi.spine) + 1, list(jacobi.rows), [root, *jacobi.spine]
        ends = jacobi.draw(tree)
        filled = len(rows) == level - 2
        assert len(rows) == min(step, level - 2)
        assert columns == window + (level - 2 - len(rows))
        assert max(tree.depths) <= jacobi.depth
        assert len(tree) <= largest_tree(window, level, 0)
        for column, end in enumerate(ends):
            assert tree.path_tokens(end) == spine[: column + 1] + [row[column] for row in rows]
        new = [after(tuple(tree.path_tokens(end))) for end in ends]
        ngrams = jacobi.advance(root, new)
        if not filled:
            assert ngrams == []
        else:
            assert len(ngrams) == window
            for column, ngram in enumerate(ngrams):
                assert ngram == (spine[column], *(row[column] for row in rows), new[column])
        root = after((*text, root)[-2:])


def test_columns_stay_aligned_as_the_window_moves() -> None:
    """Where a token depends on the one before alone, every n-gram that does not hang at the root is the target's own text."""
    jacobi, root, found = JacobiWindow(5, 4, [0, 3, 8]), 0, []
    for _ in range(9):
        tree = CandidateTree(root)
        ngrams = jacobi.advance(root, [follower(tree.tokens[end]) for end in jacobi.draw(tree)])
        found += ngrams[1:]
        root = follower(root)
    assert len(found) == 7 * 4
    for ngram in found:
        assert all(follower(token) == then for token, then in pairwise(ngram))


def test_the_pool_keeps_the_latest_ngrams() -> None:
    pool = NgramPool(2)
    for ngram in [(1, 2, 3), (1, 4, 5), (2, 2, 2), (1, 2, 3), (1, 6, 7)]:
        pool.add(ngram)
    assert pool.after(1) == [(6, 7), (2, 3)]
    assert pool.after(2) == [(2, 2)]
    assert pool.after(9) == []


@pytest.mark.parametrize(
    "size", [{"window": 1}, {"level": 2}, {"guesses": 0}, {"window": 40}, {"window": 2, "level": 20}]
)
def test_sizes_that_cannot_run_are_refused(size: dict[str, int]) -> None:
    with pytest.raises(UnsupportedOption, match="lookahead"):
        Lookahead(**size)


def test_published_size() -> None:
    assert largest_tree(7, 5, 7) == 7 * 4 + 7 * 4
