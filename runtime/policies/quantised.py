"""A quantised plan alone: a chain drafted by the target with its linears in fewer bits (QSpec, arXiv 2410.11305, and relatives).

QSpec drafts with 4-bit weights and activations and verifies with 4-bit weights, in chains of 3. Here the target keeps its own
precision and the plan runs in `precision`; with a `drafter` it also leaves out what that plan of the profile leaves out.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Self

from casspec.runtime.model.plan import Plan
from casspec.runtime.policies.base import PolicyContext
from casspec.runtime.policies.layer_sparse import LayerSparse
from casspec.storage.errors import UnsupportedOption
from casspec.storage.schema import Precision, SkipSet

LOW_BIT = [precision.value for precision in Precision if precision is not Precision.TARGET]


class Quantised(LayerSparse):
    summary = "a chain drafted by the target with low-bit linears"

    def __init__(self, plan: Plan, n_tokens: int = 3, min_gap: float = 0.0) -> None:
        super().__init__(plan, n_tokens, min_gap)

    @classmethod
    def build(
        cls,
        context: PolicyContext,
        drafter: str = "",
        precision: str = Precision.INT8_DYNAMIC.value,
        **parameters: Any,
    ) -> Self:
        """`precision`: int8-dynamic or int4-weight. Raises UnsupportedOption for another, or where it cannot run."""
        if precision not in LOW_BIT:
            raise UnsupportedOption(f"method 'quantised' takes precision {' or '.join(LOW_BIT)}, not '{precision}'")
        wanted = Precision(precision)
        context.target.prepare(wanted)
        if not drafter:
            return cls(Plan.skipping(SkipSet(), context.target.n_layers, precision=wanted), **parameters)
        plan = context.plan(drafter)
        if plan.precision is not wanted:
            plan = replace(plan, name=f"{wanted.short}-{plan.name}", precision=wanted)
        return cls(plan, **parameters)
