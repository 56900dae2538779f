"""Layer sparsity alone: a chain drafted by the target itself with sub-layers skipped (Draft & Verify, SWIFT; CAS-Spec's DSIA).

Under sampling the drafter adds the same noise as the target, which raises agreement at no cost.
"""

from __future__ import annotations

from casspec.runtime.dsia import Plan
from casspec.runtime.policies.base import Outcome
from casspec.runtime.sequence import Sequence
from casspec.runtime.tree import CandidateTree


class LayerSparse:
    needs_top = False
    keeps_learned = False

    def __init__(self, plan: Plan, n_tokens: int = 4, min_gap: float = 0.0) -> None:
        """`min_gap`: nats between the two best perturbed scores under which a chain ends."""
        self._plan = plan
        self._n_tokens = n_tokens
        self._min_gap = min_gap

    def begin(self, sequence: Sequence) -> None:
        pass

    def draft(self, sequence: Sequence, max_depth: int) -> CandidateTree:
        tree, node = CandidateTree(sequence.tokens[-1]), 0
        for depth in range(min(self._n_tokens, max_depth)):
            scores = sequence.perturbed(sequence.draft(self._plan, tree, node), depth)
            if self._min_gap > 0:
                values, tokens = scores.topk(2)
                (best, second), token = values.tolist(), int(tokens[0])
                if best - second < self._min_gap:
                    break
            else:
                token = int(scores.argmax())
            node = tree.add(node, token, self._plan.name)
        return tree

    def observe(self, sequence: Sequence, outcome: Outcome) -> None:
        pass
