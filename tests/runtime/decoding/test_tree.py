"""Properties of candidate trees, whatever is added to them."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from casspec.runtime.decoding.tree import CandidateTree

additions = st.lists(
    st.tuples(st.integers(0, 10**6), st.integers(0, 4), st.floats(0, 1), st.sampled_from("ab")), max_size=100
)


def grow(steps: list[tuple[int, int, float, str]]) -> CandidateTree:
    tree = CandidateTree(7)
    for parent, token, probability, drafter in steps:
        tree.add(parent % len(tree), token, drafter, probability)
    return tree


def check(tree: CandidateTree) -> None:
    """What must hold of any tree."""
    assert tree.parents[0] == -1
    for node in range(1, len(tree)):
        parent = tree.parents[node]
        assert 0 <= parent < node
        assert tree.depths[node] == tree.depths[parent] + 1
        assert tree.child(parent, tree.tokens[node]) == node
        assert node in tree.children(parent)
    edges = list(zip(tree.parents, tree.tokens, strict=True))
    assert len(set(edges)) == len(edges)
    assert sum(len(tree.children(node)) for node in range(len(tree))) == len(tree) - 1


def visibility_of(tree: CandidateTree, nodes: list[int]) -> np.ndarray:
    """Which nodes each of `nodes` sees: bool [len(nodes), len(tree)]."""
    rows = tree.visibility(nodes)
    assert [len(row) for row in rows] == [node + 1 for node in nodes], "as far as a node itself"
    return np.array([list(row.ljust(len(tree), b"\0")) for row in rows], bool)


def ancestors(tree: CandidateTree, node: int) -> set[int]:
    found = set()
    while node >= 0:
        found.add(node)
        node = tree.parents[node]
    return found


@given(additions)
def test_a_tree_is_sound_and_sees_exactly_its_ancestors(steps) -> None:
    tree = grow(steps)
    check(tree)
    visibility = visibility_of(tree, list(range(len(tree))))
    for node in range(len(tree)):
        assert set(visibility[node].nonzero()[0]) == ancestors(tree, node)
        path = tree.path(node)
        assert path[0] == 0
        assert path[-1] == node
        assert set(path) == ancestors(tree, node)
        assert tree.path_tokens(node) == [tree.tokens[i] for i in path]


@given(additions, st.lists(st.integers(0, 10**6), min_size=1, max_size=8))
def test_chosen_rows_of_the_visibility_are_those_nodes(steps, picks: list[int]) -> None:
    tree = grow(steps)
    nodes = [pick % len(tree) for pick in picks]
    assert (visibility_of(tree, nodes) == visibility_of(tree, list(range(len(tree))))[nodes]).all()


@given(additions, st.lists(st.integers(0, 10**6), min_size=1, max_size=8), st.lists(st.sampled_from(["", "a", "b"])))
def test_a_plan_computes_what_it_is_asked_about_and_the_ancestors_it_did_not_write(
    steps, picks: list[int], writers: list[str]
) -> None:
    tree = grow(steps)
    tree.writers[: len(writers)] = writers[: len(tree)]
    nodes = [pick % len(tree) for pick in picks]
    above = set().union(*(ancestors(tree, node) for node in nodes))
    expected = {node for node in above if tree.writers[node] != "a"} | set(nodes)
    assert tree.unwritten(nodes, "a") == sorted(expected)


@given(additions)
def test_equal_siblings_merge_and_keep_the_better_probability(steps) -> None:
    tree = CandidateTree(7)
    best: dict[tuple[int, int], float] = {}
    for parent, token, probability, drafter in steps:
        parent %= len(tree)
        node = tree.add(parent, token, drafter, probability)
        best[parent, token] = max(probability, best.get((parent, token), 0.0))
        assert tree.probabilities[node] == best[parent, token]
    assert len(tree) == len(best) + 1


@given(additions, st.integers(1, 120))
def test_truncation_leaves_the_first_nodes_and_a_sound_tree(steps, n_nodes: int) -> None:
    tree, whole = grow(steps), grow(steps)
    tree.truncate(n_nodes)
    assert tree.tokens == whole.tokens[:n_nodes]
    check(tree)
    left = list(range(len(tree)))
    assert tree.visibility(left) == whole.visibility(left)
    node = tree.add(0, 999)
    assert node == len(tree) - 1
    check(tree)


def test_chains_longer_than_a_machine_word_see_all_of_themselves() -> None:
    tree, node = CandidateTree(0), 0
    for token in range(130):
        node = tree.add(node, token)
    assert tree.visibility([node]) == [b"\1" * 131]


@given(additions, st.sets(st.integers(0, 120)))
def test_a_selection_keeps_edges_and_has_no_row_written(steps, picks: set[int]) -> None:
    tree = grow(steps)
    tree.writers[:] = ["a"] * len(tree)
    nodes = sorted(set().union({0}, *(ancestors(tree, pick % len(tree)) for pick in picks)))
    selected = tree.selected(nodes)
    check(selected)
    for place, node in enumerate(nodes):
        assert selected.path_tokens(place) == tree.path_tokens(node)
        assert (selected.drafters[place], selected.probabilities[place]) == (
            tree.drafters[node],
            tree.probabilities[node],
        )
    assert selected.unwritten(list(range(len(nodes))), "a") == list(range(len(nodes)))
