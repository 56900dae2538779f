"""The vertical cascade as a tree: its chain, and side tokens of the plan."""

from __future__ import annotations

import pytest

from casspec.runtime.decoding.tree import CandidateTree
from casspec.runtime.policies.tree_vertical import TreeVertical
from casspec.runtime.policies.vertical import Vertical
from tests.runtime.drafts import PLAN, TARGET, chain_of, drafted
from tests.runtime.tiny import cold_matrix, repetitive_prompt

pytestmark = pytest.mark.usefixtures("without_gradients")


def test_tree_vertical_adds_the_likeliest_side_tokens_to_the_chain_of_vertical() -> None:
    prompt = repetitive_prompt(60, 1)
    chain = chain_of(drafted(Vertical(PLAN, cold_matrix(TARGET)), prompt))

    def tree_of(max_nodes: int) -> CandidateTree:
        return drafted(TreeVertical(PLAN, cold_matrix(TARGET), top_p=1.0, max_nodes=max_nodes), prompt)

    wide, narrow = tree_of(64), tree_of(len(chain) + 4)
    assert len(wide) == 1 + 3 * len(chain)
    assert len(narrow) == 1 + len(chain) + 4
    for tree in (wide, narrow):
        assert tree.tokens[1 : 1 + len(chain)] == chain
        assert all(not tree.children(node) for node in range(1 + len(chain), len(tree)))
    sides = sorted(wide.probabilities[1 + len(chain) :], reverse=True)
    assert sorted(narrow.probabilities[1 + len(chain) :], reverse=True) == sides[:4]
