"""Horizontal cascade: the strong drafter for the first tokens, a cheap one for the later (CS-Drafting, arXiv 2312.11462, section 3.2).

Later tokens are accepted only after all before them, so less is paid for them. Settings are the first row of the paper's matrix
[[2, 10], [0, 10]]: two tokens of a self-drafter, then ten of max-gram, and no review.
"""

from __future__ import annotations

from casspec.runtime.decoding.sequence import MAX_TREE_NODES, Sequence
from casspec.runtime.decoding.tree import CandidateTree
from casspec.runtime.drafters.review import add_chain
from casspec.runtime.drafters.token_recycling import RecyclingMatrix
from casspec.runtime.model.plan import Plan
from casspec.runtime.policies.max_gram_cascade import MaxGramCascade


class Horizontal(MaxGramCascade):
    summary = "a self-drafter's tokens first, copied ones after them"

    def __init__(self, plan: Plan, matrix: RecyclingMatrix | None = None, n_strong: int = 2, n_cheap: int = 10) -> None:
        """`n_strong` tokens of the self-drafter, then `n_cheap` of max-gram."""
        super().__init__(plan, matrix)
        self._n_strong = n_strong
        self._n_cheap = n_cheap

    def draft(self, sequence: Sequence, max_depth: int) -> CandidateTree:
        tree, node, depth = CandidateTree(sequence.tokens[-1]), 0, min(max_depth, MAX_TREE_NODES - 1)
        for _ in range(min(self._n_strong, depth)):
            (proposal,) = sequence.propose(self._plan, tree, [node])
            node = tree.add(node, proposal.tokens[0], self._plan.name)
        n_cheap = min(self._n_cheap, depth - tree.depths[node])
        add_chain(tree, node, self._bottom.propose(tree.path_tokens(node)[1:], n_cheap), self._bottom.name)
        return tree
