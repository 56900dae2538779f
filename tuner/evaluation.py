"""One trial of the search: how often the target agrees with a plan, and what a step costs.

Cost is known before anything runs, so recordings are raced: a plan that cannot reach the front at its cost is left
after a few of them, and what was measured until then is its result.
"""

from __future__ import annotations

import time
from math import sqrt
from statistics import stdev

from casspec.runtime.dsia import Plan
from casspec.runtime.latency import LatencyPredictor
from casspec.runtime.target import TargetModel
from casspec.storage.schema import DrafterCandidate, SkipSet
from casspec.tuner.acceptance import AcceptanceMeter, acceptance_by_depth

FEWEST_RACED = 4
RACE_ERRORS = 2.0
"""Standard errors by which a plan must be behind to be left."""

MOST_PROFILED = 4
"""Recordings of a trial's depth profile; those that get as far as the cascade are measured on all."""


class CandidateEvaluator:
    """Evaluates skip sets on the recordings of `meter`; recordings should come in an order that mixes tasks."""

    def __init__(
        self, target: TargetModel, meter: AcceptanceMeter, latency: LatencyPredictor, context_tokens: int
    ) -> None:
        self._target = target
        self._meter = meter
        self._latency = latency
        self._context_tokens = context_tokens
        self._step_ms = latency.forward_ms(target.full_plan, 1, context_tokens)

    def plan(self, skip: SkipSet) -> Plan:
        return Plan.skipping(skip, self._target.n_layers)

    def step_ms(self, skip: SkipSet) -> float:
        """Predicted time of one drafter step."""
        return self._latency.forward_ms(self.plan(skip), 1, self._context_tokens)

    def cost(self, skip: SkipSet) -> float:
        """Cost coefficient c: drafter step over target step."""
        return self.step_ms(skip) / self._step_ms

    def evaluate(
        self, skip: SkipSet, source: str, to_beat: float = 0.0, profile_depths: bool = True
    ) -> DrafterCandidate:
        """Scores recordings until done or until the plan's acceptance is clearly below `to_beat`.

        `profile_depths`: measure the depth profile too of a plan that came through the race.
        """
        started = time.perf_counter()
        plan, shares, n_tokens = self.plan(skip), [], 0
        for index in range(len(self._meter.recordings)):
            hits = self._meter.first_token(plan, index).hits
            shares.append(float(hits.mean()))
            n_tokens += len(hits)
            mean, error = _mean_and_error(shares)
            if len(shares) >= FEWEST_RACED and mean + RACE_ERRORS * error < to_beat:
                break
        depths: tuple[float, ...] = ()
        if profile_depths and mean > to_beat:
            profiled = range(min(MOST_PROFILED, len(self._meter.recordings)))
            traces = [self._meter.depth_profile(plan, index) for index in profiled]
            depths = acceptance_by_depth(traces, self._meter.block)
        return DrafterCandidate(
            skip=skip,
            source=source,
            acceptance=mean,
            acceptance_by_depth=depths,
            acceptance_spread=error,
            cost=self.cost(skip),
            step_ms=self.step_ms(skip),
            n_tokens=n_tokens,
            seconds=time.perf_counter() - started,
        )


def _mean_and_error(shares: list[float]) -> tuple[float, float]:
    """Mean over recordings and its standard error."""
    mean = sum(shares) / len(shares)
    return mean, stdev(shares) / sqrt(len(shares)) if len(shares) > 1 else 0.0
