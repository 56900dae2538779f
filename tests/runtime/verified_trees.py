"""Random trees and what a target says of their nodes."""

from __future__ import annotations

from hypothesis import strategies as st

from casspec.runtime.decoding.tree import CandidateTree


@st.composite
def verified_trees(draw: st.DrawFn) -> tuple[CandidateTree, list[int]]:
    """A tree and the target's token after each node; tokens are few, so that paths go deep."""
    tree = CandidateTree(0)
    for parent, token in draw(st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 2)), max_size=40)):
        tree.add(parent % len(tree), token)
    n = len(tree)
    return tree, draw(st.lists(st.integers(0, 2), min_size=n, max_size=n))
