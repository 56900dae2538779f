"""Fixed layouts: the most probable nodes, and how they become a tree one level at a time."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from casspec.runtime.decoding.sequence import Proposal
from casspec.runtime.decoding.tree import CandidateTree
from casspec.runtime.drafters.layouts import Layout, grow, levels, self_rank_acceptance, static_layout
from casspec.runtime.model.plan import Plan

PLAN = Plan.full(2)

falling = st.lists(st.floats(0.01, 0.95), min_size=1, max_size=5).map(lambda values: sorted(values, reverse=True))


def rank_paths(layout: Layout) -> list[tuple[int, ...]]:
    """Ranks from the root to each node but the root."""
    paths: list[tuple[int, ...]] = [()]
    for parent, rank in layout:
        paths.append((*paths[parent], rank))
    return paths[1:]


def mass(path: tuple[int, ...], rank_acceptance: list[float]) -> float:
    product = 1.0
    for rank in path:
        product *= rank_acceptance[rank]
    return product


@given(falling, st.integers(1, 30), st.integers(1, 5))
def test_no_node_left_out_is_more_probable_than_one_listed(
    rank_acceptance: list[float], n_nodes: int, depth: int
) -> None:
    paths = set(rank_paths(static_layout(n_nodes, depth, rank_acceptance)))
    width = len(rank_acceptance)
    possible = sum(width**d for d in range(1, depth + 1))
    assert len(paths) == min(n_nodes, possible)
    assert all(path[:-1] in paths or len(path) == 1 for path in paths)
    outside = {(*path, rank) for path in [(), *paths] if len(path) < depth for rank in range(width)} - paths
    least = min(mass(path, rank_acceptance) for path in paths)
    assert all(mass(path, rank_acceptance) <= least * (1 + 1e-9) for path in outside)


@given(st.floats(0.01, 0.99), st.integers(1, 12))
def test_built_in_rank_acceptance_falls_and_stays_a_probability(first: float, width: int) -> None:
    ranks = self_rank_acceptance(first, width)
    assert ranks[0] == first
    assert ranks == sorted(ranks, reverse=True)
    assert sum(ranks) < 1


@pytest.mark.parametrize("first", [0.0, 1.0])
def test_a_plan_that_never_or_always_agreed_has_a_layout_too(first: float) -> None:
    paths = rank_paths(static_layout(63, 5, self_rank_acceptance(first, 10)))
    assert len(paths) == 63
    assert {(0,), (0, 0), (1,)} <= set(paths)


class RankSequence:
    """Stands in for a sequence: a plan proposes tokens that tell node and rank."""

    def __init__(self) -> None:
        self.forwards: list[list[int]] = []

    def propose(self, plan: Plan, tree: CandidateTree, nodes: list[int], width: int) -> list[Proposal]:
        self.forwards.append(nodes)
        return [Proposal([1000 * node + rank for rank in range(width)], [], []) for node in nodes]


@given(falling, st.integers(1, 30), st.integers(1, 5))
def test_a_layout_becomes_the_same_tree_with_one_forward_a_level(
    rank_acceptance: list[float], n_nodes: int, depth: int
) -> None:
    layout = static_layout(n_nodes, depth, rank_acceptance)
    drafter, tree = RankSequence(), CandidateTree(7)
    grow(PLAN, drafter, tree, levels(layout))
    grown = [tuple(token % 1000 for token in tree.path_tokens(node)[1:]) for node in range(1, len(tree))]
    assert sorted(grown) == sorted(rank_paths(layout))
    assert all(token // 1000 == parent for token, parent in zip(tree.tokens[1:], tree.parents[1:], strict=True))
    assert len(drafter.forwards) == max(tree.depths)
    for place, nodes in enumerate(drafter.forwards):
        assert {tree.depths[node] for node in nodes} == {place}
        assert all(tree.children(node) for node in nodes)  # no forward for a node whose proposals nobody wants


@pytest.mark.parametrize("depth", [0, 1, 2])
def test_fewer_levels_give_the_upper_part_of_the_tree(depth: int) -> None:
    drafter, tree = RankSequence(), CandidateTree(7)
    grow(PLAN, drafter, tree, levels(static_layout(12, 4, [0.6, 0.2]))[:depth])
    assert max(tree.depths) == depth
