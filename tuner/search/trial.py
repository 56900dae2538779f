"""One trial of the search: how often the target agrees with a plan, and what a step costs.

Cost is known before anything runs, so recordings are raced: a plan that cannot reach the front at its cost is left
as soon as that is clear. It is compared, token by token, with the rival that it has to beat: what is hard in a text is
hard for both, so that one recording is often enough.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from math import sqrt
from statistics import stdev

import numpy as np

from casspec.runtime.latency.predictor import LatencyPredictor
from casspec.runtime.model.target import TargetModel
from casspec.storage.schema import DrafterCandidate, Quantization
from casspec.tuner.recordings.offline_acceptance import AcceptanceMeter, acceptance_by_depth
from casspec.tuner.search.plan_spec import PlanSpec

PAIRED_ERRORS = 2.5
"""Standard errors, over tokens, by which a plan must be behind its rival on the same tokens to be left."""

FEWEST_UNPAIRED = 4
UNPAIRED_ERRORS = 2.0
"""The same over recordings, and how many these are at least, where a rival's tokens are not known: another process evaluated it."""

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
        self._hits: dict[PlanSpec, list[np.ndarray]] = {}
        """By plan evaluated here, bool [tokens] a recording."""

    def step_ms(self, spec: PlanSpec) -> float:
        """Predicted time of one drafter step."""
        return self._latency.forward_ms(spec.plan(self._target.n_layers), 1, self._context_tokens)

    def cost(self, spec: PlanSpec) -> float:
        """Cost coefficient c: drafter step over target step."""
        return self.step_ms(spec) / self._step_ms

    def evaluate(
        self,
        spec: PlanSpec,
        source: str,
        rival: DrafterCandidate | None = None,
        recordings: int | None = None,
        profile_depths: bool = True,
    ) -> DrafterCandidate:
        """Scores recordings until done or until the plan is clearly behind its rival.

        The acceptance of one that was left is the rival's and the difference on the tokens that both were scored on: were these easy
        ones, the plan would else seem better than it is.

        Args:
            rival: what it has to beat. None: nothing.
            recordings: scored at most; None is all.
            profile_depths: measure the depth profile too of a plan that came through the race.
        """
        started = time.perf_counter()
        plan, hits = spec.plan(self._target.n_layers), list[np.ndarray]()
        theirs = None if rival is None else self._hits.get(PlanSpec.of(rival))
        mean = error = 0.0
        for index in range(len(self._meter.recordings))[:recordings]:
            hits.append(self._meter.first_token(plan, index).hits)
            mean, error = _mean_and_error([float(one.mean()) for one in hits])
            if rival is None:
                continue
            if theirs is not None:
                lead, lead_error = _lead(hits, theirs)
                if lead + PAIRED_ERRORS * lead_error < 0:
                    mean = max(rival.acceptance + lead, 0.0)
                    break
            elif len(hits) >= FEWEST_UNPAIRED and mean + UNPAIRED_ERRORS * error < rival.acceptance:
                break
        self._hits[spec] = hits
        to_beat = 0.0 if rival is None else rival.acceptance
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
            n_tokens=sum(map(len, hits)),
            seconds=time.perf_counter() - started,
        )


def _mean_and_error(shares: list[float]) -> tuple[float, float]:
    """Mean over recordings and its standard error."""
    mean = sum(shares) / len(shares)
    return mean, stdev(shares) / sqrt(len(shares)) if len(shares) > 1 else 0.0


def _lead(hits: Sequence[np.ndarray], theirs: Sequence[np.ndarray]) -> tuple[float, float]:
    """By how much more a plan is accepted than another on the recordings that both were scored on, and its standard error.

    Arrays are bool [tokens]. A token on which they differ is added, so that few tokens on which they happen to agree prove nothing.
    """
    both = zip(hits, theirs, strict=False)
    differences = np.concatenate([mine.astype(float) - other.astype(float) for mine, other in both])
    lead, n = float(differences.mean()), len(differences)
    variance = (float(np.square(differences).sum()) + 1) / n - lead**2
    return lead, sqrt(max(variance, 0.0) / n)
