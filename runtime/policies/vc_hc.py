"""Vertical and horizontal cascade together (CS-Drafting, arXiv 2312.11462, algorithm 1).

The paper's matrix K holds draft lengths. With two drafters, [[k11, k12], [0, k22]]: rounds of k22 max-gram tokens under review until
k11 stand, then k12 max-gram tokens that only the target verifies. Published for a chain: [[2, 10], [0, 10]]. For a tree:
[[1, 3], [0, 1]] and 8 children on the leading node, which are here the plan's best tokens after the root, each with its own
k12 tokens behind it.
"""

from __future__ import annotations

from casspec.runtime.decoding.sequence import MAX_TREE_NODES, Sequence
from casspec.runtime.decoding.tree import CandidateTree
from casspec.runtime.drafters.review import add_chain, vertical_round
from casspec.runtime.drafters.token_recycling import RecyclingMatrix
from casspec.runtime.model.plan import Plan
from casspec.runtime.policies.max_gram_cascade import MaxGramCascade


class VerticalHorizontal(MaxGramCascade):
    summary = "reviewed tokens first, copied ones after them, perhaps from several first tokens"

    def __init__(
        self,
        plan: Plan,
        matrix: RecyclingMatrix | None = None,
        k11: int = 2,
        k12: int = 10,
        k22: int = 10,
        n_children: int = 1,
        lenience: float = 1.0,
    ) -> None:
        """K as above, children of the root; `lenience` of the plan's review only, 1 is none."""
        super().__init__(plan, matrix)
        self._k11, self._k12, self._k22 = k11, k12, k22
        self._n_children = n_children
        self._lenience = lenience

    def draft(self, sequence: Sequence, max_depth: int) -> CandidateTree:
        tree, leaf, depth = CandidateTree(sequence.tokens[-1]), 0, min(max_depth, MAX_TREE_NODES - 1 - self._n_children)
        # 1. Vertical: reviewed tokens. The first review also says what else may follow the root.
        leading: list[int] = []
        while tree.depths[leaf] < min(self._k11, depth):
            width = self._n_children if leaf == 0 else 1
            leaf, reviewed = vertical_round(
                sequence, tree, self._plan, self._bottom, leaf, self._k22, depth, width, self._lenience
            )
            leading = leading or reviewed.proposals[0].tokens[: self._n_children]
        # 2. Horizontal: cheap tokens behind the reviewed ones and behind each other first token.
        others = [tree.add(0, token, self._plan.name) for token in leading if tree.child(0, token) is None]
        for node in (leaf, *others):
            self._add_cheap(tree, node, max_depth)
        return tree

    def _add_cheap(self, tree: CandidateTree, leaf: int, max_depth: int) -> None:
        """max-gram's k12 tokens, unless the review alone left that many."""
        if tree.depths[leaf] < self._k11 + self._k12:
            n_tokens = min(self._k12, max_depth - tree.depths[leaf], MAX_TREE_NODES - len(tree))
            add_chain(tree, leaf, self._bottom.propose(tree.path_tokens(leaf)[1:], n_tokens), self._bottom.name)
