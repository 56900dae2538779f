"""Sequoia's dynamic programme against all trees there are, and its choice of size and depth."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from casspec.runtime.decode import Decoder
from casspec.runtime.drafters.layouts import static_layout
from casspec.runtime.policies.sequoia import best_shape, optimal_trees
from tests.runtime.drafters.test_layouts import falling, mass, rank_paths
from tests.runtime.tiny import repetitive_prompt, tiny_profile, tiny_target

MAX_NODES, MAX_DEPTH = 6, 4

any_acceptance = st.lists(st.floats(0, 1), min_size=1, max_size=3)


@cache
def all_trees(n_nodes: int, width: int) -> frozenset[frozenset[tuple[int, ...]]]:
    """Every tree as the set of its rank paths, root left out: a rank is there only with the ranks before it."""
    if n_nodes == 1:
        return frozenset({frozenset()})
    larger = set()
    for tree in all_trees(n_nodes - 1, width):
        for path in [(), *tree]:
            rank = next(rank for rank in range(width + 1) if (*path, rank) not in tree)
            if rank < width:
                larger.add(tree | {(*path, rank)})
    return frozenset(larger)


@given(any_acceptance)
def test_expected_tokens_are_the_best_of_all_trees(rank_acceptance: list[float]) -> None:
    solved = optimal_trees(rank_acceptance, MAX_NODES, MAX_DEPTH)
    for n in range(1, MAX_NODES + 1):
        for d in range(MAX_DEPTH + 1):
            trees = [t for t in all_trees(n, len(rank_acceptance)) if all(len(path) <= d for path in t)]
            best = max((1 + sum(mass(path, rank_acceptance) for path in tree) for tree in trees), default=-np.inf)
            assert solved.tokens[d, n] == pytest.approx(best, abs=1e-6)


@given(any_acceptance, st.integers(1, 20), st.integers(1, 5))
def test_the_layout_is_worth_what_was_promised(rank_acceptance: list[float], n_nodes: int, depth: int) -> None:
    solved = optimal_trees(rank_acceptance, n_nodes, depth)
    if solved.tokens[depth, n_nodes] < 0:
        assert n_nodes > sum(len(rank_acceptance) ** d for d in range(depth + 1))
        return
    paths = rank_paths(solved.layout(n_nodes, depth))
    assert len(set(paths)) == n_nodes - 1
    assert max(map(len, paths), default=0) <= depth
    assert 1 + sum(mass(p, rank_acceptance) for p in paths) == pytest.approx(solved.tokens[depth, n_nodes], abs=1e-6)


@given(falling, st.integers(2, 40), st.integers(1, 6))
def test_with_falling_acceptance_the_best_tree_holds_the_most_probable_nodes(
    rank_acceptance: list[float], n_nodes: int, depth: int
) -> None:
    paths = rank_paths(static_layout(n_nodes - 1, depth, rank_acceptance))
    solved = optimal_trees(rank_acceptance, n_nodes, depth)
    assert solved.tokens[depth, len(paths) + 1] == pytest.approx(1 + sum(mass(p, rank_acceptance) for p in paths))


def shape(verify_ms: float, row_ms: float, draft_ms: float) -> tuple[int, int]:
    tokens = optimal_trees([0.7, 0.1], 16, 6).tokens
    return best_shape(tokens, [1, 2, 4, 8, 16], lambda n: verify_ms + n * row_ms, lambda n: draft_ms)


def test_size_and_depth_follow_the_costs() -> None:
    assert shape(10, 0, 0) == (16, 6)  # all free: the largest tree, as deep as may be
    assert shape(10, 0, 20) == (1, 0)  # a draft dearer than the target: none
    n_dear, d_dear = shape(10, 0, 2)
    assert n_dear == 16
    assert 0 < d_dear < 6
    assert shape(1, 1, 0.1)[0] < 16  # every row is paid: only probable nodes


def test_a_tree_estimated_on_line_shrinks_when_drafts_are_rejected() -> None:
    target = tiny_target(seed=7)
    profile = tiny_profile(target)

    def drafted(refresh_steps: int) -> int:
        parameters = {"acceptance": 0.97, "refresh_steps": refresh_steps}
        decoder = Decoder(target, profile, "sequoia", parameters)
        statistics = decoder.generate(repetitive_prompt(40), 60, temperature=1.3, seed=1).statistics
        return statistics.drafted_tokens / statistics.verify_steps

    assert drafted(refresh_steps=4) < drafted(refresh_steps=0)
