"""Vertical cascade: a self-drafter reviews max-gram's tokens until enough stand, then the target verifies (CS-Drafting, 2312.11462, 3.1).

So the plan never drafts token by token: each of its forwards judges a whole chain. Published (the authors' example): 5 reviewed
tokens, 10 drafted at a time, no lenience. A round may leave more than asked for; all of it is verified.
"""

from __future__ import annotations

from casspec.runtime.decoding.sequence import MAX_TREE_NODES, Sequence
from casspec.runtime.decoding.tree import CandidateTree
from casspec.runtime.drafters.review import vertical_round
from casspec.runtime.drafters.token_recycling import RecyclingMatrix
from casspec.runtime.model.plan import Plan
from casspec.runtime.policies.max_gram_cascade import MaxGramCascade


class Vertical(MaxGramCascade):
    summary = "a self-drafter reviews copied tokens before the target does"

    def __init__(
        self,
        plan: Plan,
        matrix: RecyclingMatrix | None = None,
        n_tokens: int = 5,
        n_drafted: int = 10,
        lenience: float = 1.0,
    ) -> None:
        """`n_tokens` reviewed tokens at least, out of drafts of `n_drafted`; `lenience` between these two only, 1 is none."""
        super().__init__(plan, matrix)
        self._n_tokens = n_tokens
        self._n_drafted = n_drafted
        self._lenience = lenience

    def draft(self, sequence: Sequence, max_depth: int) -> CandidateTree:
        tree, leaf, depth = CandidateTree(sequence.tokens[-1]), 0, min(max_depth, MAX_TREE_NODES - 1)
        while tree.depths[leaf] < min(self._n_tokens, depth):
            leaf, _ = vertical_round(
                sequence, tree, self._plan, self._bottom, leaf, self._n_drafted, depth, lenience=self._lenience
            )
        return tree
