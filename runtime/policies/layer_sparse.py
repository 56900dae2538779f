"""Layer sparsity alone: a chain drafted by the target itself with sub-layers skipped (Draft & Verify, SWIFT; CAS-Spec's DSIA).

Under sampling the drafter adds the same noise as the target, which raises agreement at no cost.
"""

from __future__ import annotations

from typing import Any, Self

from casspec.runtime.decoding.sequence import Sequence
from casspec.runtime.decoding.tree import CandidateTree
from casspec.runtime.model.plan import Plan
from casspec.runtime.policies.base import Policy, PolicyContext


class LayerSparse(Policy):
    summary = "a chain drafted by the target with sub-layers skipped"

    def __init__(self, plan: Plan, n_tokens: int = 4, min_gap: float = 0.0) -> None:
        """`min_gap`: nats between the two best perturbed scores under which a chain ends."""
        self._plan = plan
        self._n_tokens = n_tokens
        self._min_gap = min_gap

    @classmethod
    def build(cls, context: PolicyContext, drafter: str = "", **parameters: Any) -> Self:
        return cls(context.plan(drafter), **parameters)

    def draft(self, sequence: Sequence, max_depth: int) -> CandidateTree:
        tree, node = CandidateTree(sequence.tokens[-1]), 0
        for _ in range(min(self._n_tokens, max_depth)):
            (proposal,) = sequence.propose(self._plan, tree, [node])
            if proposal.gap < self._min_gap:
                break
            node = tree.add(node, proposal.tokens[0], self._plan.name)
        return tree
