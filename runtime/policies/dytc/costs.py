"""What forwards cost a step of DyTC: predicted milliseconds as the machine runs now, and tokens at the long-run rate R.

Whatever is weighed against the tokens it may bring is charged R times its time (renewal-rate rule). A slowdown of everything changes
no decision, so all times are taken over the target's present slowdown.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, field

import numpy as np

from casspec.runtime.decoding.sequence import Sequence
from casspec.runtime.latency.correction import LatencyCorrection
from casspec.runtime.model.forward_input import CONTEXT_STEP, QUERY_BUCKETS
from casspec.runtime.model.plan import Plan
from casspec.runtime.policies.base import ForwardMs

START_STEPS = 10.0
"""Autoregressive steps the belief in the start rate counts for."""


@dataclass(frozen=True, slots=True)
class CostCurve:
    """What a forward costs by its rows, in tokens: R times milliseconds at each query bucket.

    Attributes:
        table: both as one array [2, buckets], for compiled functions.
    """

    buckets: list[int]
    costs: list[float]
    table: np.ndarray = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "table", np.array((self.buckets, self.costs), np.float64))

    def place(self, rows: int) -> int:
        """Index of the bucket that holds `rows`, the last one past it."""
        return min(bisect_left(self.buckets, rows), len(self.buckets) - 1)

    def of(self, rows: int) -> float:
        return self.costs[self.place(rows)]


class Costs:
    """Of one text's forwards.

    Args:
        target_plan: the target's own plan. forward_ms: latency prediction.
        rate_decay: weight of the past in R. start_speedup: R starts at this many times the autoregressive rate.
        corrects: follow what forwards really take, see `runtime/latency/correction.py`.
        follows_rate: False compares with autoregressive steps, whatever was emitted.

    Attributes:
        rate: R of the step, tokens/ms; where forwards are shared that of all texts that share them (`forward_ms.rate`).
    """

    def __init__(
        self,
        target_plan: Plan,
        forward_ms: ForwardMs,
        rate_decay: float,
        start_speedup: float,
        corrects: bool,
        follows_rate: bool = True,
    ) -> None:
        self._target_plan = target_plan
        self._forward_ms = forward_ms
        self._rate_decay = rate_decay
        self._start_speedup = start_speedup
        self._corrects = corrects
        self._follows_rate = follows_rate
        self._correction = LatencyCorrection(target_plan.name)  # of the machine, so it outlives a text
        # Buckets and predictions by plan, at this context.
        self._latencies: dict[str, tuple[list[int], list[float]]] = {}
        self._context_step = -1, 0
        self._slowdown = 1.0
        self._rate_tokens = self._rate_ms = self.rate = 1.0

    def begin(self, context: int) -> None:
        """A new text of `context` committed rows."""
        self._slowdown = 1.0
        self._context_step = -1, 0  # the last text looked costs up at another place in the step
        self._rate_tokens = START_STEPS * self._start_speedup
        self._rate_ms = START_STEPS * self._forward_ms(self._target_plan, 1, context)

    def begin_step(self, context: int) -> None:
        """Nothing is learned before the step is verified, so slowdown and R stay what they are now."""
        self._slowdown = self._correction.line(self._target_plan.name)[0]
        if self._follows_rate:
            self.rate = getattr(self._forward_ms, "rate", None) or self._rate_tokens / self._rate_ms
        else:
            self.rate = 1.0 / self._forward_ms(self._target_plan, 1, context)

    @property
    def waiting(self) -> int:
        """Texts that wait while this one works: itself, and those that share its forwards."""
        return getattr(self._forward_ms, "n_texts", 1)

    def verification(self, most_rows: int, context: int) -> CostCurve:
        """Of the target's forward; free where R is not followed."""
        return self.curve(self._target_plan, most_rows, context, self.rate if self._follows_rate else 0.0)

    def curve(self, plan: Plan, most_rows: int, context: int, rate: float | None = None) -> CostCurve:
        """R (or `rate`) times the cost of a forward of `plan` at each bucket up to `most_rows`.

        Latencies are looked up anew when the context enters another step, or costs have changed (`version`, where they have one).
        """
        step = context // CONTEXT_STEP, getattr(self._forward_ms, "version", 0)
        if step != self._context_step:
            self._context_step = step
            self._latencies.clear()
        known = self._latencies.get(plan.name)
        if known is None:
            sizes = [size for size in QUERY_BUCKETS if size <= most_rows]
            known = self._latencies[plan.name] = sizes, [self._forward_ms(plan, size, context) for size in sizes]
        buckets, predicted = known
        scale = (self.rate if rate is None else rate) / self._slowdown
        return CostCurve(buckets, [scale * cost for cost in self._correction.corrected_curve(plan.name, predicted)])

    def observe(self, sequence: Sequence, n_nodes: int, n_emitted: int, draft_ms: float) -> None:
        """A step that verified `n_nodes` and emitted `n_emitted` tokens, after drafting for `draft_ms` by prediction."""
        predicted = self._forward_ms(self._target_plan, n_nodes, sequence.committed)
        verify_ms = self._correction.corrected_ms(self._target_plan.name, predicted) / self._slowdown
        self._rate_tokens = self._rate_tokens * self._rate_decay + n_emitted
        self._rate_ms = self._rate_ms * self._rate_decay + (draft_ms + verify_ms)
        if self._corrects:
            for ran in sequence.recent_forwards():
                expected = self._forward_ms(ran.plan, ran.n_tokens, ran.context_tokens)
                self._correction.observe(ran.plan.name, expected, ran.milliseconds)
