"""What the fixed cascades of CS-Drafting share: a plan of the target above, max-gram below."""

from __future__ import annotations

from typing import Any, Self

from casspec.runtime.decoding.sequence import Sequence
from casspec.runtime.drafters.max_gram import MaxGram
from casspec.runtime.drafters.token_recycling import RecyclingMatrix
from casspec.runtime.model.plan import Plan
from casspec.runtime.policies.base import Policy, PolicyContext, VerifyResult


class MaxGramCascade(Policy):
    """Keeps the bottom drafter's text up to date; subclasses draft."""

    def __init__(self, plan: Plan, matrix: RecyclingMatrix | None = None) -> None:
        self._plan = plan
        self._bottom = MaxGram(matrix)

    @classmethod
    def build(cls, context: PolicyContext, drafter: str = "", **parameters: Any) -> Self:
        return cls(context.plan(drafter), context.matrix, **parameters)

    def begin(self, sequence: Sequence) -> None:
        self._bottom.begin(sequence.tokens)

    def observe(self, sequence: Sequence, result: VerifyResult) -> None:
        self._bottom.extend(result.emitted)
