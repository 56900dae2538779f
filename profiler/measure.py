"""Measures points in shuffled rounds, so that a slow moment of the machine falls on all points alike.

Points are taken in blocks. In a block every round visits every point once, and the anchors that tell the machine's slowdown, in another
order: a call to bring its weights and kernels back, then a timed one. A long call brings them back many times over, so it is the timed
one. What disturbs that would disturb a second one beside it, so that time is spent on rounds instead. A visit or a whole round that
stands out is repeated. When a block ends its points are handed to the caller, one sample each, so that an interrupted run loses a block
at most and a resumed one measures what is missing.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from casspec.profiler.progress import Progress
from casspec.profiler.slowdown import Anchors
from casspec.profiler.timing import Call, Timer, is_disturbed
from casspec.storage.schema import LatencyPoint, LatencySample, Measurement

BLOCK_POINTS = 40
MIN_ROUNDS = 3
MAX_ROUNDS = 16
REPETITIONS_OF_DISTURBED = 2
SLOW_ROUND = 1.2
"""A round in which points take this many times what they usually take was disturbed as a whole."""

LONG_CALL_MS = 100.0
"""A call that takes so long is timed as it comes: to find weights and kernels takes a hundredth of it at most."""

FEWEST_CALLS_A_POINT = MIN_ROUNDS * 2
"""Forwards of a point when the budget is short and nothing disturbs them."""

Visits = dict[LatencyPoint, float]
"""Milliseconds of the timed call of each point in a round."""

Save = Callable[[LatencySample], object]


@dataclass(frozen=True, slots=True)
class Schedule:
    """How long and in which order to measure."""

    budget_seconds: float
    seed: int = 0
    first_order: int = 0
    """Place in the run of the first sample."""
    least_rounds: int = MIN_ROUNDS
    """However short the budget is."""


def measure(
    points: Sequence[LatencyPoint],
    call_for: Callable[[LatencyPoint], Call],
    timer: Timer,
    schedule: Schedule,
    save: Save,
    progress: Progress,
    anchors: Anchors | None = None,
) -> list[LatencySample]:
    """Measures all points within about the budget (never fewer than `least_rounds` rounds) and saves each once.

    `call_for` gives the call a point stands for; it is asked once a point and block. `anchors` are measured with every block, and
    first where they are among the points; without any every sample has slowdown 1.
    """
    anchors = anchors or Anchors(())
    dice = random.Random(schedule.seed)
    shuffled = dice.sample(list(points), len(points))
    shuffled.sort(key=lambda point: point not in anchors.points)
    deadline = timer.now_s() + schedule.budget_seconds
    samples: list[LatencySample] = []
    for start in range(0, len(shuffled), BLOCK_POINTS):
        block = shuffled[start : start + BLOCK_POINTS]
        share = len(block) / (len(shuffled) - start)
        end = timer.now_s() + share * (deadline - timer.now_s())
        values = _measure_block(
            dict.fromkeys((*block, *anchors.points)), call_for, timer, end, schedule.least_rounds, dice
        )
        slowdown = anchors.slowdown({point: median(times) for point, times in values.items()})
        for point in block:
            sample = LatencySample(
                point=point,
                measurement=Measurement(values=tuple(values[point])),
                order=schedule.first_order + len(samples),
                slowdown=slowdown,
            )
            save(sample)
            samples.append(sample)
        progress(len(samples), len(points), f"{block[-1].subject}, {block[-1].n_tokens} tokens")
    return samples


def missing(points: Iterable[LatencyPoint], stored: Iterable[LatencySample]) -> list[LatencyPoint]:
    """Points without a stored sample."""
    measured = {sample.point for sample in stored}
    return [point for point in points if point not in measured]


def _measure_block(
    block: Iterable[LatencyPoint],
    call_for: Callable[[LatencyPoint], Call],
    timer: Timer,
    end_s: float,
    least_rounds: int,
    dice: random.Random,
) -> dict[LatencyPoint, list[float]]:
    """All times of the points of a block."""
    calls = {point: call_for(point) for point in block}
    rounds: list[Visits] = []
    while len(rounds) < least_rounds or (len(rounds) < MAX_ROUNDS and timer.now_s() < end_s):
        rounds.append(_round(calls, timer, rounds, dice))
    for _ in range(REPETITIONS_OF_DISTURBED):
        slow = [index for index, slowdown in enumerate(round_slowdowns(rounds)) if slowdown > SLOW_ROUND]
        for index in slow:
            rounds[index] = _round(calls, timer, rounds, dice)
    return {point: [visits[point] for visits in rounds] for point in calls}


def round_slowdowns(rounds: Sequence[Mapping[LatencyPoint, float]]) -> list[float]:
    """How slow each round was: the median over points of its time over the median time of the point."""
    usual = {point: median(visits[point] for visits in rounds) for point in rounds[0]}
    return [median(visits[point] / usual[point] for point in visits) for visits in rounds]


def _round(calls: Mapping[LatencyPoint, Call], timer: Timer, earlier: Sequence[Visits], dice: random.Random) -> Visits:
    order = dice.sample(list(calls), len(calls))
    return {point: _visit(calls[point], timer, [visits[point] for visits in earlier]) for point in order}


def _visit(call: Call, timer: Timer, earlier: Sequence[float]) -> float:
    """Milliseconds of the timed call of a visit; repeated a few times while it stands out from earlier ones."""
    for _ in range(REPETITIONS_OF_DISTURBED + 1):
        (time_ms,) = timer.time_ms(call, 1)
        if time_ms < LONG_CALL_MS:
            (time_ms,) = timer.time_ms(call, 1)
        if not is_disturbed(time_ms, earlier):
            break
    return time_ms
