"""One trial of the search: how often the target agrees with a plan, and what a step costs.

Cost is known before anything runs, so recordings are raced: a plan that cannot reach the front at its cost is left
after a few of them, and what was measured until then is its result.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from math import sqrt
from statistics import stdev

from casspec.runtime.latency.predictor import LatencyPredictor
from casspec.runtime.model.target import TargetModel
from casspec.storage.schema import DrafterCandidate, Quantization
from casspec.tuner.recordings.offline_acceptance import AcceptanceMeter, acceptance_by_depth
from casspec.tuner.search.plan_spec import PlanSpec

FEWEST_RACED = 4
RACE_ERRORS = 2.0
"""Standard errors by which a plan must be behind to be left."""

PROFILED_ONE_IN = 10
"""Recordings to one of a trial's depth profile: it takes a forward more. What gets as far as the cascade is measured on all."""


class CandidateEvaluator:
    """Evaluates plans on the recordings of `meter`; recordings should come in an order that mixes tasks.

    Args:
        offered: precisions besides the target's own that are worth searching on this device.

    Attributes:
        precisions: those a plan may have, the target's own first.
    """

    def __init__(
        self,
        target: TargetModel,
        meter: AcceptanceMeter,
        latency: LatencyPredictor,
        context_tokens: int,
        offered: Sequence[Quantization] = (),
    ) -> None:
        self._target = target
        self._meter = meter
        self._latency = latency
        self._context_tokens = context_tokens
        self._quantizations = {quantization.precision: quantization for quantization in (Quantization(), *offered)}
        self._step_ms = latency.forward_ms(target.full_plan, 1, context_tokens)
        self.precisions = tuple(self._quantizations)

    def step_ms(self, spec: PlanSpec) -> float:
        """Predicted time of one drafter step."""
        return self._latency.forward_ms(spec.plan(self._target.n_layers), 1, self._context_tokens)

    def cost(self, spec: PlanSpec) -> float:
        """Cost coefficient c: drafter step over target step."""
        return self.step_ms(spec) / self._step_ms

    def evaluate(
        self, spec: PlanSpec, source: str, to_beat: float = 0.0, profile_depths: bool = True
    ) -> DrafterCandidate:
        """Scores recordings until done or until the plan's acceptance is clearly below `to_beat`.

        `profile_depths`: measure the depth profile too of a plan that came through the race.
        """
        started = time.perf_counter()
        plan, shares, n_tokens = spec.plan(self._target.n_layers), [], 0
        for index in range(len(self._meter.recordings)):
            hits = self._meter.first_token(plan, index).hits
            shares.append(float(hits.mean()))
            n_tokens += len(hits)
            mean, error = _mean_and_error(shares)
            if len(shares) >= FEWEST_RACED and mean + RACE_ERRORS * error < to_beat:
                break
        by_depth: tuple[float, ...] = ()
        trials: tuple[int, ...] = ()
        if profile_depths and mean > to_beat:
            profiled = range(0, len(self._meter.recordings), PROFILED_ONE_IN)
            traces = [self._meter.depth_profile(plan, index) for index in profiled]
            by_depth, trials = acceptance_by_depth(traces, self._meter.block)
        return DrafterCandidate(
            skip=spec.skip,
            quantization=self._quantizations[spec.precision],
            source=source,
            acceptance=mean,
            acceptance_by_depth=by_depth,
            trials_by_depth=trials,
            acceptance_spread=error,
            cost=self.cost(spec),
            step_ms=self.step_ms(spec),
            n_tokens=n_tokens,
            seconds=time.perf_counter() - started,
        )


def _mean_and_error(shares: list[float]) -> tuple[float, float]:
    """Mean over recordings and its standard error."""
    mean = sum(shares) / len(shares)
    return mean, stdev(shares) / sqrt(len(shares)) if len(shares) > 1 else 0.0
