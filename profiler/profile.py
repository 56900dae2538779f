"""The latency part of a calibration: design, measure, measure where unsure, measure again, fit. Storage stays with the caller.

An interrupted run hands its stored samples back in and goes on with what is missing.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median

from casspec.profiler.design import LARGEST_CONTEXT, Design, design, estimate_seconds
from casspec.profiler.fit.validation import latency_model
from casspec.profiler.measure import (
    BLOCK_POINTS,
    FEWEST_CALLS_A_POINT,
    MIN_ROUNDS,
    Save,
    Schedule,
    measure,
    missing,
)
from casspec.profiler.probes import Probes
from casspec.profiler.progress import Progress, silent
from casspec.profiler.refinement import REFINING_POINTS, refining_points
from casspec.profiler.slowdown import Anchors, anchors_of, at_median_slowdown, steady_ms
from casspec.profiler.timing import Timer, timer_for
from casspec.runtime.latency.features import shape_of
from casspec.runtime.latency.predictor import builtin_latency
from casspec.runtime.model.target import TargetModel
from casspec.storage.schema import DeviceFingerprint, LatencyModel, LatencyPoint, LatencySample, Precision

PROFILE_SECONDS = 22.0
RETEST_POINTS = 12
RETEST_SHARE = 0.12
REFINING_SHARE = 0.12
"""Of the budget."""


@dataclass(frozen=True, slots=True)
class Scope:
    """What a profile covers beside the target's own forwards at batch 1."""

    largest_context: int = LARGEST_CONTEXT
    precisions: tuple[Precision, ...] = ()
    batches: Mapping[int, int] = field(default_factory=dict)
    """Batches beyond 1, each with the largest number of cache rows a sequence of it may have."""

    def design(self, target: TargetModel, seed: int = 0) -> Design:
        return design(target, seed, self.largest_context, self.precisions, self.batches)


def _forget(_: LatencySample) -> None:
    """For callers that keep no second measurements."""


def profile_latency(
    target: TargetModel,
    device: DeviceFingerprint,
    stored: Sequence[LatencySample],
    save: Save,
    progress: Progress = silent,
    budget_seconds: float = PROFILE_SECONDS,
    seed: int = 0,
    *,
    scope: Scope | None = None,
    least_rounds: int = MIN_ROUNDS,
    stored_retests: Sequence[LatencySample] = (),
    save_retest: Save = _forget,
    timer: Timer | None = None,
) -> LatencyModel:
    """Measures what is not stored yet, in about `budget_seconds` for a whole run, and fits the latency model.

    Args:
        device: with measured ceilings.
        stored, save: samples of an earlier run of the same seed, which ended early; receives each new sample.
        progress: called with (points done, points in all, note).
        least_rounds: of measurements of a point, however short the budget is.
        stored_retests, save_retest: the same as `stored` and `save` for second measurements of a few points.
    """
    shape = _shape(target, device)
    timer = timer or timer_for(target.device)
    plan = (scope or Scope()).design(target, seed)
    again = retest_points(plan, seed)
    probes = Probes(target, plan.points, seed)
    anchors = Anchors(anchors_of(plan.fitted), stored)
    n_points = len(plan.points) + REFINING_POINTS + len(again)

    def complete(
        points: Sequence[LatencyPoint], known: Sequence[LatencySample], keep: Save, share: float, before: int
    ) -> list[LatencySample]:
        """Samples of all `points`: those known, and new ones in the share of the budget their number deserves."""
        todo = missing(points, known)
        schedule = Schedule(
            budget_seconds=budget_seconds * share * len(todo) / max(len(points), 1),
            seed=seed + len(known),
            first_order=1 + max((sample.order for sample in known), default=-1),
            least_rounds=least_rounds,
        )
        done = before + len(points) - len(todo)

        def shifted(done_here: int, total: int | None = None, note: str = "") -> None:
            progress(done + done_here, n_points, note)

        shifted(0)
        return [*known, *measure(todo, probes.call, timer, schedule, keep, shifted, anchors)]

    samples = complete(plan.points, stored, save, 1 - RETEST_SHARE - REFINING_SHARE, 0)
    refining = refining_points(at_median_slowdown(_chosen(samples, plan.fitted)), shape, plan, seed)
    samples = complete(refining, samples, save, REFINING_SHARE, len(plan.points))
    retests = complete(again, stored_retests, save_retest, RETEST_SHARE, len(plan.points) + len(refining))
    fitted = fitted_samples(samples, plan)
    return latency_model(fitted, shape, repeatability(samples, retests), seed)


def _shape(target: TargetModel, device: DeviceFingerprint) -> dict[str, float]:
    ceilings = device.ceilings
    if ceilings is None:
        raise ValueError("a latency model needs the device's measured ceilings, see casspec.profiler.device")
    tflops = ceilings.matmul_tflops[target.dtype_name]
    return shape_of(target, ceilings.bandwidth_gb_per_s, tflops, ceilings.launch_us)


def fitted_samples(samples: Sequence[LatencySample], plan: Design) -> list[LatencySample]:
    """Those that may enter the fit, at the median slowdown, in one order, so that a resumed run fits as an uninterrupted one."""
    even = {sample.point: sample for sample in at_median_slowdown(samples)}
    designed, held_out = dict.fromkeys(plan.fitted), set(plan.held_out)
    added = sorted(even.keys() - designed.keys() - held_out, key=LatencyPoint.canonical_json)
    return [even[point] for point in (*designed, *added) if point in even]


def held_out_samples(samples: Sequence[LatencySample], plan: Design) -> list[LatencySample]:
    """Those kept out of the fit, at the same slowdown as `fitted_samples`."""
    return _chosen(at_median_slowdown(samples), plan.held_out)


def _chosen(samples: Sequence[LatencySample], points: Collection[LatencyPoint]) -> list[LatencySample]:
    by_point = {sample.point: sample for sample in samples}
    return [by_point[point] for point in points if point in by_point]


def fewest_seconds(plan: Design, target: TargetModel) -> float:
    """What a run takes at the very least, by the built-in latency model: a rough guess."""
    points, anchors = plan.points, anchors_of(plan.fitted)
    once = estimate_seconds(points, builtin_latency(target), FEWEST_CALLS_A_POINT)
    with_anchors = estimate_seconds(anchors, builtin_latency(target), FEWEST_CALLS_A_POINT)
    again = (REFINING_POINTS + RETEST_POINTS) / len(points)
    return once * (1 + again) + with_anchors * (2 + len(points) // BLOCK_POINTS)


def retest_points(plan: Design, seed: int = 0) -> list[LatencyPoint]:
    """Points of the design that are measured a second time, at the end of the run."""
    return random.Random(seed).sample(plan.fitted, min(RETEST_POINTS, len(plan.fitted)))


def repeatability(samples: Sequence[LatencySample], retests: Sequence[LatencySample]) -> float:
    """Median relative difference between two measurements of a point, each at its block's slowdown."""
    first = {sample.point: steady_ms(sample) for sample in samples}
    return median(abs(steady_ms(again) / first[again.point] - 1.0) for again in retests)
