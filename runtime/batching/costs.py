"""What a forward costs a text that shares it with others.

All texts of a batch wait for every forward. So a row that one of them adds costs as many times what it makes the forward longer as there
are texts, and the first row of each is charged the forward as the others would have it anyway. With the tokens that a text brings
itself, the trees that pay by these costs are those that pay for the batch as a whole.
"""

from __future__ import annotations

from typing import Any

from casspec.runtime.latency.predictor import LatencyPredictor
from casspec.runtime.model.forward_input import CONTEXT_STEP
from casspec.runtime.model.plan import Plan
from casspec.storage.schema import LatencyPoint

MEMORY = 0.9
"""Weight of the past in the rows that a text has in a forward."""


class BatchCosts:
    """Milliseconds by plan, rows and context, as `ForwardMs`; one for all texts of a batch.

    Attributes:
        version: another number says that costs are others than before.
    """

    def __init__(self, predictor: LatencyPredictor) -> None:
        self._predictor = predictor
        self._n_texts = 1
        self._rows: dict[str, float] = {}
        self._others: dict[str, int] = {}
        self._known: dict[tuple[str, int, int], float] = {}
        self.version = 0

    def __deepcopy__(self, memo: dict[int, Any]) -> BatchCosts:
        """Itself: all texts share it."""
        return self

    def share(self, n_texts: int) -> None:
        """From now on so many texts run."""
        if n_texts != self._n_texts:
            self._n_texts = n_texts
            self._known.clear()
            self._settle()

    def observe(self, plan: Plan, n_texts: int, n_rows: int) -> None:
        """A forward of `plan` had so many rows, of so many texts."""
        mean = n_rows / n_texts
        self._rows[plan.name] = MEMORY * self._rows.get(plan.name, mean) + (1 - MEMORY) * mean
        if self._others_of(plan.name) != self._others.get(plan.name):
            self._settle()

    def __call__(self, plan: Plan, n_tokens: int, context_tokens: int) -> float:
        """What `n_tokens` rows of one text cost it."""
        others = self._others.get(plan.name, self._n_texts - 1)
        first = self.forward_ms(plan, others + 1, context_tokens)
        if n_tokens == 1:
            return first
        return first + self._n_texts * (self.forward_ms(plan, others + n_tokens, context_tokens) - first)

    def forward_ms(self, plan: Plan, n_rows: int, context_tokens: int) -> float:
        """Of a forward with so many rows of all texts together, each after about as many tokens."""
        key = plan.name, n_rows, context_tokens // CONTEXT_STEP
        known = self._known.get(key)
        if known is None:
            n_texts = self._n_texts
            least, beyond = divmod(n_rows, n_texts)
            low = self._predicted(plan, max(least, 1), context_tokens)
            high = self._predicted(plan, max(least, 1) + 1, context_tokens) if beyond else low
            known = self._known[key] = low + (high - low) * beyond / n_texts
        return known

    def _predicted(self, plan: Plan, n_tokens: int, context_tokens: int) -> float:
        return self._predictor.predict_ms(
            LatencyPoint(
                subject="forward",
                n_attention=plan.n_attention,
                n_mlp=plan.n_mlp,
                precision=plan.precision,
                n_tokens=n_tokens,
                context_tokens=context_tokens,
                batch=self._n_texts,
            )
        )

    def _others_of(self, plan: str) -> int:
        """Rows of the other texts in a forward."""
        return round((self._n_texts - 1) * self._rows.get(plan, 1.0))

    def _settle(self) -> None:
        self._others = {plan: self._others_of(plan) for plan in self._rows}
        self.version += 1
