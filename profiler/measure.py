"""Measures points in shuffled rounds, so that a slow moment of the machine falls on all points alike.

Points are taken in blocks. In a block every round visits every point once, in another order: a call to bring its
weights and kernels back, then a few timed ones. When a block ends its points are handed to the caller, one sample each,
so that an interrupted run loses a block at most and a resumed one measures what is missing.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from statistics import median

from casspec.profiler.timing import Call, Timer, is_disturbed
from casspec.storage.schema import LatencyPoint, LatencySample, Measurement

BLOCK_POINTS = 32
CALLS_PER_VISIT = 3
MIN_ROUNDS = 3
MAX_ROUNDS = 12
REPETITIONS_OF_DISTURBED = 2
FEWEST_CALLS_A_POINT = 1 + MIN_ROUNDS * (1 + CALLS_PER_VISIT)
"""Forwards of a point when the budget is short and nothing disturbs them."""

Save = Callable[[LatencySample], object]
Progress = Callable[[int, int, str], None]
"""Called with points done, points in all, and a note."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """How long and in which order to measure."""

    budget_seconds: float
    seed: int = 0
    first_order: int = 0
    """Place in the run of the first sample."""


def measure(
    points: Sequence[LatencyPoint],
    call_for: Callable[[LatencyPoint], Call],
    timer: Timer,
    schedule: Schedule,
    save: Save,
    progress: Progress,
) -> list[LatencySample]:
    """Measures all points within about the budget (never fewer than MIN_ROUNDS rounds) and saves each once.

    `call_for` gives the call a point stands for; it is asked once a point.
    """
    dice = random.Random(schedule.seed)
    shuffled = dice.sample(list(points), len(points))
    deadline = timer.now_s() + schedule.budget_seconds
    samples: list[LatencySample] = []
    for start in range(0, len(shuffled), BLOCK_POINTS):
        block = shuffled[start : start + BLOCK_POINTS]
        share = len(block) / (len(shuffled) - start)
        end = timer.now_s() + share * (deadline - timer.now_s())
        for point, values in _measure_block(block, call_for, timer, end, dice).items():
            order = schedule.first_order + len(samples)
            sample = LatencySample(point=point, measurement=Measurement(values=tuple(values)), order=order)
            save(sample)
            samples.append(sample)
        progress(len(samples), len(points), f"{block[-1].subject}, {block[-1].n_tokens} tokens")
    return samples


def missing(points: Iterable[LatencyPoint], stored: Iterable[LatencySample]) -> list[LatencyPoint]:
    """Points without a stored sample."""
    measured = {sample.point for sample in stored}
    return [point for point in points if point not in measured]


def _measure_block(
    block: Sequence[LatencyPoint],
    call_for: Callable[[LatencyPoint], Call],
    timer: Timer,
    end_s: float,
    dice: random.Random,
) -> dict[LatencyPoint, list[float]]:
    calls = {point: call_for(point) for point in block}
    for call in calls.values():
        timer.time_ms(call, 1)
    values: dict[LatencyPoint, list[float]] = {point: [] for point in block}
    for round_index in range(MAX_ROUNDS):
        if round_index >= MIN_ROUNDS and timer.now_s() >= end_s:
            break
        for point in dice.sample(list(block), len(block)):
            values[point] += _visit(calls[point], timer, values[point])
    return values


def _visit(call: Call, timer: Timer, earlier: Sequence[float]) -> list[float]:
    """Times of one visit in milliseconds; repeated a few times while it stands out from earlier ones."""
    for _ in range(REPETITIONS_OF_DISTURBED + 1):
        timer.time_ms(call, 1)
        times = timer.time_ms(call, CALLS_PER_VISIT)
        if not is_disturbed(median(times), earlier):
            break
    return times
