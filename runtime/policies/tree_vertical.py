"""Vertical cascade with tree attention (CAS-Spec, arXiv 2510.26843, the ablation "VC + tree").

As `vertical`, and the plan that reviews also offers side tokens after every node it was asked about, for one forward says them all.
The side tokens most probable as a path fill the tree; they stay leaves. CAS-Spec does not publish its settings: here those declared
for dytc-paper, a tree of 64 nodes, the best 3 tokens within probability .9, and the chain of `vertical`.
"""

from __future__ import annotations

import heapq

from casspec.runtime.decoding.sequence import Sequence
from casspec.runtime.decoding.tree import CandidateTree
from casspec.runtime.drafters.review import nucleus, vertical_round
from casspec.runtime.drafters.token_recycling import RecyclingMatrix
from casspec.runtime.model.plan import Plan
from casspec.runtime.policies.max_gram_cascade import MaxGramCascade


class TreeVertical(MaxGramCascade):
    summary = "a vertical cascade whose reviewer adds side tokens to the tree"

    def __init__(
        self,
        plan: Plan,
        matrix: RecyclingMatrix | None = None,
        n_tokens: int = 5,
        n_drafted: int = 10,
        width: int = 3,
        top_p: float = 0.9,
        max_nodes: int = 64,
    ) -> None:
        """`n_tokens` and `n_drafted` as in `vertical`; up to `width` tokens of the plan after a node, until they sum to `top_p`."""
        super().__init__(plan, matrix)
        self._n_tokens = n_tokens
        self._n_drafted = n_drafted
        self._width = width
        self._top_p = top_p
        self._max_nodes = max_nodes

    def draft(self, sequence: Sequence, max_depth: int) -> CandidateTree:
        tree, leaf, depth = CandidateTree(sequence.tokens[-1]), 0, min(max_depth, self._max_nodes)
        sides: list[tuple[float, int, int]] = []
        mass = 1.0
        while tree.depths[leaf] < min(self._n_tokens, depth):
            leaf, reviewed = vertical_round(
                sequence,
                tree,
                self._plan,
                self._bottom,
                leaf,
                self._n_drafted,
                depth,
                self._width,
                probabilities=True,
            )
            for node, proposal in zip(reviewed.nodes, reviewed.proposals, strict=True):
                own, *others = nucleus(proposal, self._top_p)
                sides += [(mass * probability, node, token) for token, probability in others]
                mass *= own[1]
        for probability, node, token in heapq.nlargest(self._max_nodes + 1 - len(tree), sides):
            tree.add(node, token, self._plan.name, probability)
        return tree
