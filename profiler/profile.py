"""The latency part of a calibration: design, measure, measure again, fit. Storage stays with the caller.

An interrupted run hands its stored samples back in and goes on with what is missing.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from statistics import median

from casspec.profiler.design import Design, design
from casspec.profiler.measure import Progress, Save, Schedule, measure, missing
from casspec.profiler.probes import Probes
from casspec.profiler.regression import latency_model
from casspec.profiler.timing import Timer, timer_for
from casspec.runtime.latency_features import shape_of
from casspec.runtime.target import TargetModel
from casspec.storage.schema import DeviceFingerprint, LatencyModel, LatencyPoint, LatencySample, Precision

BUDGET_SECONDS = 22.0
RETEST_POINTS = 12
RETEST_SHARE = 0.15
"""Of the budget."""


def _forget(_: LatencySample) -> None:
    """For callers that keep no second measurements."""


def profile_latency(
    target: TargetModel,
    device: DeviceFingerprint,
    stored: Sequence[LatencySample],
    save: Save,
    progress: Progress | None = None,
    budget_seconds: float = BUDGET_SECONDS,
    seed: int = 0,
    *,
    precisions: Sequence[Precision] = (),
    stored_retests: Sequence[LatencySample] = (),
    save_retest: Save = _forget,
    timer: Timer | None = None,
) -> LatencyModel:
    """Measures what is not stored yet, in about `budget_seconds` for a whole run, and fits the latency model.

    Args:
        device: with measured ceilings.
        stored, save: samples of an earlier run of the same seed, which ended early; receives each new sample.
        progress: called with (points done, points in all, note).
        precisions: those of plans to measure beside the target's own.
        stored_retests, save_retest: the same as `stored` and `save` for second measurements of a few points.
    """
    shape = _shape(target, device)
    timer = timer or timer_for(target.device)
    plan = design(target, seed, precisions=precisions)
    again = retest_points(plan, seed)
    probes = Probes(target, plan.points, seed)
    total = len(plan.points) + len(again)

    def complete(
        points: Sequence[LatencyPoint], known: Sequence[LatencySample], keep: Save, share: float, before: int
    ) -> list[LatencySample]:
        todo = missing(points, known)
        schedule = Schedule(
            budget_seconds=budget_seconds * share * len(todo) / len(points),
            seed=seed + len(known),
            first_order=1 + max((sample.order for sample in known), default=-1),
        )
        done = before + len(points) - len(todo)

        def report(count: int, _: int, note: str) -> None:
            if progress is not None:
                progress(done + count, total, note)

        report(0, total, "")
        return [*known, *measure(todo, probes.call, timer, schedule, keep, report)]

    samples = complete(plan.points, stored, save, 1 - RETEST_SHARE, 0)
    retests = complete(again, stored_retests, save_retest, RETEST_SHARE, len(plan.points))
    return latency_model(fitted_samples(samples, plan), shape, repeatability(samples, retests), seed)


def _shape(target: TargetModel, device: DeviceFingerprint) -> dict[str, float]:
    ceilings = device.ceilings
    if ceilings is None:
        raise ValueError("a latency model needs the device's measured ceilings, see casspec.profiler.device")
    tflops = ceilings.matmul_tflops[str(target.dtype).removeprefix("torch.")]
    return shape_of(target, ceilings.bandwidth_gb_per_s, tflops, ceilings.launch_us)


def fitted_samples(samples: Sequence[LatencySample], plan: Design) -> list[LatencySample]:
    """Those that may enter the fit, in the order of the design, so that a resumed run fits as an uninterrupted one."""
    by_point = {sample.point: sample for sample in samples}
    return [by_point[point] for point in plan.fitted]


def retest_points(plan: Design, seed: int = 0) -> list[LatencyPoint]:
    """Points of the design that are measured a second time, at the end of the run."""
    return random.Random(seed).sample(plan.fitted, min(RETEST_POINTS, len(plan.fitted)))


def repeatability(samples: Sequence[LatencySample], retests: Sequence[LatencySample]) -> float:
    """Median relative difference between two measurements of a point."""
    first = {sample.point: sample.measurement.median_ms for sample in samples}
    return median(abs(again.measurement.median_ms / first[again.point] - 1.0) for again in retests)
