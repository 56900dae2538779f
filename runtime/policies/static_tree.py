"""A fixed tree over a self-drafter (Medusa, arXiv 2401.10774, section 2.3.3; SWIFT's fixed variant), drafted level by level.

Published: 63 nodes, 5 deep, of the 10 best tokens a node. The published layout was made from the accuracies of Medusa's trained
heads and is not reproduced; ours follows the same rule, the most probable nodes by rank acceptance. A level costs one masked forward.
"""

from __future__ import annotations

from typing import Any, Self

from casspec.runtime.decoding.sequence import Sequence
from casspec.runtime.decoding.tree import CandidateTree
from casspec.runtime.drafters.layouts import grow, levels, self_rank_acceptance, static_layout
from casspec.runtime.model.plan import Plan
from casspec.runtime.policies.base import Policy, PolicyContext

BUILTIN_ACCEPTANCE = 0.6
"""Of a plan's best token, where the profile does not say."""


def first_acceptance(context: PolicyContext, plan: Plan) -> float:
    """Offline acceptance of the plan's best token."""
    specs = [spec for held, spec in context.self_drafters() if held == plan]
    return float(specs[0].parameters.get("acceptance", BUILTIN_ACCEPTANCE)) if specs else BUILTIN_ACCEPTANCE


class StaticTree(Policy):
    """One layout for every step.

    Args:
        acceptance: of the plan's best token, what the layout is made for.
        n_nodes, max_depth, width: bounds of the layout; the root does not count.
    """

    summary = "a fixed tree over a plan, one forward a level"

    def __init__(
        self,
        plan: Plan,
        acceptance: float = BUILTIN_ACCEPTANCE,
        n_nodes: int = 63,
        max_depth: int = 5,
        width: int = 10,
    ) -> None:
        self._plan = plan
        self._levels = levels(static_layout(n_nodes, max_depth, self_rank_acceptance(acceptance, width)))

    @classmethod
    def build(cls, context: PolicyContext, drafter: str = "", **parameters: Any) -> Self:
        plan = context.plan(drafter)
        return cls(plan, **{"acceptance": first_acceptance(context, plan)} | parameters)

    def draft(self, sequence: Sequence, max_depth: int) -> CandidateTree:
        tree = CandidateTree(sequence.tokens[-1])
        grow(self._plan, sequence, tree, self._levels[:max_depth])
        return tree
