"""What a forward costs a text that shares it with others.

All texts of a batch wait for every forward. So a row that one of them adds costs as many times what it makes the forward longer as there
are texts, and those that share a forward share what all wait for it. Against the tokens that a text brings itself, at the rate at which
the batch brings tokens, the trees that pay by these costs are those that pay for the batch as a whole.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from casspec.runtime.latency.correction import LEAST_SLOPE, LatencyCorrection
from casspec.runtime.latency.predictor import LatencyPredictor
from casspec.runtime.model.forward_input import CONTEXT_STEP
from casspec.runtime.model.plan import Plan

MEMORY = 0.9
"""Weight of the past in what is known of a plan's forwards."""

RATE_MEMORY = 0.98
"""Weight of the past in the rate, a round."""

START_ROUNDS = 10.0
"""Plain rounds that the belief in the first rate counts for."""

CORRECTED_EVERY = 16
"""Forwards after which what they took corrects what is predicted."""


class BatchCosts:
    """Milliseconds by plan, rows and context, as `ForwardMs`; one for all texts of a batch.

    Args:
        target_plan: the target's own plan.
        speedup: what so many texts are taken to gain over plain decoding before they have shown it.

    Attributes:
        version: another number says that costs are others than before.
        n_texts: that wait for whatever one of them does.
    """

    def __init__(
        self, predictor: LatencyPredictor, target_plan: Plan, speedup: Callable[[int], float] = lambda n_texts: 1.0
    ) -> None:
        self._predictor, self._target_plan, self._speedup = predictor, target_plan, speedup
        self._seen: dict[str, tuple[float, float]] = {}
        self._usual: dict[str, tuple[int, int]] = {}
        self._known: dict[tuple[str, int, int, int], float] = {}
        self._correction, self._n_ran = LatencyCorrection(target_plan.name), 0
        self._lines: dict[str, tuple[float, float]] = {}
        self._tokens = self._wait_ms = self._round_ms = 0.0
        self.n_texts = 1
        self.version = 0

    def __deepcopy__(self, memo: dict[int, Any]) -> BatchCosts:
        """Itself: all texts share it."""
        return self

    @property
    def rate(self) -> float | None:
        """Tokens a millisecond that one text waits, in the long run of the batch; None of one text alone, which knows its own."""
        return self._tokens / self._wait_ms if self._wait_ms and self.n_texts > 1 else None

    def share(self, n_texts: int) -> None:
        """From now on so many texts run."""
        if n_texts != self.n_texts:
            self.n_texts = n_texts
            self._usual.clear()
            self._tokens = self._wait_ms = 0.0  # found anew, where the first forward says at which context
            self.version += 1

    def observe(self, plan: Plan, n_texts: int, n_rows: int, context_tokens: int) -> None:
        """A forward of `plan` is shared by `n_texts` and has so many rows, after about so many tokens each."""
        share, mean = n_texts / self.n_texts, n_rows / n_texts
        old_share, old_mean = self._seen.get(plan.name, (1.0, mean))
        self._seen[plan.name] = (
            MEMORY * old_share + (1 - MEMORY) * share,
            MEMORY * old_mean + (1 - MEMORY) * mean,
        )
        if self._usually(plan.name) != self._usual.get(plan.name):
            self._usual[plan.name] = self._usually(plan.name)
            self.version += 1
        self._round_ms += self.forward_ms(plan, n_texts, n_rows, context_tokens)
        if not self._wait_ms:
            plain_ms = self.forward_ms(self._target_plan, self.n_texts, self.n_texts, context_tokens)
            self._tokens = START_ROUNDS * self.n_texts * self._speedup(self.n_texts)
            self._wait_ms = START_ROUNDS * self.n_texts * plain_ms

    def ran(self, plan: Plan, n_texts: int, n_rows: int, context_tokens: int, milliseconds: float) -> float:
        """That forward took so long; what was predicted, without correction."""
        predicted = self._predicted(plan, n_texts, n_rows, context_tokens)
        self._correction.observe(plan.name, predicted, milliseconds)
        self._n_ran += 1
        if self._n_ran % CORRECTED_EVERY == 0:
            self._correct()
        return predicted

    def end_round(self, n_tokens: int) -> None:
        """The forwards observed since the last round brought so many tokens; None of them counts where it is 0."""
        if n_tokens:
            self._tokens = self._tokens * RATE_MEMORY + n_tokens
            self._wait_ms = self._wait_ms * RATE_MEMORY + self.n_texts * self._round_ms
        self._round_ms = 0.0

    def __call__(self, plan: Plan, n_tokens: int, context_tokens: int) -> float:
        """What `n_tokens` rows of one text cost it, in time that all texts wait."""
        sharers, others = self._usual.get(plan.name) or self._usually(plan.name)
        least = self.forward_ms(plan, sharers, others + 1, context_tokens)
        first = least * self.n_texts / sharers
        if n_tokens == 1:
            return first
        return first + self.n_texts * (self.forward_ms(plan, sharers, others + n_tokens, context_tokens) - least)

    def forward_ms(self, plan: Plan, n_texts: int, n_rows: int, context_tokens: int) -> float:
        """Of a forward with so many rows of so many texts together, each after about as many tokens, as the machine runs plans now."""
        predicted = self._predicted(plan, n_texts, n_rows, context_tokens)
        slope, bias_ms = self._lines.get(plan.name, (1.0, 0.0))
        return max(slope * predicted + bias_ms, LEAST_SLOPE * predicted)

    def _predicted(self, plan: Plan, n_texts: int, n_rows: int, context_tokens: int) -> float:
        least, beyond = divmod(max(n_rows, n_texts), n_texts)
        low = self._alike(plan, n_texts, least, context_tokens)
        if not beyond:
            return low
        return low + (self._alike(plan, n_texts, least + 1, context_tokens) - low) * beyond / n_texts

    def _alike(self, plan: Plan, n_texts: int, n_tokens: int, context_tokens: int) -> float:
        """Of texts with as many rows each."""
        key = plan.name, n_texts, n_tokens, context_tokens // CONTEXT_STEP
        known = self._known.get(key)
        if known is None:
            point = self._predictor.forward_point(plan, n_tokens, context_tokens, n_texts)
            known = self._known[key] = self._predictor.predict_ms(point)
        return known

    def _correct(self) -> None:
        """A slowdown of everything changes no decision, so plans are corrected against the target's."""
        slowdown = self._correction.line(self._target_plan.name)[0]
        for name in self._seen:
            slope, bias_ms = self._correction.line(name)
            self._lines[name] = slope / slowdown, bias_ms / slowdown
        self.version += 1

    def _usually(self, plan: str) -> tuple[int, int]:
        """Texts that share a forward of a plan, one's own among them, and the rows of the others."""
        share, mean = self._seen.get(plan, (1.0, 1.0))
        sharers = max(1, round(share * self.n_texts))
        return sharers, round((sharers - 1) * mean)
