"""What a forward costs a text that shares it with others.

All texts of a batch wait for every forward. So a row that one of them adds costs as many times what it makes the forward longer as there
are texts, and those that share a forward share what all wait for it. Against the tokens that a text brings itself, the trees that pay
by these costs are those that pay for the batch as a whole.
"""

from __future__ import annotations

from typing import Any

from casspec.runtime.latency.predictor import LatencyPredictor
from casspec.runtime.model.forward_input import CONTEXT_STEP
from casspec.runtime.model.plan import Plan

MEMORY = 0.9
"""Weight of the past in what is known of a plan's forwards."""


class BatchCosts:
    """Milliseconds by plan, rows and context, as `ForwardMs`; one for all texts of a batch.

    Attributes:
        version: another number says that costs are others than before.
    """

    def __init__(self, predictor: LatencyPredictor) -> None:
        self._predictor = predictor
        self._n_texts = 1
        self._seen: dict[str, tuple[float, float]] = {}
        self._usual: dict[str, tuple[int, int]] = {}
        self._known: dict[tuple[str, int, int, int], float] = {}
        self.version = 0

    def __deepcopy__(self, memo: dict[int, Any]) -> BatchCosts:
        """Itself: all texts share it."""
        return self

    def share(self, n_texts: int) -> None:
        """From now on so many texts run."""
        if n_texts != self._n_texts:
            self._n_texts = n_texts
            self._usual.clear()
            self.version += 1

    def observe(self, plan: Plan, n_texts: int, n_rows: int) -> None:
        """A forward of `plan` was shared by `n_texts` and had so many rows."""
        share, mean = n_texts / self._n_texts, n_rows / n_texts
        old_share, old_mean = self._seen.get(plan.name, (1.0, mean))
        self._seen[plan.name] = (
            MEMORY * old_share + (1 - MEMORY) * share,
            MEMORY * old_mean + (1 - MEMORY) * mean,
        )
        if self._usually(plan.name) != self._usual.get(plan.name):
            self._usual[plan.name] = self._usually(plan.name)
            self.version += 1

    def __call__(self, plan: Plan, n_tokens: int, context_tokens: int) -> float:
        """What `n_tokens` rows of one text cost it, in time that all texts wait."""
        sharers, others = self._usual.get(plan.name) or self._usually(plan.name)
        least = self.forward_ms(plan, sharers, others + 1, context_tokens)
        first = least * self._n_texts / sharers
        if n_tokens == 1:
            return first
        return first + self._n_texts * (self.forward_ms(plan, sharers, others + n_tokens, context_tokens) - least)

    def forward_ms(self, plan: Plan, n_texts: int, n_rows: int, context_tokens: int) -> float:
        """Of a forward with so many rows of so many texts together, each after about as many tokens."""
        key = plan.name, n_texts, n_rows, context_tokens // CONTEXT_STEP
        known = self._known.get(key)
        if known is None:
            least, beyond = divmod(max(n_rows, n_texts), n_texts)
            low = self._predicted(plan, n_texts, least, context_tokens)
            high = self._predicted(plan, n_texts, least + 1, context_tokens) if beyond else low
            known = self._known[key] = low + (high - low) * beyond / n_texts
        return known

    def _predicted(self, plan: Plan, n_texts: int, n_tokens: int, context_tokens: int) -> float:
        return self._predictor.predict_ms(self._predictor.forward_point(plan, n_tokens, context_tokens, n_texts))

    def _usually(self, plan: str) -> tuple[int, int]:
        """Texts that share a forward of a plan, one's own among them, and the rows of the others."""
        share, mean = self._seen.get(plan, (1.0, 1.0))
        sharers = max(1, round(share * self._n_texts))
        return sharers, round((sharers - 1) * mean)
