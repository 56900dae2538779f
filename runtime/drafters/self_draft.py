"""The target as its own drafter: a plan (sub-layers skipped, linears in fewer bits) proposes the tokens it would emit itself.

Under sampling the plan's scores carry the same noise as the target's, log q~ + g, so that its best tokens follow the target's sample
(`runtime/decoding/noise.py`). One forward serves any number of nodes: siblings, a whole retrieved tree under review, or the end of a chain.
"""

from __future__ import annotations

from casspec.runtime.decoding.sequence import Proposal, Sequence
from casspec.runtime.decoding.tree import CandidateTree
from casspec.runtime.model.plan import Plan


class SelfDraft:
    """A plan that drafts."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.name = plan.name

    def propose(
        self, sequence: Sequence, tree: CandidateTree, nodes: list[int], width: int = 1, probabilities: bool = False
    ) -> list[Proposal]:
        """One forward of the plan; the `width` best tokens after each of `nodes`.

        Args:
            probabilities: also the plan's own probability of each, what published confidence thresholds are about.
        """
        return sequence.propose(self.plan, tree, nodes, width, probabilities)
